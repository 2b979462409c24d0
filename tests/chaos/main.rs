//! Real nodes, a workload, and faults from outside; what everybody saw is checked against the promises at the end.
//!
//! `planted.rs` holds the check itself to account: every rule finds the violation planted for it.

mod kills;
mod planted;

//! Real nodes, a workload, and faults from outside; what everybody saw is checked against the promises at the end.
//!
//! `planted.rs` holds the check itself to account: every rule finds the violation planted for it. `soak.rs`, `noisy.rs`
//! and `storm.rs` are about webhooks in, and who sends them; with the feature `chaos` they are larger and take the time.

mod crowd;
mod kills;
mod noisy;
mod planted;
mod senders;
mod slow;
mod soak;
mod storm;

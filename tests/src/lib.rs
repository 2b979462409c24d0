//! What needs more than one crate: the harness that runs real nodes, for the end-to-end tests and the demo.

pub mod harness;

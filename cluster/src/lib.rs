//! Consensus, log, store and membership: who owns which shard, and that shard's log.
//!
//! This crate moves bytes; it has never heard of accounts. The crate `steward-actors` gives the bytes their meaning.

mod answer;
mod causes;
pub mod clock;
pub mod divergence;
mod failpoint;
pub mod format;
pub mod ids;
pub mod log;
pub mod membership;
pub mod peers;
pub mod placement;
pub mod priority;
pub mod progress;
pub mod raft;
mod spawn;
pub mod store;

#[cfg(test)]
#[expect(dead_code, reason = "the integration tests use the rest of it")]
#[path = "../tests/membership/etcd.rs"]
mod etcd_process;

/// What each metric of this crate means, for people. The composition root calls it once.
pub fn describe_metrics() {
    divergence::describe();
    log::metrics::describe();
    peers::metrics::describe();
    membership::metrics::describe();
    placement::metrics::describe();
    raft::metrics::describe();
    store::metrics::describe();
}

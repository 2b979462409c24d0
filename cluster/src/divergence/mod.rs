//! Whether the replicas of a shard hold the same: each one says what its state comes to at the same entries of the log,
//! and the leader compares.
//!
//! The state machine notes what it comes to with [`DriverHandle::note_check`](crate::raft::DriverHandle::note_check).
//! `node/` starts one [`Auditor`], which tells the leaders and has this node's replicas that differ seeded anew.
//!
//! # Invariants
//! - **V1 majority**: a replica differs only when more than half of at least three voters come to one other hash. Where
//!   nobody can tell who is right, it is said and nothing else is done.
//! - **V2 same place**: only hashes at one index are compared; what a replica had applied there is the same for ever.
//! - **V3 parked**: from the verdict until a snapshot of another replica is in place, one that differs is ready for
//!   nothing: it serves no reads, gives away a leadership it wins and hands out no snapshot.
//! - **V4 absence**: nothing here is needed for safety. A verdict lost, late or repeated costs time, no data.
//!
//! # Decisions
//! - The verdict travels beside the log. As an entry it would make every replica act on one leader's word for ever, also
//!   when the log is replayed years later.
//! - A replica that is wrong stays so over a restart: its last check is stored with its rows, told again, judged again.

mod auditor;
mod checks;
mod metrics;
mod verdict;

#[cfg(test)]
mod verdict_tests;

pub use auditor::Auditor;
pub use checks::Check;
pub(crate) use checks::Checks;
pub(crate) use metrics::describe;
pub use verdict::Verdict;

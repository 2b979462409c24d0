//! Where each shard should be, and which of its replicas should lead: planned by one node at a time, over etcd.
//!
//! Every node starts a [`Controller`]; at most one of them acts. Every node starts an [`Executor`], too: for the shards it
//! leads it reads the wanted placement in the view and changes their groups towards it.
//!
//! # Invariants
//! - **P1 one at a time**: a placement is written only by the holder of the controller's key, in one transaction that
//!   checks it; a controller that was replaced and does not know it writes nothing.
//! - **P2 what is there comes first**: a shard is placed only after its leader has reported where it is.
//! - **P3 few at a time**: at most [`MOVES_MAX`] shards are on their way between nodes.
//! - **P4 patience**: a node that is merely away keeps its replicas for [`GONE_AFTER`], and leads nothing meanwhile.
//! - **P5 step by step**: who is to vote has learned the shard before; voters are exchanged all at once, in odd numbers
//!   but for the single case `step.rs` names; a leader leaves only after another leads.
//! - **P6 blobs first**: voters are exchanged when those who are to hold the shard have the blobs it names, or when none
//!   has come for long (`blobs.rs`).
//! - **P7 absence**: nothing here is needed for safety. Whatever stands in etcd is a wish; a shard's own group decides
//!   who votes.

mod absence;
mod blobs;
mod controller;
mod election;
mod execute;
mod leaders;
mod leaving;
pub(crate) mod metrics;
mod moves;
mod plan;
mod rehearsal;
mod replicas;
mod reports;
mod standing;
mod step;

#[cfg(test)]
mod election_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod step_tests;

pub use absence::GONE_AFTER;
pub use blobs::BlobCount;
pub use controller::Controller;
pub use execute::Executor;
pub use moves::MOVES_MAX;
pub use rehearsal::Rehearsal;
pub use standing::ShardStanding;
pub use step::Step;

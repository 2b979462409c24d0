//! Consensus: which entries of a shard are decided, in which order and term, and who may decide the next.
//!
//! `node/` starts the [`Driver`]; shards propose through its [`DriverHandle`]; the store is its [`StateMachine`]. The
//! simulation runs the same [`Core`] without threads.
//!
//! # Invariants
//! - **R1 durability**: a proposal is answered with success only after its entry is durable on a majority and applied.
//! - **R2 order**: a shard's entries are applied in index order, without gaps, never twice in one life of the store.
//! - **R3 fencing**: a proposal carries the term it was decided in and is appended in no other.
//! - **R4 readiness**: a leader is reported ready only after all entries of earlier terms are applied.
//! - **R5 answer**: every proposal is answered exactly once; "outcome unknown" is the only answer that leaves it open.
//! - **R6 reads**: a read is answered by a leader that made sure, after the question, that it still leads, and sees
//!   everything acknowledged before the question.
//! - **R7 members**: voters change through joint majorities, one change at a time; who is to vote has learned the shard
//!   before; a replica that knows nothing does not vote; one that is out lets go only on the word of a sure leader.
//! - **R8 absence**: no wall clock, no thread randomness and no domain code in the core.
//!
//! Checked by `tests/sim/invariants/` at every step.
//!
//! # Decisions
//! - The library reports broken invariants by panic. A panic of a driver thread ends the process: state may be half
//!   changed, and a restart rebuilds it from the log. The alternative, going on with the other shards, was refused.
//! - The core hands committed entries over and counts them as applied at once; the applier runs behind it. Membership
//!   changes, the one thing the library wants applied in step, are applied by the core itself.
//! - A snapshot's bytes never pass the core. Its message names it; the driver has it fetched to this node's disk before the
//!   core sees the message, so that installing it is a local step that a restart can repeat.

mod applier;
mod core;
mod driver;
mod election;
mod error;
mod group;
mod handle;
mod installs;
mod links;
mod members;
pub(crate) mod metrics;
mod open;
mod pump;
mod round;
mod status;
mod storage;
mod ticks;
mod vote;
mod wire;
mod work;

#[cfg(test)]
mod applier_tests;
#[cfg(test)]
mod driver_tests;
#[cfg(test)]
mod wire_tests;

pub use self::core::{Core, CoreConfig, PROPOSAL_BYTES_MAX};
pub use self::driver::{Driver, DriverConfig, Installation, OnFailure, StateMachine, Transport, abort_process, start};
pub use self::election::{ElectionTicks, SILENCE};
pub use self::error::{ApplyError, ChangeError, DriverFailure, ProposeError, StartError};
pub use self::group::{IN_FLIGHT_MAX, PeerProgress};
pub use self::handle::{Data, Done, DriverHandle, Proposal, ShardDetail};
pub use self::members::Members;
pub use self::round::{Committed, CommittedEntry, PeerMessage, Role, Round};
pub use self::status::ShardStatus;
pub(crate) use self::wire::WireError;

//! Which forms of entries, rows and snapshots a shard may hold: one number, which only rises.
//!
//! A binary knows every format up to [`Format::NEWEST`]. A shard begins with [`Format::FIRST`]; a barrier entry in its log
//! puts a higher one in force, from there on. The state machine reads barriers and tells the driver
//! ([`DriverHandle::note_format`](crate::raft::DriverHandle::note_format)); `node/` asks [`due`] when to write one.
//!
//! # Invariants
//! - **F1 behind it**: what needs a format stands in a log only behind the barrier to it, in snapshots only of that format.
//! - **F2 up only**: the format in force never falls.
//! - **F3 never guessed**: who reads a barrier or a snapshot beyond what it knows stops there and names what it needs.
//! - **F4 absence**: registry and view decide when a barrier is written, never how an entry is read. A barrier that came
//!   too early costs a node its service, not its data.
//!
//! # Adding a format
//! A constant in `known.rs` that says what it brings, [`Format::NEWEST`] with it, and a question for it
//! (`status.format >= Format::…`) where the new form would be written. Reading needs no question.

mod known;
mod rule;

#[cfg(test)]
mod rule_tests;

pub use known::Format;
pub(crate) use rule::target;
pub use rule::{Obstacle, due, least_known};

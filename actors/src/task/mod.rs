//! ⑨ Tasks: leased units of a job, run by workers, reported back as commands.
//!
//! The board learns from the feed which tasks are ready; workers take their leases, run them and report. A lease is an event
//! (`task.started` with its attempt), so a late report of an older attempt is refused by the account itself.
//!
//! A worker may run a task of an account that another node leads: it renews the lease with that leader, and reports to it.
//! Nodes with more ready tasks than slots say so (`announce.rs`), others ask them for one (`pull.rs`), and what they can spare
//! is leased to the one that asks (`lessor.rs`).
//!
//! # Invariants
//! - **T1 derived**: the board holds nothing that the store does not say; it can be dropped and filled again at any time.
//! - **T2 one holder**: at most one attempt of a task reports successfully; `decide` fences by attempt.
//! - **T3 fair**: accounts take turns; one account's backlog delays another by at most one task per slot.
//! - **T4 given back**: a lease whose worker is silent for ten seconds is given to another; a change of leaders takes none
//!   from a worker that goes on renewing.

mod announce;
mod attempt;
mod board;
mod census;
mod explain;
mod fair;
mod funds;
mod grant;
mod hints;
mod in_hand;
mod leases;
mod lessor;
mod observed;
mod pull;
mod renewals;
mod rows;
pub mod runner;
mod scratch;
mod silence;
mod spare;
mod worker;

pub use board::TaskBoard;
pub use explain::{Explained, Gate};
pub use grant::{Granted, Work};
pub use hints::Hints;
pub use in_hand::Slots;
pub use leases::Lease;
pub use lessor::Lessor;
pub use rows::TaskRow;
pub use worker::{MissingRunner, Workers, WorkersConfig};

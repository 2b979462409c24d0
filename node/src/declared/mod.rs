//! Sources that the settings declare: made where they are absent, brought to what is declared where they differ.
//!
//! The composition root reads them before anything starts and keeps them while the node runs.
//!
//! # Invariants
//! - **D1 compared first**: nothing is written where the source is as declared already, at whatever start.
//! - **D2 one writer**: a node works only on accounts whose shard it leads, once per lead; so nodes with equal settings
//!   never write the same change twice.
//! - **D3 stated only**: what a declaration does not state stays as it is; nothing is ever deleted, paused or resumed.
//! - **D4 absence**: no secret is written anywhere but sealed, into the account.
//!
//! # Decisions
//! - A declared source is changed by the commands that clients have, one at a time, each after a new look: a step that was
//!   lost or done twice is seen by the next one. Secrets come before others go, so no webhook is refused in between.

mod keep;
mod plan;
mod read;

pub(crate) use keep::keep;
pub(crate) use read::{Declared, read};

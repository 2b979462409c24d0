//! ③ Leads shards: admits commands, wakes account actors, writes what they decide, applies what commits.
//!
//! The router calls [`Shards::execute`]; gateway, feed and tasks read through [`Reads`]; whoever must act on what happened
//! (task board, deliveries, source cache) is an [`Observer`].

mod admit;
mod apply;
mod barriers;
mod comparing;
mod config;
mod consumers;
mod digest;
mod due;
mod endpoint_rows;
mod entries;
mod followers;
mod housekeeping;
mod lead;
mod listing;
mod lost;
mod node;
mod open;
mod place;
mod projection;
mod quarantine;
mod reads;
mod remembered;
mod reply;
mod rows;
mod shards;
mod snapshots;
mod source_rows;
mod stored;
mod sweep;
mod timers;
mod tips;
mod wake;
mod writer;

#[cfg(test)]
mod digest_tests;
#[cfg(test)]
mod entries_tests;
#[cfg(test)]
mod listing_tests;
#[cfg(test)]
mod projection_commands;
#[cfg(test)]
mod projection_model;
#[cfg(test)]
mod projection_tests;

pub use admit::{Limit, Limits};
pub use barriers::NewerFormat;
pub use config::{Retention, ShardsConfig};
pub use consumers::AcknowledgeError;
pub use open::{OpenError, Opened, open};
pub use place::shard_of;
pub use reads::{DOCUMENTS_MAX, Document, FeedEntry, ReadError, Reads};
pub use shards::{Seat, ShardRow, Shards, StartError};
pub use source_rows::Refused;

pub(crate) use entries::Standing;
pub(crate) use followers::Followers;
pub(crate) use lead::Desk;
pub(crate) use remembered::remembered_seq;
pub(crate) use reply::Reply;
pub(crate) use rows::{Family, Place, REMEMBERED_FOR, decode_answer};
pub(crate) use tips::Tips;
pub(crate) use wake::wake;
pub(crate) use writer::{Ticket, Writer};

use std::time::Duration;

use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;

use crate::domain::account::{Event, Mark, Rejection};
use crate::domain::ids::AccountId;

/// Is told what was applied, in order per account, on the applier's thread: it must be quick.
pub trait Observer: Send + Sync + 'static {
    /// An event of an account is applied and durable, on a shard this node leads.
    fn applied(&self, account: &AccountId, seq: u64, at: Timestamp, event: &Event);
    /// An event of an account is applied on a shard another node leads.
    fn followed(&self, account: &AccountId, event: &Event);
    /// A change that has no number is applied and durable.
    fn marked(&self, account: &AccountId, mark: &Mark);
    /// This node now leads the shard; its state is in the store.
    fn led(&self, shard: ShardId);
    /// This node leads the shard no more, or the shard's state was replaced as a whole: what is remembered of it may be
    /// wrong from now on.
    fn yielded(&self, is_of_shard: &dyn Fn(&AccountId) -> bool);
}

/// Why a command got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    #[error(transparent)]
    Rejected(#[from] Rejection), // Nothing to add: the rejection says it all.
    /// A permit limit is reached; nothing was done.
    #[error("{what} is full")]
    Overloaded { what: &'static str, retry_after: Duration },
    /// The shard has no ready leader here; nothing was done.
    #[error("{shard} is not led by this node")]
    NotLed { shard: ShardId },
    /// Its actor panicked too often; nothing was done.
    #[error("account {account} is in quarantine: {reason}")]
    Quarantined { account: AccountId, reason: String },
    /// Free space is below the reserve; nothing was done.
    #[error("the disk is full")]
    DiskFull,
    /// The record may still commit, so only a retry with the same idempotency key is safe.
    #[error("the outcome of the command on {shard} is unknown")]
    OutcomeUnknown { shard: ShardId },
}

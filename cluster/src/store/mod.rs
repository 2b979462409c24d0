//! The state store: the materialised state of all shards of one node, as plain keys and values.
//!
//! The appliers write it, the account actors, the feed and the tasks read it. It is a cache of the log with an index
//! on it: whatever it loses, a snapshot and the log bring back.
//!
//! # Invariants
//! - **S1 one step**: a [`WriteBatch`] is visible and kept whole or not at all, its applied indices with it.
//! - **S2 prefix**: what a store holds of a shard after any crash is exactly what some applied index left there. It may
//!   be an older index than the last one written: nothing is synced before [`StateStore::flush`], the log replays.
//! - **S3 one view**: [`StateStore::scan`] and [`StateStore::shard_view`] see one moment, whatever is written meanwhile.
//! - **S4 truth or error**: a byte changed on disk is refused (and the store marked damaged), never served.
//! - **S5 own range**: a [`KeyRange`] lies within one shard; the shard's reserved family is never listed or written.
//! - **S6 absence**: the store knows no accounts, no terms and no log. Whether an applied index is beyond the log's last
//!   one (a lost log) is asked by whoever knows the log, with [`StateStore::applied`].
//!
//! Checked by `conformance_tests.rs` for every [`Engine`], and by `damage_tests.rs` for those with files.

mod batch;
mod checked;
#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod damage_tests;
mod engines;
mod error;
mod keys;
pub(crate) mod metrics;
mod opening;
pub mod snapshot;

pub use batch::WriteBatch;
pub use error::StoreError;
pub use keys::{FAMILY_MAX, KEY_BYTES_MAX, KeyRange, VALUE_BYTES_MAX, shard_of, shard_prefix};
pub use opening::{Engine, Opened, mark_damaged, open, open_or_rebuild};

use bytes::Bytes;

use crate::ids::{LogIndex, ShardId};

/// Which end of a range comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Backward,
}

/// Receives the keys and values of one consistent view, in key order.
pub type Sink<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// The materialised state of all shards of a node. See the module for what it promises.
pub trait StateStore: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
    /// At most `limit` keys and values of a range, from one moment.
    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<(Bytes, Bytes)>, StoreError>;
    /// Writes a batch in one step. It is not synced: the log is the truth.
    fn write(&self, batch: WriteBatch) -> Result<(), StoreError>;
    /// The index of the last entry whose effects the shard's keys hold; 0 for a shard never written.
    fn applied(&self, shard: ShardId) -> Result<LogIndex, StoreError>;
    /// Every key of a shard, all as of the applied index returned.
    fn shard_view(&self, shard: ShardId, sink: &mut Sink<'_>) -> Result<LogIndex, StoreError>;
    /// The shards that have an applied index or a half-done load, ascending.
    fn shards(&self) -> Result<Vec<ShardId>, StoreError>;
    /// Removes every key of a shard in bounded steps. The shard reads as [`StoreError::Incomplete`] until it is done,
    /// and until `finish_load` when a load follows.
    fn clear_shard(&self, shard: ShardId) -> Result<(), StoreError>;
    /// Empties a shard and leaves it marked incomplete, for batches without an applied index to fill.
    fn begin_load(&self, shard: ShardId) -> Result<(), StoreError>;
    /// Waits until what was written before is where it belongs, as far as a load has to, so that it leaves room for
    /// writers who are waited for.
    fn pace(&self) -> Result<(), StoreError>;
    /// Ends a load: from here on the shard stands at `index`.
    fn finish_load(&self, shard: ShardId, index: LogIndex) -> Result<(), StoreError>;
    /// Makes everything written so far durable. For a clean shutdown; a crash needs none.
    fn flush(&self) -> Result<(), StoreError>;
    /// The engine's name, for logs and labels.
    fn engine(&self) -> &'static str;
}

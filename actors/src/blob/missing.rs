//! What this node's folder lacks of the blobs that a shard names. The leader of a shard asks before others give their
//! copies up.

use std::sync::Arc;

use steward_cluster::ids::{LogIndex, ShardId};

use super::{Backfill, BlobStore};
use crate::shard::{ReadError, Shards};

/// Counts for one node.
#[derive(Clone)]
pub struct Missing {
    shards: Shards,
    blobs: BlobStore,
    backfill: Arc<Backfill>,
}

impl Missing {
    /// `blobs` is the folder that is looked into, `backfill` hears when something is missing there.
    #[must_use]
    pub fn new(shards: Shards, blobs: BlobStore, backfill: Arc<Backfill>) -> Self {
        Self { shards, blobs, backfill }
    }

    /// How many blobs of the shard are not here; they are looked for at once. None while the replica here has not applied
    /// the entry at `index`. Reads rows and folders, so it blocks.
    pub fn count(&self, shard: ShardId, index: LogIndex) -> Result<Option<u64>, ReadError> {
        let status = self.shards.driver().status(shard);
        if status.is_none_or(|status| status.applied < index || status.is_parked) {
            return Ok(None);
        }
        if self.blobs.is_cache() {
            return Ok(Some(0)); // The object store has them.
        }
        let named = self.shards.reads().blobs(shard)?;
        let missing = named.iter().filter(|(_, hash)| !self.blobs.has(hash)).count();
        if missing > 0 {
            self.backfill.look_at_all();
        }
        Ok(Some(u64::try_from(missing).unwrap_or(u64::MAX)))
    }
}

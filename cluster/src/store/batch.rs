//! A set of changes that happens in one step. Appliers fill it, the store takes it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ids::{LogIndex, ShardId};

/// Puts, deletes and applied indices that become visible, and stay, together. The last word on a key wins.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// Ordered, so that every engine inserts neighbours together; none means deleted.
    pub(super) changes: BTreeMap<Bytes, Option<Bytes>>,
    pub(super) applied: BTreeMap<ShardId, LogIndex>,
}

impl WriteBatch {
    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.insert(key.into(), Some(value.into()));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.changes.insert(key.into(), None);
    }

    /// Says that with this batch the shard's keys hold the effects of every entry up to `index`.
    pub fn set_applied(&mut self, shard: ShardId, index: LogIndex) {
        self.applied.insert(shard, index);
    }

    /// How many keys change.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.applied.is_empty()
    }
}

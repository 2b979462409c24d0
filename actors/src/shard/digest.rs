//! One number over everything a shard's replica applied, so that replicas can be compared. The projection feeds it.
//!
//! # Invariants
//! - **G1 grouping**: it depends on the entries and the rows they read, never on how entries are grouped into batches.
//! - **G2 stored**: it stands in the shard's own range and is written with the applied index, so it survives restarts
//!   with it and travels with snapshots.
//! - **G3 absence**: rows that [`forget`](super::projection::Projection::forget) drops are no part of it: local time
//!   decides when.
//!
//! # Decisions
//! - Changes are hashed, not rows at rest: that costs a fraction of the write. A row changed behind the back of the
//!   node shows when an event next reads and changes it. Rejected: hashing the range, which reads all of it.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use steward_cluster::divergence::Check;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::store::{StateStore, WriteBatch};
use xxhash_rust::xxh3::Xxh3;

use super::ReadError;
use super::rows::{Family, shard_key};

/// What stands before each kind of change, so that no two sequences of changes look the same.
const PUT: u8 = 1;
const DELETE: u8 = 2;
const TRIM: u8 = 3;

/// What a shard comes to, and came to at its last check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) hash: u64,
    checked_at: LogIndex,
    checked_hash: u64,
}

impl Digest {
    /// As it is stored; of a shard that never applied anything it is zero.
    pub(crate) fn read(store: &dyn StateStore, shard: ShardId) -> Result<Self, ReadError> {
        let Some(value) = store.get(&shard_key(shard, Family::Digest))? else { return Ok(Self::default()) };
        Self::decode(&value).ok_or_else(|| ReadError::Digest { shard, bytes: value.len() })
    }

    /// The last check, if there was one.
    pub(crate) fn check(&self, shard: ShardId) -> Option<Check> {
        let check = Check { shard, index: self.checked_at, hash: self.checked_hash };
        (check.index > LogIndex(0)).then_some(check)
    }

    fn encode(self) -> Vec<u8> {
        [self.hash, self.checked_at.0, self.checked_hash].map(u64::to_be_bytes).concat()
    }

    fn decode(value: &Bytes) -> Option<Self> {
        let (numbers, rest) = value.as_chunks::<8>();
        let [hash, checked_at, checked_hash] = <[[u8; 8]; 3]>::try_from(numbers).ok()?.map(u64::from_be_bytes);
        rest.is_empty().then_some(Self { hash, checked_at: LogIndex(checked_at), checked_hash })
    }
}

/// The digests of one batch: of the entry under way, and of each shard as far as it came.
pub(crate) struct Digests {
    entry: Xxh3,
    shards: BTreeMap<ShardId, Digest>,
}

impl Digests {
    pub(crate) fn new() -> Self {
        Self { entry: Xxh3::new(), shards: BTreeMap::new() }
    }

    /// A row is written.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.begin(PUT, key);
        self.length(value.len());
        self.entry.update(value);
    }

    /// A row that is JSON comes to this, now or when its batch ends.
    pub(crate) fn put_json(&mut self, key: &[u8], state: &impl serde::Serialize) {
        self.begin(PUT, key);
        serde_json::to_writer(Feeding(&mut self.entry), state).expect("states are plain data with text keys");
    }

    /// A row goes.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.begin(DELETE, key);
    }

    /// A feed that began at one number begins at another. The ended jobs that go along are no part of it: a job asked for
    /// in the same batch goes with the next trim.
    pub(crate) fn trim(&mut self, floor_key: &[u8], from: u64, to: u64) {
        self.begin(TRIM, floor_key);
        self.entry.update(&from.to_be_bytes());
        self.entry.update(&to.to_be_bytes());
    }

    /// The entry under way ends.
    pub(crate) fn end_entry(
        &mut self,
        store: &dyn StateStore,
        shard: ShardId,
        index: LogIndex,
        is_check: bool,
    ) -> Result<Digest, ReadError> {
        let mut digest = match self.shards.get(&shard) {
            Some(digest) => *digest,
            None => Digest::read(store, shard)?,
        };
        self.entry.update(&digest.hash.to_be_bytes());
        self.entry.update(&index.0.to_be_bytes());
        digest.hash = self.entry.digest();
        self.entry.reset();
        if is_check {
            (digest.checked_at, digest.checked_hash) = (index, digest.hash);
        }
        self.shards.insert(shard, digest);
        Ok(digest)
    }

    /// Writes what the shards come to.
    pub(crate) fn finish(self, batch: &mut WriteBatch) {
        for (shard, digest) in self.shards {
            batch.put(shard_key(shard, Family::Digest).to_vec(), digest.encode());
        }
    }

    fn begin(&mut self, change: u8, key: &[u8]) {
        self.entry.update(&[change]);
        self.length(key.len());
        self.entry.update(key);
    }

    fn length(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).expect("a length in memory fits 64 bits");
        self.entry.update(&bytes.to_be_bytes());
    }
}

/// Lets a serializer write into a hash.
struct Feeding<'h>(&'h mut Xxh3);

impl io::Write for Feeding<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! What stopped nodes have on their disks, shard by shard: every replica must hold the same feed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use steward_actors::shard;
use steward_cluster::ids::ShardId;
use steward_cluster::log::LogConfig;
use steward_cluster::store::{Direction, Engine, KeyRange, shard_prefix};

/// The number of the feed's rows in keys; see the table in `actors/src/shard/rows.rs`.
const FEED_FAMILY: u8 = 3;
/// More rows than a shard has in any run.
const ROWS_MAX: usize = 1_000_000;
const CACHE_BYTES: u64 = 16 << 20;

/// The feed of a shard on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeedDigest {
    pub(super) events: usize,
    hash: u64,
}

/// The feeds a stopped node holds, by shard.
pub(super) fn digests(data_dir: &Path) -> BTreeMap<u16, FeedDigest> {
    let opened = shard::open(&data_dir.join("shards"), Engine::Fjall, CACHE_BYTES, LogConfig::default());
    let store = opened.expect("a node that stopped left its data in order").store;
    let held = store.shards().expect("the store can be read");
    let digest = |shard: ShardId| {
        let [high, low] = shard_prefix(shard);
        let feed = KeyRange::prefix(&[high, low, FEED_FAMILY]);
        let rows = store.scan(&feed, Direction::Forward, ROWS_MAX).expect("the store can be read");
        let mut hasher = DefaultHasher::new();
        rows.hash(&mut hasher);
        (shard.0, FeedDigest { events: rows.len(), hash: hasher.finish() })
    };
    held.into_iter().map(digest).collect()
}

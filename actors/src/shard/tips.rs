//! How far the shards of this node are, and whether their rows can be read just now. The applier tells, readers of feeds
//! and of whole shards look.
//!
//! # Invariants
//! - **T1 told after**: a tip moves after the rows up to it can be read.
//! - **T2 whole**: what was read of a shard while its state was being replaced is recognised, and thrown away.
//! - **T3 withdrawn for good**: whoever began to read a state before it was withdrawn sees that at any time after, also
//!   when another one is in its place by then.

use std::sync::atomic::{AtomicU64, Ordering};

use steward_cluster::ids::{LogIndex, ShardId};
use tokio::sync::watch;

/// The tips of all shards.
pub(crate) struct Tips {
    shards: Vec<Tip>,
    news: watch::Sender<u64>,
}

#[derive(Default)]
struct Tip {
    applied: AtomicU64,
    /// How often the state was replaced, twice: odd while that is under way.
    replaced: AtomicU64,
    /// How often the state turned out wrong, or went away.
    withdrawn: AtomicU64,
}

impl Tips {
    /// From how far each shard is at the start.
    pub(crate) fn new(shards: u16) -> Self {
        Self { shards: (0..shards).map(|_| Tip::default()).collect(), news: watch::Sender::new(0) }
    }

    /// Changes whenever a tip moves.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// These shards are this far; the last word on a shard counts.
    pub(crate) fn tell(&self, newest: impl Iterator<Item = (ShardId, LogIndex)>) {
        for (shard, index) in newest {
            if let Some(tip) = self.tip(shard) {
                tip.applied.store(index.0, Ordering::Release);
            }
        }
        self.spread();
    }

    /// The state of a shard is about to be replaced.
    pub(crate) fn replacing(&self, shard: ShardId) {
        if let Some(tip) = self.tip(shard) {
            tip.replaced.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// It was replaced, and stands here.
    pub(crate) fn replaced(&self, shard: ShardId, index: LogIndex) {
        if let Some(tip) = self.tip(shard) {
            tip.applied.store(index.0, Ordering::Release);
            tip.replaced.fetch_add(1, Ordering::AcqRel);
        }
        self.spread();
    }

    /// The state of a shard is not to be read on.
    pub(crate) fn withdraw(&self, shard: ShardId) {
        if let Some(tip) = self.tip(shard) {
            tip.withdrawn.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// What stays the same as long as what was begun to be read may be read on.
    pub(crate) fn withdrawn(&self, shard: ShardId) -> u64 {
        self.tip(shard).map_or(0, |tip| tip.withdrawn.load(Ordering::Acquire))
    }

    /// How far the shard is.
    pub(crate) fn of(&self, shard: ShardId) -> LogIndex {
        LogIndex(self.tip(shard).map_or(0, |tip| tip.applied.load(Ordering::Acquire)))
    }

    /// What stays the same as long as the state is not replaced; none while it is being replaced.
    pub(crate) fn state(&self, shard: ShardId) -> Option<u64> {
        let replaced = self.tip(shard)?.replaced.load(Ordering::Acquire);
        replaced.is_multiple_of(2).then_some(replaced)
    }

    fn tip(&self, shard: ShardId) -> Option<&Tip> {
        self.shards.get(usize::from(shard.0))
    }

    fn spread(&self) {
        if self.news.receiver_count() > 0 {
            self.news.send_modify(|told| *told += 1);
        }
    }
}

//! ⑧ Whole shards out to those who follow everything, in the order of their logs. The node merges it with what it gets
//! of shards that only other nodes hold.
//!
//! # Invariants
//! - **L1 whole entries**: a page ends where a log entry ends: one index per shard says where a reader stands.
//! - **L2 gapless**: pages of a shard follow each other; every event after the place is on one, each account's in order,
//!   unless an [`LogItem::Gap`] came before that names its account.
//! - **L3 pull**: a page is read when it is asked for; a reader that does not ask costs nothing.
//! - **L4 fair**: shards that have news take turns.
//! - **L5 right**: a shard whose state is known to be wrong, or leaves this node, is followed no more.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use steward_cluster::ids::{LogIndex, ShardId};
use tokio::sync::watch;

use crate::codec::event_type;
use crate::domain::ids::AccountId;
use crate::domain::pattern::Pattern;
use crate::shard::{FeedEntry, ReadError, Reads, Standing, Tips};

/// What a reader of a shard gets.
#[derive(Clone, Debug, PartialEq)]
pub enum LogItem {
    Event {
        account: AccountId,
        entry: Box<FeedEntry>,
    },
    /// The account's events up to this number, as far as they did not come before, were forgotten.
    Gap {
        account: AccountId,
        last_lost_seq: u64,
    },
}

/// The wanted of what some entries of one shard brought.
#[derive(Clone, Debug, PartialEq)]
pub struct LogPage {
    pub shard: ShardId,
    /// It begins behind this entry.
    pub after: LogIndex,
    /// Everything up to this entry was looked at.
    pub through: LogIndex,
    pub items: Vec<LogItem>,
}

/// The shards of this node, by their logs. Cheap to clone.
#[derive(Clone)]
pub struct LogFeed {
    reads: Reads,
    tips: Arc<Tips>,
}

/// One reader's places in the shards it follows.
pub struct LogReader {
    feed: LogFeed,
    patterns: Vec<Pattern>,
    places: BTreeMap<ShardId, Followed>,
    /// Whose turn it was.
    last: ShardId,
    news: watch::Receiver<u64>,
}

/// One shard's place.
#[derive(Clone, Copy)]
struct Followed {
    standing: Standing,
    /// As long as this does not change, what is here is read on.
    withdrawn: u64,
}

impl LogFeed {
    pub(crate) fn new(reads: Reads, tips: Arc<Tips>) -> Self {
        Self { reads, tips }
    }

    /// How far a shard is here.
    #[must_use]
    pub fn tip(&self, shard: ShardId) -> LogIndex {
        self.tips.of(shard)
    }

    /// A reader that follows no shard yet. No patterns: everything.
    #[must_use]
    pub fn reader(&self, patterns: Vec<Pattern>) -> LogReader {
        let (places, last) = (BTreeMap::new(), ShardId(0));
        LogReader { feed: self.clone(), patterns, places, last, news: self.tips.news() }
    }
}

impl LogReader {
    /// Follows a shard from behind an entry on.
    pub fn follow(&mut self, shard: ShardId, after: LogIndex) {
        let withdrawn = self.feed.tips.withdrawn(shard);
        self.places.insert(shard, Followed { standing: Standing { after, named: LogIndex(0) }, withdrawn });
        self.news.mark_changed();
    }

    /// Follows a shard no more.
    pub fn leave(&mut self, shard: ShardId) {
        self.places.remove(&shard);
    }

    /// Whether it follows the shard, and may read it on.
    #[must_use]
    pub fn follows(&self, shard: ShardId) -> bool {
        self.places.get(&shard).is_some_and(|followed| self.is_right(shard, *followed))
    }

    fn is_right(&self, shard: ShardId, followed: Followed) -> bool {
        self.feed.tips.withdrawn(shard) == followed.withdrawn
    }

    /// The next page of any shard. Waits when everything was read. May be dropped while it waits; nothing is lost.
    pub async fn next(&mut self) -> Result<LogPage, ReadError> {
        loop {
            self.news.mark_unchanged();
            if let Some(page) = self.try_next()? {
                return Ok(page);
            }
            // The sender lives as long as the tips do, which are held here.
            self.news.changed().await.ok();
        }
    }

    /// The next page that can be had without waiting.
    pub fn try_next(&mut self) -> Result<Option<LogPage>, ReadError> {
        let later = self.places.range((Bound::Excluded(self.last), Bound::Unbounded));
        let turns = later.chain(self.places.range(..=self.last));
        let behind = turns.filter(|(shard, place)| place.standing.after < self.feed.tips.of(**shard));
        for (shard, followed) in behind.map(|(shard, place)| (*shard, *place)).collect::<Vec<_>>() {
            let from = followed.standing;
            if let Some(read) = self.feed.reads.entries(&self.feed.tips, shard, from)?
                && self.is_right(shard, followed)
            {
                self.last = shard;
                self.places.insert(shard, Followed { standing: read.then, ..followed });
                return Ok(Some(self.page(shard, from, read.then, read.lost, read.events)));
            }
        }
        Ok(None)
    }

    fn page(
        &self,
        shard: ShardId,
        from: Standing,
        then: Standing,
        lost: Vec<(AccountId, u64)>,
        events: Vec<(AccountId, FeedEntry)>,
    ) -> LogPage {
        let gap = |(account, last_lost_seq)| LogItem::Gap { account, last_lost_seq };
        let is_wanted = |entry: &FeedEntry| {
            let is_of = |pattern: &Pattern| pattern.matches(&event_type(&entry.event));
            self.patterns.is_empty() || self.patterns.iter().any(is_of)
        };
        let wanted = events.into_iter().filter(|(_, entry)| is_wanted(entry));
        let event = |(account, entry)| LogItem::Event { account, entry: Box::new(entry) };
        let items = lost.into_iter().map(gap).chain(wanted.map(event)).collect();
        LogPage { shard, after: from.after, through: then.after, items }
    }
}

//! ⑧ Events out to subscribers, by cursor. The gateway and the delivery sender follow accounts through it.
//!
//! # Invariants
//! - **F1 gapless**: a subscription yields every event after its cursor once and in order, or an [`Item::Gap`] that names
//!   what is gone.
//! - **F2 pull**: a subscriber reads pages from the store; one that does not read costs nothing and blocks nobody.
//! - **F3 right**: once the state is known to be wrong, or leaves this node, a subscription ends and says so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use steward_cluster::clock::{Clock, Timestamp};
use steward_cluster::ids::ShardId;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::codec::event_type;
use crate::domain::ids::AccountId;
use crate::domain::pattern::Pattern;
use crate::shard::{FeedEntry, Followers, ReadError, Reads, Tips};

/// Most events read from the store at a time.
pub const FEED_PAGE_MAX: usize = 256;
/// How often a subscriber is told at most that it is caught up.
const CAUGHT_UP_EVERY: Duration = Duration::from_secs(1);

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Event(Box<FeedEntry>),
    /// The events between were forgotten before they were read.
    Gap {
        first_lost_seq: u64,
        last_lost_seq: u64,
    },
    /// Everything up to here was looked at.
    CaughtUp(u64),
}

/// Why a subscription ended.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error(transparent)]
    Read(#[from] ReadError), // It says everything.
    /// Another node has the events behind the cursor.
    #[error("the events of {shard} are not to be read on this node any more")]
    Withdrawn { shard: ShardId },
}

/// The feeds of the accounts of this node. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    reads: Reads,
    followers: Arc<Followers>,
    tips: Arc<Tips>,
    clock: Arc<dyn Clock>,
}

/// One subscriber's place on one account's feed.
pub struct Subscription {
    feed: Feed,
    account: AccountId,
    shard: ShardId,
    /// As long as this does not change, what is here is read on.
    withdrawn: u64,
    patterns: Vec<Pattern>,
    /// Everything up to here was read.
    cursor: u64,
    read: VecDeque<Item>,
    news: watch::Receiver<u64>,
    /// What it was last told about being caught up, and when.
    told: Option<(u64, Duration)>,
}

impl Feed {
    pub(crate) fn new(reads: Reads, followers: Arc<Followers>, tips: Arc<Tips>, clock: Arc<dyn Clock>) -> Self {
        Self { reads, followers, tips, clock }
    }

    /// Tells the number of the account's newest applied event whenever it grows from now on; 0 until then.
    #[must_use]
    pub fn follow(&self, account: &AccountId) -> watch::Receiver<u64> {
        self.followers.follow(account)
    }

    /// A subscription to what comes after `after_seq`. No patterns: everything.
    #[must_use]
    pub fn subscribe(&self, account: &AccountId, after_seq: u64, patterns: Vec<Pattern>) -> Subscription {
        let shard = self.reads.shard_of(account);
        Subscription {
            feed: self.clone(),
            account: account.clone(),
            shard,
            withdrawn: self.tips.withdrawn(shard),
            patterns,
            cursor: after_seq,
            read: VecDeque::new(),
            // Before the first read, so that nothing applied in between goes unnoticed.
            news: self.follow(account),
            told: None,
        }
    }

    /// Number of the first event at or after a time; the number after the newest when there is none yet.
    pub fn seek_time(&self, account: &AccountId, since: Timestamp) -> Result<u64, ReadError> {
        self.reads.seek_time(account, since)
    }
}

impl Subscription {
    /// The next item. Waits when everything was read. May be dropped while it waits; nothing is lost.
    pub async fn next(&mut self) -> Result<Item, FeedError> {
        loop {
            if let Some(item) = self.try_next()? {
                return Ok(item);
            }
            let since_told = self.told.map(|(_, at)| self.feed.clock.monotonic().saturating_sub(at));
            let owed = self.told.is_none_or(|(seq, _)| seq != self.cursor);
            let wait = CAUGHT_UP_EVERY.saturating_sub(since_told.unwrap_or(CAUGHT_UP_EVERY));
            if owed && wait.is_zero() {
                self.told = Some((self.cursor, self.feed.clock.monotonic()));
                return Ok(Item::CaughtUp(self.cursor));
            }
            // The sender lives as long as this receiver does, so a change is all that can come.
            if owed {
                timeout(wait, self.news.changed()).await.ok();
            } else {
                self.news.changed().await.ok();
            }
        }
    }

    /// The next event or gap that can be had without waiting; none at the end of the feed.
    pub fn try_next(&mut self) -> Result<Option<Item>, FeedError> {
        self.news.mark_unchanged(); // Before the looks, so that nothing told in between goes unnoticed.
        if self.feed.tips.withdrawn(self.shard) != self.withdrawn {
            return Err(FeedError::Withdrawn { shard: self.shard });
        }
        while self.read.is_empty() {
            let page = self.feed.reads.events(&self.account, self.cursor, FEED_PAGE_MAX)?;
            if page.is_empty() {
                return Ok(None);
            }
            page.into_iter().for_each(|entry| self.take_in(entry));
        }
        Ok(self.read.pop_front())
    }

    /// Everything up to here was read; what it yielded last may be behind.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    fn take_in(&mut self, entry: FeedEntry) {
        let expected = self.cursor + 1;
        if entry.seq > expected {
            self.read.push_back(Item::Gap { first_lost_seq: expected, last_lost_seq: entry.seq - 1 });
        }
        self.cursor = entry.seq;
        let is_wanted = |pattern: &Pattern| pattern.matches(&event_type(&entry.event));
        if self.patterns.is_empty() || self.patterns.iter().any(is_wanted) {
            self.read.push_back(Item::Event(Box::new(entry)));
        }
    }
}

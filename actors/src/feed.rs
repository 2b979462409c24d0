//! ⑧ Events out to subscribers, by cursor. The gateway and the delivery sender follow accounts through it.
//!
//! # Invariants
//! - **F1 gapless**: a subscription yields every event after its cursor once and in order, or an [`Item::Gap`] that names
//!   what is gone.
//! - **F2 pull**: a subscriber reads pages from the store; one that does not read costs nothing and blocks nobody.

use steward_cluster::clock::Timestamp;
use tokio::sync::watch;

use crate::domain::ids::AccountId;
use crate::domain::pattern::Pattern;
use crate::shard::{FeedEntry, ReadError};

/// Most events read from the store at a time.
pub const FEED_PAGE_MAX: usize = 256;

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

/// The feeds of the accounts of this node.
#[derive(Clone)]
pub struct Feed {}

/// One subscriber's place on one account's feed.
pub struct Subscription {}

impl Feed {
    /// Tells the newest applied number of the account whenever it grows.
    #[must_use]
    pub fn follow(&self, account: &AccountId) -> watch::Receiver<u64> {
        unimplemented!("{account}")
    }

    /// A subscription to what comes after `after_seq`. No patterns: everything.
    #[must_use]
    pub fn subscribe(&self, account: &AccountId, after_seq: u64, patterns: Vec<Pattern>) -> Subscription {
        unimplemented!("{account} {after_seq} {patterns:?}")
    }

    /// Number of the first event at or after a time; the next number when there is none yet.
    pub fn seek_time(&self, account: &AccountId, since: Timestamp) -> Result<u64, ReadError> {
        unimplemented!("{account} {since:?}")
    }
}

impl Subscription {
    /// The next item. Waits when everything was read.
    pub async fn next(&mut self) -> Result<Item, ReadError> {
        unimplemented!()
    }

    /// The next item, if there is one without waiting.
    pub fn try_next(&mut self) -> Result<Option<Item>, ReadError> {
        unimplemented!()
    }
}

//! Streams of all accounts: one pump per subscriber between the merge of all shards and its connection.
//!
//! # Invariants
//! - **U1 covered**: a cursor is sent after everything it covers, and covers everything sent before it.
//! - **U2 prompt**: what is new is covered within [`CURSOR_EVERY`], or after [`ITEMS_PER_CURSOR_MAX`] items.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use steward_actors::domain::ids::ConsumerId;
use steward_actors::domain::pattern::Pattern;
use steward_cluster::clock::{Clock, Timestamp};
use steward_proto::event::v1 as pb;
use steward_proto::event::v1::subscribe_all_request::From as StartAt;
use steward_proto::event::v1::subscribe_all_response::Item;
use steward_proto::peer::v1::FeedItem;
use steward_proto::peer::v1::feed_item::Item as FeedItemKind;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use super::subscribe::{Answers, QUEUE_MAX, Subscriptions, answers, hand_on};
use super::wire;
use crate::everything::{Everything, Merge, Places};
use crate::gateway::Gateway;
use crate::gateway::error::{Code, Refused};
use crate::metrics;

/// Streams of all accounts of one node: each reads what all shards get.
const STREAMS_MAX: usize = 16;
/// How soon a cursor follows what it covers.
const CURSOR_EVERY: Duration = Duration::from_millis(250);
/// Items after which a cursor follows at the end of a page.
const ITEMS_PER_CURSOR_MAX: usize = 256;

/// Counts the streams of all accounts.
#[derive(Clone, Default)]
pub(super) struct SubscriptionsToAll {
    open: Arc<AtomicUsize>,
}

/// What a subscriber wants.
pub(super) struct Wanted {
    from: Places,
    /// End the stream behind this.
    until: Option<Places>,
    types: Vec<String>,
}

/// Finds out where a subscriber starts, and where it ends.
pub(super) async fn start(everything: &Everything, request: pb::SubscribeAllRequest) -> Result<Wanted, Refused> {
    let pb::SubscribeAllRequest { from, types, until_now } = request;
    let from = match from {
        Some(StartAt::Cursor(cursor)) => everything.reached_places(&cursor).await?,
        Some(StartAt::Consumer(name)) => {
            let consumer: ConsumerId = wire::id("consumer", &name)?;
            everything.consumer(&consumer).await?.unwrap_or_else(|| everything.beginning())
        }
        Some(StartAt::Latest(true)) => everything.tips().await?,
        Some(StartAt::Latest(false)) | None => everything.beginning(),
    };
    let until = if until_now { Some(everything.tips().await?) } else { None };
    Ok(Wanted { from, until, types })
}

impl SubscriptionsToAll {
    /// Starts a stream.
    pub(super) fn open(
        &self,
        gateway: &Gateway,
        subscriptions: &Subscriptions,
        wanted: Wanted,
        patterns: Vec<Pattern>,
    ) -> Result<Answers<pb::SubscribeAllResponse>, Refused> {
        let open = Open::new(subscriptions.permit()?, Arc::clone(&self.open))?;
        let (items, received) = mpsc::channel(QUEUE_MAX);
        let verdict = Arc::new(OnceLock::new());
        let pump = Pump {
            merge: gateway.everything.follow(wanted.from, patterns, wanted.types),
            everything: gateway.everything.clone(),
            until: wanted.until,
            items: items.clone(),
            uncovered: 0,
            owes_cursor: true,
            clock: Arc::clone(&gateway.clock),
            _open: open,
        };
        subscriptions.run("subscription-to-all", pump.run(), items, Arc::clone(&verdict));
        Ok(answers(received, verdict))
    }
}

struct Pump {
    merge: Merge,
    everything: Everything,
    until: Option<Places>,
    items: mpsc::Sender<pb::SubscribeAllResponse>,
    /// Items since the last cursor.
    uncovered: usize,
    /// Whether the last cursor is behind.
    owes_cursor: bool,
    clock: Arc<dyn Clock>,
    _open: Open,
}

impl Pump {
    /// Runs until the end that was asked for, the subscriber is gone, or it is too slow.
    async fn run(mut self) -> Result<(), Refused> {
        let mut beat = interval(CURSOR_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_there = self.tell_cursor().await?;
        while is_there && !self.is_done() {
            is_there = tokio::select! {
                news = self.merge.next() => self.tell(news?).await?,
                _ = beat.tick(), if self.owes_cursor => self.tell_cursor().await?,
                () = self.items.closed() => false,
            };
        }
        if is_there && self.owes_cursor {
            self.tell_cursor().await?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let places = self.merge.places();
        self.until.as_ref().is_some_and(|until| until.iter().all(|(shard, end)| places.get(shard) >= end))
    }

    /// Hands on what a page has; false when the subscriber is gone.
    async fn tell(&mut self, news: Vec<FeedItem>) -> Result<bool, Refused> {
        self.owes_cursor = true;
        for item in news.into_iter().filter_map(|item| item.item) {
            let item = match item {
                FeedItemKind::Event(event) => {
                    let lag = self.clock.now().since(Timestamp(event.time_ms));
                    metrics::subscription_to_all_lag_seconds().record(lag.as_secs_f64());
                    Item::Event(event)
                }
                FeedItemKind::Gap(gap) => Item::Gap(gap),
            };
            self.uncovered += 1;
            if !hand_on(&self.items, pb::SubscribeAllResponse { item: Some(item) }).await? {
                return Ok(false);
            }
        }
        if self.uncovered >= ITEMS_PER_CURSOR_MAX { self.tell_cursor().await } else { Ok(true) }
    }

    async fn tell_cursor(&mut self) -> Result<bool, Refused> {
        (self.uncovered, self.owes_cursor) = (0, false);
        let cursor = self.everything.cursor(self.merge.places());
        hand_on(&self.items, pb::SubscribeAllResponse { item: Some(Item::Cursor(cursor)) }).await
    }
}

/// Counts a stream while it is open.
struct Open {
    open: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(permit: OwnedSemaphorePermit, open: Arc<AtomicUsize>) -> Result<Self, Refused> {
        if open.fetch_add(1, Ordering::AcqRel) >= STREAMS_MAX {
            open.fetch_sub(1, Ordering::AcqRel);
            let message = format!("the node has {STREAMS_MAX} streams of all accounts, which is the limit");
            return Err(Refused::new(Code::TooManyStreams, message));
        }
        metrics::subscriptions_to_all().increment(1);
        Ok(Self { open, _permit: permit })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        metrics::subscriptions_to_all().decrement(1);
    }
}

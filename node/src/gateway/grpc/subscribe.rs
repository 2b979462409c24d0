//! Event streams: one pump per subscriber between its place on the feed and its connection.
//!
//! A subscriber that takes nothing for a while is cut with `read_too_slow`; it resumes from its last cursor. A stopping
//! node ends all streams with `not_ready`, one whose replica goes or turns out wrong ends that shard's with `not_led`.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use parking_lot::Mutex;
use steward_actors::codec::public_event;
use steward_actors::domain::ids::AccountId;
use steward_actors::domain::pattern::Pattern;
use steward_actors::feed::{FeedError, Item, Subscription};
use steward_actors::supervisor;
use steward_cluster::ids::ShardId;
use steward_proto::event::v1::subscribe_response::Item as WireItem;
use steward_proto::event::v1::{Gap, SubscribeResponse};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::gateway::Gateway;
use crate::gateway::error::{Code, Refused};
use crate::metrics;

/// Items between a pump and its connection.
pub(super) const QUEUE_MAX: usize = 16;
/// How long a subscriber may take nothing while something waits.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Streams of one account, so that it cannot take the places of all others.
const STREAMS_PER_ACCOUNT_MAX: usize = 256;

/// Opens streams, as many as are allowed.
pub(super) struct Subscriptions {
    permits: Arc<Semaphore>,
    accounts: Arc<OpenByAccount>,
    stop: CancellationToken,
}

/// How many streams each account has.
type OpenByAccount = Mutex<HashMap<AccountId, usize>>;

/// What a subscriber wants.
pub(super) struct Wanted {
    pub(super) account: AccountId,
    pub(super) after: u64,
    pub(super) patterns: Vec<Pattern>,
    /// End the stream here.
    pub(super) until: Option<u64>,
}

/// What goes to the connection.
pub(super) type Answers<T> = BoxStream<'static, Result<T, Status>>;

impl Subscriptions {
    pub(super) fn new(max: usize, stop: CancellationToken) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), accounts: Arc::default(), stop }
    }

    /// The right to one stream of the node's.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, Refused> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map_err(|_| Refused::new(Code::TooManyStreams, "the node has all the streams it may have"))
    }

    /// Starts a stream.
    pub(super) fn open(&self, gateway: &Gateway, wanted: Wanted) -> Result<Answers<SubscribeResponse>, Refused> {
        let open = Open::new(self.permit()?, Arc::clone(&self.accounts), &wanted.account)?;
        let (items, received) = mpsc::channel(QUEUE_MAX);
        let verdict = Arc::new(OnceLock::new());
        let shard = gateway.router.shard_of(&wanted.account);
        let subscription = gateway.router.feed().subscribe(&wanted.account, wanted.after, wanted.patterns);
        // It ends by itself only when that comes later.
        if !gateway.router.is_readable(shard) {
            return Err(FeedError::Withdrawn { shard }.into());
        }
        let pump = Pump {
            subscription,
            shard,
            account: wanted.account,
            until: wanted.until,
            seen: wanted.after,
            items,
            _open: open,
        };
        let line = pump.items.clone();
        self.run("subscription", pump.run(), line, Arc::clone(&verdict));
        Ok(answers(received, verdict))
    }

    /// Lets a pump run until it ends or the node stops.
    pub(super) fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        pump: impl Future<Output = Result<(), Refused>> + Send + 'static,
        line: mpsc::Sender<T>,
        verdict: Arc<OnceLock<Refused>>,
    ) {
        let stop = self.stop.clone();
        supervisor::spawn(name, async move {
            let ended = tokio::select! {
                ended = pump => ended,
                () = stop.cancelled() => Err(Refused::new(Code::NotReady, "the node is stopping")),
            };
            if let Err(refused) = ended {
                verdict.set(refused).expect("a pump ends once");
            }
            drop(line); // Held until the verdict is there, so that the connection does not look for it too early.
        });
    }
}

/// Hands an item to the connection; false when the subscriber is gone, a refusal when it takes nothing for too long.
pub(super) async fn hand_on<T>(items: &mpsc::Sender<T>, item: T) -> Result<bool, Refused> {
    match tokio::time::timeout(STALL_MAX, items.send(item)).await {
        Ok(sent) => Ok(sent.is_ok()),
        Err(_) => {
            metrics::subscriptions_cut().increment(1);
            let message = format!("nothing was read for {} s", STALL_MAX.as_secs());
            Err(Refused::new(Code::ReadTooSlow, message))
        }
    }
}

/// What the pump sends, then why it ended if it was not the end.
pub(super) fn answers<T: Send + 'static>(items: mpsc::Receiver<T>, verdict: Arc<OnceLock<Refused>>) -> Answers<T> {
    let sent = stream::unfold(items, |mut items| async move { items.recv().await.map(|item| (Ok(item), items)) });
    let ended = stream::once(async move { verdict.get().map(|refused| Err(refused.status())) });
    sent.chain(ended.filter_map(std::future::ready)).boxed()
}

struct Pump {
    subscription: Subscription,
    account: AccountId,
    shard: ShardId,
    until: Option<u64>,
    /// The number everything up to which was sent or not wanted.
    seen: u64,
    items: mpsc::Sender<SubscribeResponse>,
    _open: Open,
}

impl Pump {
    /// Runs until the end that was asked for, the subscriber is gone, or it is too slow.
    async fn run(mut self) -> Result<(), Refused> {
        while self.until.is_none_or(|until| self.seen < until) {
            let next = tokio::select! {
                next = self.subscription.next() => next?,
                () = self.items.closed() => return Ok(()),
            };
            if let Some(item) = self.wire(next)
                && !hand_on(&self.items, SubscribeResponse { item: Some(item) }).await?
            {
                return Ok(());
            }
        }
        Ok(())
    }

    fn wire(&mut self, item: Item) -> Option<WireItem> {
        match item {
            Item::Event(entry) => {
                if self.until.is_some_and(|until| entry.seq > until) {
                    self.seen = entry.seq;
                    return None; // It happened after the stream was asked for.
                }
                self.seen = entry.seq;
                Some(WireItem::Event(public_event(&self.account, self.shard, &entry)))
            }
            Item::Gap { first_lost_seq, last_lost_seq } => {
                self.seen = last_lost_seq;
                Some(WireItem::Gap(Gap { first_lost_seq, last_lost_seq }))
            }
            Item::CaughtUp(seq) => {
                let news = seq > self.seen;
                self.seen = self.seen.max(seq);
                news.then_some(WireItem::CaughtUpSeq(seq)) // An event told already where the feed is.
            }
        }
    }
}

/// Counts a stream while it is open.
struct Open {
    _permit: OwnedSemaphorePermit,
    accounts: Arc<OpenByAccount>,
    account: AccountId,
}

impl Open {
    fn new(permit: OwnedSemaphorePermit, accounts: Arc<OpenByAccount>, account: &AccountId) -> Result<Self, Refused> {
        let mut open = accounts.lock();
        let count = open.entry(account.clone()).or_default();
        if *count >= STREAMS_PER_ACCOUNT_MAX {
            let message = format!("the account has {STREAMS_PER_ACCOUNT_MAX} open streams, which is the limit");
            return Err(Refused::new(Code::TooManyStreams, message));
        }
        *count += 1;
        drop(open);
        metrics::subscriptions().increment(1);
        Ok(Self { _permit: permit, accounts, account: account.clone() })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::subscriptions().decrement(1);
        let mut open = self.accounts.lock();
        if let Some(count) = open.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.account);
            }
        }
    }
}

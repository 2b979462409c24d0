//! Serves one endpoint: reads ahead, posts many events at a time, and reports what became of them together.
//!
//! # Decisions
//! - Reports go one at a time; what ends meanwhile goes into the next one. So a busy endpoint costs the log one decision
//!   for dozens of deliveries, and an idle one is reported at once.
//! - Settings are read once. Whoever changes them has the board end this task and begin another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::FuturesUnordered;
use steward_cluster::clock::Timestamp;

use super::board::{EndpointKey, Signals};
use super::message;
use super::post::{Addressed, unanswered};
use super::queue::{Item, PATIENCE, Queue, Report, Way};
use super::send::{Post, unreadable};
use super::sieve::Sieve;
use super::width::Width;
use crate::domain::account::limits::PENDING_MAX;
use crate::domain::account::{Account, Answer, Command, DeliveryOutcome, Endpoint, Reported};
use crate::metrics;
use crate::rate::Rate;
use crate::shard::{ExecuteError, FeedEntry, ReadError};

/// Events read from the feed at a time.
const PAGE_MAX: usize = 64;
/// Events read ahead of what is reported.
const WINDOW_MAX: usize = 256;
/// The largest body that is kept in memory until it is posted.
const BODY_KEPT_MAX: usize = 8 * 1024;
/// How long a task waits for news before it ends.
const IDLE_MAX: Duration = Duration::from_secs(30);

type Flights<'p> = FuturesUnordered<BoxFuture<'p, (u64, DeliveryOutcome)>>;
type Telling<'p> = BoxFuture<'p, (Report, Option<Result<Answer, ExecuteError>>)>;

/// Works for one endpoint until there has been nothing to send for a while.
pub(super) async fn serve(post: &Post, key: &EndpointKey, signals: &Signals) {
    let Some((account, endpoint)) = post.read(key) else { return };
    if endpoint.disabled.is_some() || endpoint.is_paused {
        return post.board.rests(key);
    }
    match Engine::new(post, key, &account, endpoint) {
        Ok(engine) => engine.run(signals).await,
        Err(error) => unreadable(&key.0, &error),
    }
}

struct Engine<'p> {
    post: &'p Post,
    key: &'p EndpointKey,
    endpoint: Endpoint,
    /// Or why nothing can be posted.
    addressed: Result<Arc<Addressed>, String>,
    sieve: Sieve,
    queue: Queue,
    width: Width,
    rate: Option<Rate>,
    /// Until when the circuit is open.
    circuit: Option<Duration>,
    has_news: bool,
    flights: Flights<'p>,
    telling: Option<Telling<'p>>,
}

impl<'p> Engine<'p> {
    fn new(post: &'p Post, key: &'p EndpointKey, account: &Account, mut endpoint: Endpoint) -> Result<Self, ReadError> {
        let settings = &endpoint.settings;
        let (sieve, broken) = match Sieve::new(&settings.filter, &settings.ordering_key) {
            Ok(sieve) => (sieve, None),
            Err(error) => (Sieve::default(), Some(error)),
        };
        let addressed = Addressed::open(account, &endpoint, &post.egress, &post.sealer).map(Arc::new);
        let addressed = broken.map_or(addressed, Err);
        let rate = Rate::new(settings.rate_per_s);
        let mut queue = Queue::default();
        queue.begin(Way::Feed, endpoint.cursor);
        if let Some(recovery) = endpoint.recovery {
            queue.begin(Way::Recovery, recovery.cursor);
        }
        let pending = std::mem::take(&mut endpoint.pending);
        let mut engine = Self {
            post,
            key,
            endpoint,
            addressed,
            sieve,
            queue,
            width: Width::default(),
            rate,
            circuit: None,
            has_news: true,
            flights: FuturesUnordered::new(),
            telling: None,
        };
        for (seq, pending) in pending {
            let due = engine.due(pending.retry_at)?;
            let line = if engine.sieve.has_order() { engine.line_of(seq)? } else { None };
            engine.queue.add(seq, Item { new_by: None, line, due, body: None });
        }
        engine.note_circuit()?;
        Ok(engine)
    }

    async fn run(mut self, signals: &Signals) {
        loop {
            if let Err(error) = self.fill() {
                return unreadable(&self.key.0, &error);
            }
            let now = self.post.clock.monotonic();
            self.dispatch(now);
            if self.telling.is_none() {
                self.telling = self.queue.report(now).map(|report| self.tell(report));
            }
            let wait = self.wait(now);
            tokio::select! {
                Some((seq, outcome)) = self.flights.next(), if !self.flights.is_empty() => self.landed(seq, outcome),
                (report, told) = ended(&mut self.telling), if self.telling.is_some() => {
                    self.telling = None;
                    match self.told(report, told) {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(error) => return unreadable(&self.key.0, &error),
                    }
                }
                () = signals.news.notified() => self.has_news = true,
                () = tokio::time::sleep(wait.unwrap_or(IDLE_MAX)) => {
                    if wait.is_none() && self.is_idle() {
                        return;
                    }
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.telling.is_none() && self.queue.len() == 0
    }

    /// Reads ahead as far as there is room.
    fn fill(&mut self) -> Result<(), ReadError> {
        if let Some(recovery) = self.endpoint.recovery {
            let read = self.queue.read(Way::Recovery);
            while read.is_some() && self.has_room() && self.queue.read(Way::Recovery) < Some(recovery.through_seq) {
                self.page(Way::Recovery, recovery.through_seq)?;
            }
        }
        if self.has_news {
            self.post.board.looks(self.key);
        }
        while self.has_news && self.has_room() {
            self.has_news = self.page(Way::Feed, u64::MAX)?;
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.queue.new_events() < WINDOW_MAX && self.queue.len() + WINDOW_MAX < PENDING_MAX
    }

    /// Reads a page, up to a number. Whether there may be more.
    fn page(&mut self, way: Way, through_seq: u64) -> Result<bool, ReadError> {
        let after = self.queue.read(way).unwrap_or(through_seq);
        let page = self.post.commands.reads().events(&self.key.0, after, PAGE_MAX)?;
        let is_full = page.len() == PAGE_MAX;
        let last = page.last().map_or(after, |entry| entry.seq);
        let mut next = after + 1;
        for entry in page.iter().filter(|entry| entry.seq <= through_seq) {
            if entry.seq > next {
                // Retention took what lies between; the last of it stands for all and says so.
                self.queue.add(entry.seq - 1, Item { new_by: Some(way), line: None, due: Duration::ZERO, body: None });
            }
            self.take(way, entry);
            next = entry.seq + 1;
        }
        let last = if is_full { last } else { last.max(if way == Way::Recovery { through_seq } else { 0 }) };
        self.queue.read_to(way, last.min(through_seq));
        Ok(is_full)
    }

    fn take(&mut self, way: Way, entry: &FeedEntry) {
        if !message::wanted(&self.endpoint, &entry.event) {
            return;
        }
        let document = message::document(&self.key.0, entry);
        if !self.sieve.lets_through(&document) {
            return;
        }
        let body = Bytes::from(document.to_string());
        let body = (body.len() <= BODY_KEPT_MAX).then_some(body);
        let item = Item { new_by: Some(way), line: self.sieve.line(&document), due: Duration::ZERO, body };
        self.queue.add(entry.seq, item);
    }

    fn dispatch(&mut self, now: Duration) {
        if let Some(until) = self.circuit {
            // One attempt decides.
            let is_free = self.flights.is_empty() && self.telling.is_none() && !self.queue.has_done();
            if now < until || !is_free {
                return;
            }
        }
        let width = if self.circuit.is_some() { 1 } else { self.width.get() };
        while self.flights.len() < width && self.rate_opens() <= now {
            let Some((seq, body)) = self.queue.start(now) else { return };
            if let Some(rate) = &mut self.rate {
                rate.take(now).expect("it is open");
            }
            self.flights.push(self.post_one(seq, body));
        }
    }

    fn rate_opens(&self) -> Duration {
        self.rate.as_ref().map_or(Duration::ZERO, Rate::opens)
    }

    fn post_one(&self, seq: u64, body: Option<Bytes>) -> BoxFuture<'p, (u64, DeliveryOutcome)> {
        let (post, key, addressed) = (self.post, self.key, self.addressed.clone());
        let posting = async move {
            let addressed = match addressed {
                Ok(addressed) => addressed,
                Err(error) => return (seq, unanswered(error, Duration::ZERO)),
            };
            let posting = async {
                let body = match body.map_or_else(|| read_again(post, key, seq), |body| Ok(Some(body))) {
                    Ok(Some(body)) => body,
                    Ok(None) => return DeliveryOutcome::Forgotten,
                    Err(error) => return unanswered(error.to_string(), Duration::ZERO),
                };
                let id = message::id(&key.0, &key.1, seq);
                addressed.post(&id, body, &*post.clock, post.timeout).await
            };
            (seq, post.slots.post(key, posting).await)
        };
        posting.boxed()
    }

    fn landed(&mut self, seq: u64, outcome: DeliveryOutcome) {
        metrics::delivery_ended(&outcome);
        if let DeliveryOutcome::Failed { status: None | Some(429 | 502..=504), .. } = &outcome {
            self.width.strained();
        } else {
            self.width.answered();
        }
        self.queue.finish(seq, outcome);
    }

    fn tell(&self, report: Report) -> Telling<'p> {
        let (post, key) = (self.post, self.key);
        let Report { moved, outcomes } = report.clone();
        // What one event caused says which; what many caused stands in the data of each.
        let causation_seq = if let [Reported { event_seq, .. }] = outcomes[..] { event_seq } else { 0 };
        let command = Command::ReportDeliveries { endpoint: key.1.clone(), moved, outcomes };
        async move { (report, post.execute(key, command, causation_seq).await) }.boxed()
    }

    /// A report was answered. Whether to go on.
    fn told(&mut self, report: Report, told: Option<Result<Answer, ExecuteError>>) -> Result<bool, ReadError> {
        match told {
            None => {
                self.queue.untold(report);
                return Ok(true);
            }
            Some(Err(_)) => return Ok(false), // The endpoint is gone.
            Some(Ok(_)) => {}
        }
        let mut retries = BTreeMap::new();
        for reported in &report.outcomes {
            if let DeliveryOutcome::Failed { .. } = reported.outcome
                && let Some(pending) =
                    self.post.commands.reads().pending(&self.key.0, &self.key.1, reported.event_seq)?
            {
                retries.insert(reported.event_seq, self.due(pending.retry_at)?);
            }
        }
        self.queue.told(&report, &retries);
        if let Some(recovery) = self.endpoint.recovery {
            self.queue.end(Way::Recovery, recovery.through_seq);
        }
        let Some(endpoint) = self.post.commands.reads().endpoint(&self.key.0, &self.key.1)? else { return Ok(false) };
        let goes_on = endpoint.disabled.is_none() && !endpoint.is_paused;
        self.endpoint.health = endpoint.health;
        self.note_circuit()?;
        Ok(goes_on)
    }

    fn note_circuit(&mut self) -> Result<(), ReadError> {
        let until = self.endpoint.health.circuit.map(|circuit| self.due(circuit.until)).transpose()?;
        // One that is known already keeps its time, whatever became of the wall clock.
        self.circuit = until.map(|until| self.circuit.filter(|known| until <= *known).unwrap_or(until));
        Ok(())
    }

    /// How long there is nothing to do but for what is awaited anyway; none when nothing at all is.
    fn wait(&self, now: Duration) -> Option<Duration> {
        let stuck = (self.queue.has_done() && self.telling.is_none()).then_some(PATIENCE);
        let opens = self.circuit.unwrap_or_default().max(self.rate_opens());
        let has_width = self.circuit.is_some() || self.flights.len() < self.width.get();
        let next = self.queue.next_due().filter(|_| has_width);
        let next = next.map(|due| due.max(opens).saturating_sub(now)).filter(|wait| !wait.is_zero());
        stuck.into_iter().chain(next).min()
    }

    /// When a time of the account comes, by this node's monotonic clock.
    fn due(&self, at: Timestamp) -> Result<Duration, ReadError> {
        let clock = &self.post.clock;
        if at == Timestamp::default() {
            return Ok(Duration::ZERO);
        }
        let now = clock.now().max(self.post.commands.reads().newest_at(&self.key.0)?);
        Ok(clock.monotonic() + at.since(now))
    }

    fn line_of(&self, seq: u64) -> Result<Option<u64>, ReadError> {
        let entry = entry(self.post, self.key, seq)?;
        Ok(entry.and_then(|entry| self.sieve.line(&message::document(&self.key.0, &entry))))
    }
}

async fn ended<'p>(telling: &mut Option<Telling<'p>>) -> (Report, Option<Result<Answer, ExecuteError>>) {
    match telling {
        Some(telling) => telling.await,
        None => std::future::pending().await,
    }
}

fn entry(post: &Post, key: &EndpointKey, seq: u64) -> Result<Option<FeedEntry>, ReadError> {
    let found = post.commands.reads().events(&key.0, seq - 1, 1)?.pop();
    Ok(found.filter(|entry| entry.seq == seq))
}

fn read_again(post: &Post, key: &EndpointKey, seq: u64) -> Result<Option<Bytes>, ReadError> {
    Ok(entry(post, key, seq)?.map(|entry| message::document(&key.0, &entry).to_string().into()))
}

//! Clients, readers and subscribers at work on a cluster while a test breaks it. What they saw becomes a [`History`].
//!
//! A receiver takes the outbound webhooks that the accepted ones cause. Every client sends webhooks with ids of their own to accounts drawn from its seed, one at a time, and sends one again,
//! with the same id, as long as nobody answered for it. Everybody finds the nodes through [`Nodes`], which the test keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use steward_proto::account::v1::GetAccountRequest;
use steward_proto::event::v1::subscribe_request::From as Start;
use steward_proto::event::v1::subscribe_response::Item;
use steward_proto::event::v1::{Event, SubscribeRequest, SubscribeResponse};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tonic::Streaming;

use super::api::Api;
use super::everything;
use super::feed::data;
use super::history::{Command, History, Moment, Outcome, Read, SeenEvent, Subscriber};
use super::http::Http;
use super::meter::{Measured, Meter};
use super::outside::Outside;
use super::sign::{Delivery, Platform};
use super::wait::{WAIT_MAX, eventually, found_within, now_ms};
use super::whereabouts::{Address, Nodes};

/// How long one attempt may take before its outcome counts as unknown.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// How long a client goes on with one command.
const COMMAND_MAX: Duration = Duration::from_secs(30);
/// What outbound webhooks are signed with.
const RECEIVER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Of so many commands of a client one is forged, and must be refused whatever happens meanwhile.
const FORGED_EVERY: u64 = 10;
const FORGED_SECRET: &str = "not the secret of any source";
/// Ids of two clients never meet.
const IDS_PER_CLIENT: u64 = 1_000_000;

/// How much each client sends.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// So many commands, each as soon as the one before is answered.
    Commands(u64),
    /// One command in so long, until the run is finished; later when an answer is late.
    Every(Duration),
}

/// Who does how much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub accounts: usize,
    pub clients: u64,
    pub load: Load,
    /// Of accounts drawn at random.
    pub subscribers: u64,
    pub readers: u64,
    /// The address of this machine at which nodes reach the receiver.
    pub receiver: &'static str,
}

/// A run under way.
pub struct Run {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<Command>>>,
    readers: Vec<JoinHandle<Vec<Read>>>,
    subscribers: Vec<JoinHandle<Subscriber>>,
    /// Who reads all accounts at once.
    everything: JoinHandle<Vec<Subscriber>>,
    receiver: Outside,
}

struct Shared {
    plan: Plan,
    nodes: Nodes,
    /// The path of each account's source.
    paths: BTreeMap<String, String>,
    moments: AtomicU64,
    meter: Meter,
    /// Set when clients with a steady load have sent enough.
    is_enough: AtomicBool,
    /// Set when the clients are done: readers end.
    is_over: AtomicBool,
    /// How far each account is in the end: subscribers read so far.
    ends: watch::Sender<Option<BTreeMap<String, u64>>>,
}

impl Run {
    /// Makes the accounts, then starts everybody.
    pub async fn start(plan: Plan, nodes: Nodes) -> Self {
        let first = nodes.all().first().expect("a node is up").clone();
        let api = Api::connect(&first.grpc, &first.key).await;
        let receiver = Outside::start_on(plan.receiver, |_, _| (204, vec![], vec![]));
        let mut paths = BTreeMap::new();
        for number in 0..plan.accounts {
            let account = format!("account-{number}");
            api.create_account(&account).await;
            let (scheme, secret) = (Platform::GitHub.scheme(), Platform::GitHub.secret());
            paths.insert(account.clone(), api.create_source(&account, "code", scheme, secret).await);
            let (url, pattern) = (receiver.url("/in"), Platform::GitHub.event_type());
            api.create_endpoint(&account, "receiver", &url, pattern, RECEIVER_SECRET).await;
        }
        let shared = Arc::new(Shared {
            plan,
            nodes,
            paths,
            moments: AtomicU64::new(0),
            meter: Meter::start(),
            is_enough: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            ends: watch::channel(None).0,
        });
        let of = |number: u64| (Arc::clone(&shared), number);
        let clients = (0..plan.clients).map(of).map(|(shared, client)| apart(move || shared.client(client)));
        let readers = (0..plan.readers).map(of).map(|(shared, reader)| apart(move || shared.reader(reader)));
        let subscribers = (0..plan.subscribers).map(of).map(|(shared, at)| apart(move || shared.subscriber(at)));
        let (clients, readers, subscribers) = (clients.collect(), readers.collect(), subscribers.collect());
        let (nodes, seed, ends) = (shared.nodes.clone(), plan.seed ^ (3 << 32), shared.ends.subscribe());
        let everything = apart(move || everything::read(nodes, seed, ends));
        Self { shared, clients, readers, subscribers, everything, receiver }
    }

    /// Commands acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.measured().acknowledged
    }

    /// How it went so far.
    #[must_use]
    pub fn measured(&self) -> Measured {
        self.shared.meter.read()
    }

    /// The time that 99 of 100 commands took at most, without so many that came first.
    #[must_use]
    pub fn p99(&self, without: u64) -> Duration {
        self.shared.meter.p99(without)
    }

    /// Waits until so many more commands are acknowledged.
    pub async fn goes_on(&self, commands: u64) {
        let enough = self.acknowledged() + commands;
        let acknowledged = async || (self.acknowledged() >= enough).then_some(());
        eventually(WAIT_MAX, "commands to be acknowledged", acknowledged).await;
    }

    /// Goes on for so long, whatever happens.
    pub async fn goes_on_for(&self, time: Duration) {
        let until = self.shared.meter.now() + time;
        eventually(time + WAIT_MAX, "time to pass", async || (self.shared.meter.now() >= until).then_some(())).await;
    }

    /// Waits until the clients are done, then until receiver and subscribers have what they left; reads the feeds.
    pub async fn finish(self) -> History {
        let Self { shared, clients, readers, subscribers, everything, receiver } = self;
        shared.is_enough.store(true, Ordering::Release);
        let commands: Vec<Command> = all(clients).await.into_iter().flatten().collect();
        let accepted = |command: &&Command| matches!(command.outcome, Outcome::Accepted { .. });
        let accepted: BTreeSet<&str> = commands.iter().filter(accepted).map(|command| command.id.as_str()).collect();
        // What is unknown may arrive as well; the check will tell.
        let all_arrived = async || {
            let effects = effects(&receiver);
            let got: BTreeSet<&str> = effects.values().flatten().map(String::as_str).collect();
            accepted.is_subset(&got).then_some(())
        };
        eventually(WAIT_MAX, "the receiver to get every webhook", all_arrived).await;
        shared.is_over.store(true, Ordering::Release);
        let reads = all(readers).await.into_iter().flatten().collect();
        let mut replicas = vec![];
        let nodes = shared.nodes.all();
        for node in &nodes {
            replicas.push(shared.feeds(node).await);
        }
        let last = |feed: &Vec<SeenEvent>| feed.last().map_or(0, |seen| seen.seq);
        let ends: BTreeMap<String, u64> =
            replicas[0].iter().map(|(account, feed)| (account.clone(), last(feed))).collect();
        shared.ends.send_replace(Some(ends.clone()));
        let subscribers = timeout(WAIT_MAX, all(subscribers)).await.expect("the subscribers read to the end");
        let of_all = timeout(WAIT_MAX, all(vec![everything])).await.expect("so does the one to everything");
        // Each account is looked at as if it had a subscriber of its own.
        let of_all = of_all.into_iter().flatten().filter(|one| shared.paths.contains_key(&one.account));
        let mut subscribers: Vec<Subscriber> = subscribers.into_iter().chain(of_all).collect();
        for one in &mut subscribers {
            // An account may go on by itself (a breaker that opens, a task tried again) after its feed was read.
            one.events.retain(|seen| seen.seq <= ends[&one.account]);
        }
        History { commands, reads, subscribers, replicas, effects: Some(effects(&receiver)) }
    }
}

impl Shared {
    fn moment(&self) -> Moment {
        self.moments.fetch_add(1, Ordering::AcqRel)
    }

    fn any_account(&self, random: &mut StdRng) -> &str {
        let at = random.random_range(0..self.paths.len());
        self.paths.keys().nth(at).expect("fewer than there are")
    }

    async fn client(self: Arc<Self>, client: u64) -> Vec<Command> {
        let mut random = StdRng::seed_from_u64(self.plan.seed ^ client);
        let mut commands = vec![];
        let (count, pause) = match self.plan.load {
            Load::Commands(count) => (count, None),
            Load::Every(pause) => (IDS_PER_CLIENT, Some(pause)),
        };
        let mut beat = pause.map(interval);
        for number in 0..count {
            if let Some(beat) = &mut beat {
                beat.tick().await;
                if self.is_enough.load(Ordering::Acquire) {
                    break;
                }
            }
            let account = self.any_account(&mut random).to_owned();
            let delivery = Platform::GitHub.sample(client * IDS_PER_CLIENT + number);
            let sent = self.moment();
            let secret = if number % FORGED_EVERY == 0 { FORGED_SECRET } else { Platform::GitHub.secret() };
            let outcome = self.insist(&account, &delivery, secret, &mut random).await;
            commands.push(Command { account, id: delivery.id, sent, ended: self.moment(), outcome });
        }
        commands
    }

    /// Sends until somebody answers for it or the time is over.
    async fn insist(&self, account: &str, delivery: &Delivery, secret: &str, random: &mut StdRng) -> Outcome {
        let since = self.meter.now();
        let answered = found_within(COMMAND_MAX, async || self.attempt(account, delivery, secret, random).await).await;
        let outcome = answered.unwrap_or(Outcome::Unknown);
        if let Outcome::Accepted { .. } = outcome {
            self.meter.acknowledged(since);
        }
        outcome
    }

    /// One attempt; nothing when it is to be made again.
    async fn attempt(&self, account: &str, delivery: &Delivery, secret: &str, random: &mut StdRng) -> Option<Outcome> {
        let node = self.nodes.any(random)?;
        let headers = delivery.signed_with(secret, now_ms(), "");
        let sending = async {
            let mut http = Http::connect(&node.http).await?;
            http.send("POST", &self.paths[account], &headers, &delivery.body).await
        };
        let Ok(Ok(reply)) = timeout(ATTEMPT_MAX, sending).await else {
            self.meter.unanswered();
            return None;
        };
        match reply.status {
            200 => Some(Outcome::Accepted { seq: reply.json()["seq"].as_u64().expect("an answer has a number") }),
            401 => Some(Outcome::Refused),
            _ => {
                self.meter.refused(reply.json()["code"].as_str().unwrap_or("without a code"));
                None
            }
        }
    }

    async fn reader(self: Arc<Self>, reader: u64) -> Vec<Read> {
        let mut random = StdRng::seed_from_u64(self.plan.seed ^ (1 << 32) ^ reader);
        let mut reads = vec![];
        while !self.is_over.load(Ordering::Acquire) {
            let account = self.any_account(&mut random).to_owned();
            let answered = found_within(WAIT_MAX, async || {
                let node = self.nodes.any(&mut random)?;
                let asked = self.moment();
                let last_seq = last_seq(&node, &account).await?;
                Some(Read { account: account.clone(), asked, answered: self.moment(), last_seq })
            });
            reads.push(answered.await.expect("a node answers in the end"));
        }
        reads
    }

    async fn subscriber(self: Arc<Self>, subscriber: u64) -> Subscriber {
        let mut random = StdRng::seed_from_u64(self.plan.seed ^ (2 << 32) ^ subscriber);
        let account = self.any_account(&mut random).to_owned();
        let mut events: Vec<SeenEvent> = vec![];
        let mut ends = self.ends.subscribe();
        loop {
            let seq = events.last().map_or(0, |seen| seen.seq);
            let end = ends.borrow_and_update().as_ref().map(|ends| ends[&account]);
            if end.is_some_and(|end| seq >= end) {
                return Subscriber { account, events };
            }
            let opened = found_within(WAIT_MAX, async || subscribe(&self.nodes.any(&mut random)?, &account, seq).await);
            let stream = opened.await.expect("a node takes the subscription in the end");
            tokio::select! {
                () = follow(stream, &mut events, end) => {}
                // From here on it is known where to stop.
                changed = ends.changed(), if end.is_none() => changed.expect("the run is there"),
            }
        }
    }

    /// What a node has of every account.
    async fn feeds(&self, node: &Address) -> BTreeMap<String, Vec<SeenEvent>> {
        let api = Api::connect(&node.grpc, &node.key).await;
        let mut feeds = BTreeMap::new();
        for account in self.paths.keys() {
            feeds.insert(account.clone(), api.feed(account).await.iter().map(seen).collect());
        }
        feeds
    }
}

/// Somebody of the run, with a thread and a runtime of its own.
fn apart<T: Send + 'static, F: Future<Output = T>>(work: impl FnOnce() -> F + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(work())
    })
}

/// What all of them saw; the panic of one is the caller's.
async fn all<T: Send + 'static>(working: Vec<JoinHandle<T>>) -> Vec<T> {
    let join = |one: JoinHandle<T>| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let joining = tokio::task::spawn_blocking(move || working.into_iter().map(join).collect());
    joining.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

async fn last_seq(node: &Address, account: &str) -> Option<u64> {
    let request = GetAccountRequest { account_id: account.to_owned() };
    let asking =
        async { Api::try_connect(&node.grpc, &node.key).await.ok()?.accounts().get_account(request).await.ok() };
    let answer = timeout(ATTEMPT_MAX, asking).await.ok()??;
    Some(answer.into_inner().account?.last_seq)
}

/// Subscribes after an event; nothing when the node refuses or is down.
async fn subscribe(node: &Address, account: &str, seq: u64) -> Option<Streaming<SubscribeResponse>> {
    let from = Some(Start::AfterSeq(seq));
    let request = SubscribeRequest { account_id: account.to_owned(), from, types: vec![], until_now: false };
    let opening = async { Api::try_connect(&node.grpc, &node.key).await.ok()?.events().subscribe(request).await.ok() };
    Some(timeout(ATTEMPT_MAX, opening).await.ok()??.into_inner())
}

/// Reads until the end that is known or until the stream breaks.
async fn follow(mut stream: Streaming<SubscribeResponse>, events: &mut Vec<SeenEvent>, end: Option<u64>) {
    while let Ok(Some(answer)) = stream.message().await {
        match answer.item {
            Some(Item::Event(event)) => events.push(seen(&event)),
            Some(Item::Gap(gap)) => panic!("the feed lost events: {gap:?}"),
            Some(Item::CaughtUpSeq(_)) | None => {}
        }
        if end.is_some_and(|end| events.last().is_some_and(|last| last.seq >= end)) {
            return;
        }
    }
}

/// The ids of the webhooks that arrived, by account.
///
/// # Panics
/// When one message id stands for two of them.
fn effects(receiver: &Outside) -> BTreeMap<String, Vec<String>> {
    let mut effects: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut by_message: BTreeMap<String, String> = BTreeMap::new();
    for request in receiver.seen() {
        let body: Value = serde_json::from_slice(&request.body).expect("a delivery is JSON");
        let data = &body["data"];
        let account = data["account_id"].as_str().expect("a delivery names its account").to_owned();
        let id = data["event"]["delivery_ids"][0].as_str().expect("a delivery of an accepted webhook").to_owned();
        let message = request.header("webhook-id").expect("a delivery has an id").to_owned();
        let known = by_message.entry(message).or_insert_with(|| id.clone());
        assert_eq!(*known, id, "one message id for two webhooks");
        effects.entry(account).or_default().push(id);
    }
    effects
}

fn seen(event: &Event) -> SeenEvent {
    let id = data(event)["delivery_ids"][0].as_str().map(str::to_owned);
    SeenEvent { seq: event.seq, id }
}

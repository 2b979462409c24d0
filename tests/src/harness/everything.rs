//! A subscriber to everything: reads all accounts from the beginning, on whatever node it finds, and goes on at its last
//! cursor or where its named consumer stands. What it saw behind the cursor it goes on from is forgotten first, as it
//! comes again.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use steward_proto::event::v1::subscribe_all_request::From as Start;
use steward_proto::event::v1::subscribe_all_response::Item;
use steward_proto::event::v1::{AckAllConsumerRequest, SubscribeAllRequest, SubscribeAllResponse};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Streaming;

use super::api::Api;
use super::feed::data;
use super::history::{SeenEvent, Subscriber};
use super::wait::{WAIT_MAX, found_within};
use super::whereabouts::{Address, Nodes};

/// How long a node may take to open a stream, or to note a cursor: an election, and what is behind it.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Of so many cursors one is acknowledged.
const CURSORS_PER_ACK: u32 = 4;
/// After so many cursors it goes to another node.
const CURSORS_PER_STREAM: u32 = 40;
const CONSUMER: &str = "history";

/// How many events of each account there are.
type Counts = BTreeMap<String, usize>;

/// What was seen, and how much of it counts.
#[derive(Default)]
struct Seen {
    accounts: BTreeMap<String, Vec<SeenEvent>>,
    /// The last cursor, and what it covers; none: the beginning.
    covered: Option<(String, Counts)>,
    /// What the consumer's place covers, when that is known for sure.
    acked: Option<Counts>,
}

/// Reads until every account has what it has in the end, which is told once it is known.
pub(super) async fn read(
    nodes: Nodes,
    seed: u64,
    mut ends: watch::Receiver<Option<BTreeMap<String, u64>>>,
) -> Vec<Subscriber> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut seen = Seen::default();
    loop {
        let end = ends.borrow_and_update().clone();
        if end.as_ref().is_some_and(|end| seen.covers(end)) {
            return seen.subscribers();
        }
        let from = seen.go_back(&mut random);
        let opened = found_within(WAIT_MAX, async || {
            let node = nodes.any(&mut random)?;
            Some((open(&node, from.clone()).await?, node))
        });
        let (stream, node) = opened.await.expect("a node takes the subscription to everything in the end");
        tokio::select! {
            () = seen.follow(stream, &node, end.as_ref()) => {}
            changed = ends.changed(), if end.is_none() => changed.expect("the run is there"),
        }
    }
}

async fn open(node: &Address, from: Option<Start>) -> Option<Streaming<SubscribeAllResponse>> {
    let request = SubscribeAllRequest { from, types: vec![], until_now: false };
    let opening =
        async { Api::try_connect(&node.grpc, &node.key).await.ok()?.events().subscribe_all(request).await.ok() };
    Some(timeout(ATTEMPT_MAX, opening).await.ok()??.into_inner())
}

async fn acknowledge(node: &Address, cursor: &str) -> bool {
    let request = AckAllConsumerRequest { consumer: CONSUMER.to_owned(), cursor: cursor.to_owned() };
    let noting = async {
        let api = Api::try_connect(&node.grpc, &node.key).await.ok()?;
        api.events().ack_all_consumer(request).await.ok()
    };
    timeout(ATTEMPT_MAX, noting).await.is_ok_and(|noted| noted.is_some())
}

impl Seen {
    /// Takes what comes until the stream breaks, the end is covered, or it is time for another node.
    async fn follow(
        &mut self,
        mut stream: Streaming<SubscribeAllResponse>,
        node: &Address,
        end: Option<&BTreeMap<String, u64>>,
    ) {
        let mut cursors = 0;
        while cursors < CURSORS_PER_STREAM
            && let Ok(Some(answer)) = stream.message().await
        {
            match answer.item {
                Some(Item::Event(event)) => {
                    let id = data(&event)["delivery_ids"][0].as_str().map(str::to_owned);
                    let account = self.accounts.entry(event.account_id).or_default();
                    let next = u64::try_from(account.len()).expect("a run is short") + 1;
                    assert_eq!(event.seq, next, "a subscriber to everything misses an event or got one twice");
                    account.push(SeenEvent { seq: event.seq, id });
                }
                Some(Item::Gap(gap)) => panic!("the feed lost events: {gap:?}"),
                Some(Item::Cursor(cursor)) => {
                    cursors += 1;
                    let counts = self.counts();
                    if cursors % CURSORS_PER_ACK == 0 {
                        self.acked = None; // Until it is known where the consumer stands.
                        self.acked = acknowledge(node, &cursor).await.then(|| counts.clone());
                    }
                    self.covered = Some((cursor, counts));
                }
                None => {}
            }
            if end.is_some_and(|end| self.covers(end)) {
                return;
            }
        }
    }

    /// Forgets what will come again, and says from where on.
    fn go_back(&mut self, random: &mut StdRng) -> Option<Start> {
        let acked = self.acked.clone().filter(|_| self.covered.is_none() || random.random());
        let (from, counts) = match (acked, &self.covered) {
            (Some(counts), _) => {
                self.covered = None; // It is further than the consumer; the stream begins with another.
                (Some(Start::Consumer(CONSUMER.to_owned())), counts)
            }
            (None, Some((cursor, counts))) => (Some(Start::Cursor(cursor.clone())), counts.clone()),
            (None, None) => (None, Counts::new()),
        };
        for (account, events) in &mut self.accounts {
            events.truncate(counts.get(account).copied().unwrap_or_default());
        }
        from
    }

    fn counts(&self) -> Counts {
        self.accounts.iter().map(|(account, events)| (account.clone(), events.len())).collect()
    }

    fn covers(&self, end: &BTreeMap<String, u64>) -> bool {
        let last = |account: &String| self.accounts.get(account).and_then(|events| events.last());
        end.iter().all(|(account, seq)| last(account).is_some_and(|event| event.seq >= *seq))
    }

    fn subscribers(self) -> Vec<Subscriber> {
        self.accounts.into_iter().map(|(account, events)| Subscriber { account, events }).collect()
    }
}

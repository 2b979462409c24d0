//! Accepted means durable: kill -9 in the middle of everything, and nothing acknowledged is missing or doubled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use steward_proto::event::v1::subscribe_request::From as Start;
use steward_proto::event::v1::subscribe_response::Item;
use steward_proto::event::v1::{AckConsumerRequest, GetConsumerRequest, SubscribeRequest};
use steward_proto::job::v1::CreateJobRequest;
use steward_tests::harness::{Http, Node, Platform, data, now_ms};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::webhooks_in::source;

const ACCOUNTS: usize = 50;
const WEBHOOKS: usize = 500;
const CONNECTIONS: usize = 32;
/// Acknowledgements after which the node is killed.
const KILL_AFTER: usize = 200;

/// A webhook and where it goes.
#[derive(Clone, Debug)]
struct Sending {
    account: usize,
    path: String,
    number: u64,
}

/// Counts acknowledgements and says when there are enough.
#[derive(Default)]
struct Count {
    acknowledged: AtomicUsize,
    enough: Notify,
}

/// Sends over one connection until it breaks; answers what was acknowledged.
async fn send(address: String, sendings: Vec<Sending>, count: Arc<Count>) -> Vec<Sending> {
    let mut acknowledged = vec![];
    let Ok(mut http) = Http::connect(&address).await else { return acknowledged };
    for sending in sendings {
        let delivery = Platform::GitHub.sample(sending.number);
        match http.send("POST", &sending.path, &delivery.signed(now_ms(), ""), &delivery.body).await {
            Ok(answer) => assert_eq!(answer.status, 200, "{}", answer.text()),
            Err(_) => return acknowledged, // Killed: the outcome is unknown.
        }
        acknowledged.push(sending);
        if count.acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == KILL_AFTER {
            count.enough.notify_one();
        }
    }
    acknowledged
}

fn spread(node: &Node, sendings: &[Sending], count: &Arc<Count>) -> JoinSet<Vec<Sending>> {
    let mut senders = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let share: Vec<Sending> = sendings.iter().skip(connection).step_by(CONNECTIONS).cloned().collect();
        senders.spawn(send(node.http().to_owned(), share, Arc::clone(count)));
    }
    senders
}

/// How often each webhook is on its account's feed.
async fn on_feeds(node: &Node) -> HashMap<(usize, String), usize> {
    let api = node.api().await;
    let mut found = HashMap::new();
    for account in 0..ACCOUNTS {
        for event in api.feed_of(&format!("a{account}"), "webhook.github.push").await {
            let id = data(&event)["delivery_ids"][0].as_str().expect("a delivery has an id").to_owned();
            *found.entry((account, id)).or_default() += 1;
        }
    }
    found
}

fn key(sending: &Sending) -> (usize, String) {
    (sending.account, format!("delivery-{}", sending.number))
}

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_there_exactly_once_after_it() {
    let mut node = Node::start();
    let api = node.api().await;
    let mut paths = vec![];
    for account in 0..ACCOUNTS {
        paths.push(source(&api, &format!("a{account}"), Platform::GitHub).await);
    }
    let sending = |at: usize| {
        let number = u64::try_from(at).unwrap();
        Sending { account: at % ACCOUNTS, path: paths[at % ACCOUNTS].clone(), number }
    };
    let all: Vec<Sending> = (0..WEBHOOKS).map(sending).collect();

    let count = Arc::new(Count::default());
    let senders = spread(&node, &all, &count);
    let enough = async { count.enough.notified().await };
    tokio::time::timeout(steward_tests::harness::WAIT_MAX, enough).await.expect("webhooks are acknowledged");
    node.kill();
    let acknowledged: Vec<Sending> = senders.join_all().await.into_iter().flatten().collect();
    assert!(
        (KILL_AFTER..WEBHOOKS).contains(&acknowledged.len()),
        "the kill came in the middle: {}",
        acknowledged.len()
    );

    node.restart();
    let found = on_feeds(&node).await;
    for sending in &acknowledged {
        assert_eq!(found.get(&key(sending)), Some(&1), "{sending:?} was acknowledged");
    }
    assert!(found.values().all(|times| *times == 1), "nothing twice: {found:?}");

    // Platforms send again what was not acknowledged, and often what was.
    let again = spread(&node, &all, &Arc::new(Count::default())).join_all().await;
    assert_eq!(again.iter().map(Vec::len).sum::<usize>(), WEBHOOKS);
    let found = on_feeds(&node).await;
    assert_eq!((found.len(), found.values().max()), (WEBHOOKS, Some(&1)));
}

#[tokio::test]
async fn a_subscriber_goes_on_at_its_cursor_after_a_kill() {
    let mut node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let mut follow = api.follow("acme", 0).await;
    let post = async |node: &Node, numbers: std::ops::Range<u64>| {
        for number in numbers {
            let delivery = Platform::GitHub.sample(number);
            assert_eq!(node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await.status, 200);
        }
    };
    let mut ids = vec![];
    let is_webhook = |event: &steward_proto::event::v1::Event| event.r#type == "webhook.github.push";
    post(&node, 0..20).await;
    while ids.len() < 10 {
        let event = follow.next().await.unwrap();
        ids.extend(is_webhook(&event).then(|| data(&event)["delivery_ids"][0].clone()));
    }
    node.kill();
    // What had been sent before the kill may still come out of the connection.
    while let Ok(event) = follow.next().await {
        ids.extend(is_webhook(&event).then(|| data(&event)["delivery_ids"][0].clone()));
    }
    node.restart();
    post(&node, 20..40).await;
    // `Follow` checks that no event is missing or comes twice.
    let mut follow = node.api().await.follow("acme", follow.seq).await;
    while ids.len() < 40 {
        let event = follow.next().await.unwrap();
        ids.extend(is_webhook(&event).then(|| data(&event)["delivery_ids"][0].clone()));
    }
    let wanted: Vec<String> = (0..40).map(|number| format!("delivery-{number}")).collect();
    assert_eq!(ids, wanted);
}

#[tokio::test]
async fn a_named_consumer_stands_where_it_stood() {
    let mut node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    for number in 0..5 {
        let delivery = Platform::GitHub.sample(number);
        assert_eq!(node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await.status, 200);
    }
    let ack = AckConsumerRequest { account_id: "acme".into(), consumer: "crm".into(), seq: 4 };
    api.events().ack_consumer(ack).await.unwrap();
    node.kill();
    node.restart();
    let api = node.api().await;
    let get = GetConsumerRequest { account_id: "acme".into(), consumer: "crm".into() };
    assert_eq!(api.events().get_consumer(get).await.unwrap().into_inner().seq, 4);
    let from = Some(Start::Consumer("crm".into()));
    let request = SubscribeRequest { account_id: "acme".into(), from, types: vec![], until_now: true };
    let mut stream = api.events().subscribe(request).await.unwrap().into_inner();
    let mut seqs = vec![];
    while let Some(answer) = stream.message().await.unwrap() {
        if let Some(Item::Event(event)) = answer.item {
            seqs.push(event.seq);
        }
    }
    assert_eq!(seqs, [5, 6, 7]);
}

#[tokio::test]
async fn an_idempotency_key_names_the_same_job_after_a_restart() {
    let mut node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    let request = || CreateJobRequest {
        account_id: "acme".into(),
        kind: "probe".into(),
        input_json: r#"{"url": "http://10.0.0.1/never.mp4"}"#.into(),
        idempotency_key: "order-17".into(),
        ..CreateJobRequest::default()
    };
    let first = api.jobs().create_job(request()).await.unwrap().into_inner();
    node.kill();
    node.restart();
    let api = node.api().await;
    assert_eq!(api.jobs().create_job(request()).await.unwrap().into_inner(), first);
    assert_eq!(api.feed_of("acme", "job.requested").await.len(), 1);
}

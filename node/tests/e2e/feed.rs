//! The feed over the wire: cursors, patterns, consumers, and a curl-sized page of CloudEvents.

use steward_proto::event::v1::subscribe_request::From as StartAt;
use steward_proto::event::v1::subscribe_response::Item;
use steward_proto::event::v1::{AckConsumerRequest, GetConsumerRequest, ListEventsRequest, SubscribeRequest};
use tonic::Code;

use crate::harness::{Node, mac, with};

/// An account with ten webhooks on its feed: events 3 to 12.
async fn busy(node: &Node) -> String {
    node.create_account("acme").await;
    let path = node.create_source("acme", "hub", "github-hub256").await;
    for n in 0..10 {
        push(node, &path, n);
    }
    path
}

fn push(node: &Node, path: &str, n: u32) {
    let body = format!("{{\"n\": {n}}}");
    let signature = format!("sha256={}", mac(&[body.as_bytes()]));
    let kind = if n.is_multiple_of(2) { "push" } else { "fork" };
    let headers = [("x-hub-signature-256", signature.as_str()), ("x-github-event", kind)];
    assert_eq!(node.send("POST", path, &headers, body.as_bytes()).status, 200);
}

fn subscribe(from: StartAt, types: &[&str], until_now: bool) -> SubscribeRequest {
    let types = types.iter().map(|kind| (*kind).to_owned()).collect();
    SubscribeRequest { account_id: "acme".to_owned(), from: Some(from), types, until_now }
}

/// The numbers of the events a subscription yields until it ends.
async fn numbers(node: &Node, request: SubscribeRequest) -> Vec<u64> {
    let mut stream = node.events().await.subscribe(with(&node.operator, request)).await.unwrap().into_inner();
    let mut seen = vec![];
    while let Some(answer) = stream.message().await.unwrap() {
        if let Some(Item::Event(event)) = answer.item {
            seen.push(event.seq);
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_start_where_they_say_and_see_every_event_once() {
    let node = Node::start(&[]);
    let path = busy(&node).await;
    let all: Vec<u64> = (1..=12).collect();
    assert_eq!(numbers(&node, subscribe(StartAt::AfterSeq(0), &[], true)).await, all);
    assert_eq!(numbers(&node, subscribe(StartAt::AfterSeq(10), &[], true)).await, [11, 12]);
    assert_eq!(numbers(&node, subscribe(StartAt::SinceMs(0), &[], true)).await, all);
    let pushes = numbers(&node, subscribe(StartAt::AfterSeq(0), &["webhook.*.push"], true)).await;
    assert_eq!(pushes, [3, 5, 7, 9, 11]);
    assert_eq!(numbers(&node, subscribe(StartAt::Latest(true), &[], true)).await, Vec::<u64>::new());

    // A live one: what happens after it was opened arrives without asking again.
    let mut live = node.events().await;
    let request = subscribe(StartAt::Latest(true), &["webhook.**"], false);
    let mut stream = live.subscribe(with(&node.operator, request)).await.unwrap().into_inner();
    push(&node, &path, 100);
    let Some(Item::Event(event)) = stream.message().await.unwrap().unwrap().item else { panic!("no event") };
    assert_eq!(event.seq, 13);

    let beyond = subscribe(StartAt::AfterSeq(99), &[], true);
    let refused = live.subscribe(with(&node.operator, beyond)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("after_seq must be at most 13"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_keep_their_place() {
    let node = Node::start(&[]);
    busy(&node).await;
    let mut events = node.events().await;
    let consumer = || "crm".to_owned();
    let ask = || GetConsumerRequest { account_id: "acme".to_owned(), consumer: consumer() };
    let unknown = events.get_consumer(with(&node.operator, ask())).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let ack = |seq| AckConsumerRequest { account_id: "acme".to_owned(), consumer: consumer(), seq };
    events.ack_consumer(with(&node.operator, ack(9))).await.unwrap();
    assert_eq!(numbers(&node, subscribe(StartAt::Consumer(consumer()), &[], true)).await, [10, 11, 12]);
    assert_eq!(events.ack_consumer(with(&node.operator, ack(99))).await.unwrap_err().code(), Code::InvalidArgument);
    let node = node.kill_and_restart();
    let kept = node.events().await.get_consumer(with(&node.operator, ask())).await.unwrap().into_inner();
    assert_eq!(kept.seq, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_cut_to_size_and_say_when_they_end() {
    let node = Node::start(&[]);
    busy(&node).await;
    let mut events = node.events().await;
    let (mut seen, mut after_seq) = (vec![], 0);
    loop {
        let types = vec!["webhook.*.push".to_owned()];
        let request = ListEventsRequest { account_id: "acme".to_owned(), after_seq, types, page_size: 2 };
        let page = events.list_events(with(&node.operator, request)).await.unwrap().into_inner();
        assert!(page.events.len() <= 2);
        seen.extend(page.events.iter().map(|event| event.seq));
        after_seq = page.next_after_seq;
        if page.at_end {
            break;
        }
    }
    assert_eq!(seen, [3, 5, 7, 9, 11]);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_cloud_events() {
    let node = Node::start(&[]);
    busy(&node).await;
    let bearer = format!("Bearer {}", node.operator);
    let key = [("authorization", bearer.as_str())];
    let answer = node.send("GET", "/v1/accounts/acme/events?after=2&limit=1", &key, b"");
    assert_eq!(answer.header("content-type"), Some("application/cloudevents-batch+json"));
    let events = answer.json();
    assert_eq!(events.as_array().unwrap().len(), 1);
    assert_eq!(events[0]["specversion"], "1.0");
    assert_eq!(events[0]["id"], "acme-3");
    assert_eq!(events[0]["type"], "webhook.github.push");
    assert_eq!(events[0]["data"]["body"]["n"], 0);
    assert_eq!(node.get("/v1/accounts/acme/events").status, 401);
    assert_eq!(node.send("GET", "/v1/accounts/nobody/events", &key, b"").status, 404);
    assert_eq!(node.send("GET", "/v1/accounts/acme/events?limit=0", &key, b"").code(), "invalid_argument");
    let hash = "0".repeat(64);
    let blob = node.send("GET", &format!("/v1/accounts/acme/blobs/{hash}"), &key, b"");
    assert_eq!((blob.status, blob.code().as_str()), (404, "not_found"));
}

//! Peers that are slow, large or many.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use steward_proto::event::v1::event_service_client::EventServiceClient;
use steward_proto::event::v1::subscribe_request::From as StartAt;
use steward_proto::event::v1::{ListEventsRequest, SubscribeRequest};
use tonic::transport::Channel;

use crate::harness::{Node, reason, with};

#[test]
fn a_head_that_is_too_large_is_refused_and_the_node_goes_on() {
    let node = Node::start(&[]);
    let mut stream = TcpStream::connect(&node.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let line = format!("x-filler: {}\r\n", "x".repeat(8_000));
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").unwrap();
    for _ in 0..130 {
        if stream.write_all(line.as_bytes()).is_err() {
            break; // It was refused already.
        }
    }
    let mut answer = vec![];
    stream.read_to_end(&mut answer).ok(); // What was unread may end the connection with a reset.
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(node.get("/livez").status, 200);
}

#[test]
fn who_finds_no_place_gets_that_of_the_longest_idle() {
    let node = Node::start(&["http.connections_max=2"]);
    let mut first = TcpStream::connect(&node.http).unwrap();
    let mut second = TcpStream::connect(&node.http).unwrap();
    let ask = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
    };
    ask(&mut second);
    ask(&mut first);
    let mut newcomer = TcpStream::connect(&node.http).unwrap();
    ask(&mut newcomer);
    ask(&mut first);
    assert_eq!(second.read(&mut [0; 64]).unwrap(), 0, "the longest idle one is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_are_refused_until_one_ends() {
    let node = Node::start(&["grpc.subscriptions_max=1"]);
    node.create_account("acme").await;
    let mut events = node.events().await;
    let follow = async |events: &mut EventServiceClient<Channel>| {
        let from = Some(StartAt::Latest(true));
        let request = SubscribeRequest { account_id: "acme".to_owned(), from, ..SubscribeRequest::default() };
        events.subscribe(with(&node.operator, request)).await
    };
    let first = follow(&mut events).await.unwrap();
    let refused = follow(&mut events).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (tonic::Code::ResourceExhausted, "too_many_streams"));
    drop(first);
    let freed = async { while follow(&mut events).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), freed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn api_connections_of_strangers_give_way_and_those_of_known_callers_do_not() {
    let node = Node::start(&["grpc.connections_max=1"]);
    let mut stranger = TcpStream::connect(&node.grpc).unwrap();
    let known = node.events().await;
    let list = |mut events: EventServiceClient<Channel>| {
        let (account_id, types) = ("nobody".to_owned(), vec![]);
        let request = ListEventsRequest { account_id, after_seq: 0, types, page_size: 0 };
        let request = with(&node.operator, request);
        async move { events.list_events(request).await }
    };
    // A refusal makes nobody known.
    list(known).await.unwrap_err();
    stranger.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // What the node begins with, and the end.
    assert!(stranger.read_to_end(&mut vec![]).is_ok_and(|length| length < 100), "the stranger keeps the place");
    node.create_account("acme").await;
    let mut events = node.events().await;
    let from = Some(StartAt::Latest(true));
    let request = SubscribeRequest { account_id: "acme".to_owned(), from, ..SubscribeRequest::default() };
    let follow = events.subscribe(with(&node.operator, request)).await.unwrap();
    let ask = || async { tokio::time::timeout(Duration::from_millis(500), node.feed("acme")).await };
    assert!(ask().await.is_err(), "a known caller lost the place");
    drop((follow, events));
    let placed = async { while ask().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), placed).await.unwrap();
}

//! Links: messages in order, healing, silence, and refusals that need no certificate.

use std::time::Duration;

use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::peer_service_client::PeerServiceClient;
use tonic::{Code, Status};

use super::relay::{Mode, Relay};
use super::{Node, Setup, in_time, introduce, introduction, linked, message, until};
use crate::ids::NodeId;
use crate::peers::link::SILENCE_MAX;

async fn two() -> (Node, Node) {
    let (a, b) = (Setup::of(1).start().await, Setup::of(2).start().await);
    introduce(&[(1, &a), (2, &b)]);
    (a, b)
}

#[tokio::test]
async fn two_nodes_exchange_messages_in_order() {
    let (a, b) = two().await;
    for index in 0..1_000 {
        a.peers.send(NodeId(2), vec![message(1, 2, index, 100)]);
        b.peers.send(NodeId(1), vec![message(2, 1, index, 100)]);
    }
    let all: Vec<u64> = (0..1_000).collect();
    until("all messages", || a.frames.indexes(2).len() == 1_000 && b.frames.indexes(1).len() == 1_000).await;
    assert_eq!(a.frames.indexes(2), all);
    assert_eq!(b.frames.indexes(1), all);
    assert!(b.frames.from(1).iter().all(|seen| seen.boot == 100));
    // They waited together for the link, so they did not travel one by one.
    let used = b.frames.from(1).into_iter().filter(|seen| !seen.indexes.is_empty()).count();
    assert!(used < 100, "{used} frames");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn three_nodes_exchange_messages() {
    let (a, b, c) = (Setup::of(1).start().await, Setup::of(2).start().await, Setup::of(3).start().await);
    let nodes = [(1, &a), (2, &b), (3, &c)];
    introduce(&nodes);
    for (from, node) in nodes {
        for (to, _) in nodes.into_iter().filter(|(to, _)| *to != from) {
            node.peers.send(NodeId(to), (0..50).map(|index| message(from, to, index, 10)).collect());
        }
    }
    let all: Vec<u64> = (0..50).collect();
    for (to, node) in nodes {
        for (from, _) in nodes.into_iter().filter(|(from, _)| *from != to) {
            until("all messages", || node.frames.indexes(from) == all).await;
        }
    }
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test]
async fn idle_nodes_say_that_they_are_alive() {
    let (a, b) = two().await;
    until("empty frames", || a.frames.from(2).len() > 10 && b.frames.from(1).len() > 10).await;
    for node in [&a, &b] {
        let seen = node.frames.all();
        assert!(seen.iter().all(|seen| seen.indexes.is_empty()));
        let mut gaps: Vec<Duration> = seen.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        gaps.sort();
        assert!(gaps[gaps.len() / 2] < SILENCE_MAX / 2, "{gaps:?}");
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_node_that_says_nothing_is_hung_up_on() {
    let node = Setup::of(5).start().await;
    node.knows(&[(1, "127.0.0.1:1")]);
    // Its connection is in order and answers pings; only frames are missing.
    let status = in_time("the end of the link", refusal(&node, vec![introduction("test", 1)])).await;
    assert_eq!(status.message(), "ended");
    node.stop().await;
}

#[tokio::test]
async fn large_messages_pass() {
    let (a, b) = two().await;
    a.peers.send(NodeId(2), (0..3).map(|index| message(1, 2, index, 9 << 20)).collect());
    until("large messages", || b.frames.indexes(1) == [0, 1, 2]).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_link_heals_after_either_end_restarts() {
    let (mut a, mut b) = two().await;
    linked([(1, &a), (2, &b)]).await;
    let address = b.stop().await;
    b = Setup { boot: 777, address, ..Setup::of(2) }.start().await;
    introduce(&[(1, &a), (2, &b)]);
    until("the new life of the server", || a.frames.from(2).iter().any(|seen| seen.boot == 777)).await;
    let address = a.stop().await;
    a = Setup { boot: 778, address, ..Setup::of(1) }.start().await;
    introduce(&[(1, &a), (2, &b)]);
    a.peers.send(NodeId(2), vec![message(1, 2, 5, 1)]);
    until("the new life of the dialer", || b.frames.from(1).iter().any(|seen| seen.boot == 778 && seen.indexes == [5]))
        .await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_silent_link_is_dialed_again() {
    let (a, b) = (Setup::of(1).start().await, Setup::of(2).start().await);
    let relay = Relay::to(&b.address, Mode::Through).await;
    b.knows(&[(1, &a.address)]);
    a.knows(&[(2, &relay.address)]);
    linked([(1, &a), (2, &b)]).await;
    relay.mode.send_replace(Mode::Stalled);
    let dialed = || relay.connections.load(std::sync::atomic::Ordering::SeqCst);
    let before = dialed();
    until("another dial", || dialed() > before).await;
    let last = a.frames.all().last().unwrap().at;
    assert!(last.elapsed() >= SILENCE_MAX - Duration::from_millis(50));
    relay.mode.send_replace(Mode::Through);
    let count = a.frames.all().len();
    until("frames again", || a.frames.all().len() > count + 3).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_node_that_left_is_heard_no_more_and_a_moved_one_is_found() {
    let (a, b) = two().await;
    linked([(1, &a), (2, &b)]).await;
    b.knows(&[]);
    until("the end of the link", || {
        let count = b.frames.all().len();
        b.frames.all().last().unwrap().at.elapsed() > Duration::from_millis(400) && b.frames.all().len() == count
    })
    .await;
    b.knows(&[(1, &a.address)]);
    let count = b.frames.all().len();
    until("frames of a member again", || b.frames.all().len() > count).await;
    b.stop().await;
    let moved = Setup { boot: 5, ..Setup::of(2) }.start().await;
    introduce(&[(1, &a), (2, &moved)]);
    until("frames from the new address", || a.frames.from(2).iter().any(|seen| seen.boot == 5)).await;
    a.stop().await;
    moved.stop().await;
}

/// Links by hand: frames in, the first refusal out, wherever in the exchange it comes.
async fn refusal(node: &Node, frames: Vec<pb::Frame>) -> Status {
    let mut client = PeerServiceClient::connect(format!("http://{}", node.address)).await.unwrap();
    let outbound = tokio_stream::StreamExt::chain(tokio_stream::iter(frames), tokio_stream::pending());
    match client.exchange(outbound).await {
        Err(status) => status,
        Ok(answer) => {
            let mut answers = answer.into_inner();
            loop {
                match answers.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Status::ok("ended"),
                    Err(status) => return status,
                }
            }
        }
    }
}

#[tokio::test]
async fn who_does_not_belong_here_is_refused_with_the_reason() {
    let node = Setup::of(5).start().await;
    node.knows(&[(1, "127.0.0.1:1"), (9, "127.0.0.1:1")]);
    let cases = [
        (pb::Frame::default(), "introduces nobody"),
        (introduction("other", 1), "it is of cluster \"other\", this is \"test\""),
        (introduction("test", 2), "node 2 is not a member"),
        (introduction("test", 9), "node 9 should be dialed"),
        (introduction("test", 5), "node 5 should be dialed"),
    ];
    for (first, reason) in cases {
        let status = refusal(&node, vec![first]).await;
        assert_eq!(status.code(), Code::PermissionDenied, "{reason}");
        assert!(status.message().contains(reason), "{}", status.message());
    }
    assert!(node.frames.all().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn a_message_that_is_none_ends_the_link_and_reaches_nobody() {
    let node = Setup::of(5).start().await;
    node.knows(&[(1, "127.0.0.1:1")]);
    let wire = |from, to| message(from, to, 1, 1).into_wire();
    let broken = [
        wire(2, 5),
        wire(1, 4),
        pb::RaftMessage { shard: 70_000, ..wire(1, 5) },
        pb::RaftMessage { r#type: 99, ..wire(1, 5) },
    ];
    for message in broken {
        let frame = pb::Frame { introduction: None, messages: vec![wire(1, 5), message], sent_at_ms: 0 };
        let status = refusal(&node, vec![introduction("test", 1), frame]).await;
        assert_eq!(status.message(), "ended");
    }
    assert!(node.frames.indexes(1).is_empty());
    // The same way is open to those that behave.
    let frame = pb::Frame { introduction: None, messages: vec![wire(1, 5)], sent_at_ms: 0 };
    refusal_of_none(&node, vec![introduction("test", 1), frame]).await;
    node.stop().await;
}

async fn refusal_of_none(node: &Node, frames: Vec<pb::Frame>) {
    tokio::select! {
        status = refusal(node, frames) => panic!("{status}"),
        () = until("the message", || node.frames.indexes(1) == [1]) => {}
    }
}

#[tokio::test]
async fn a_new_link_ends_the_one_before() {
    let node = Setup::of(5).start().await;
    node.knows(&[(1, "127.0.0.1:1")]);
    let first = refusal(&node, vec![introduction("test", 1), pb::Frame::default()]);
    let second = async {
        until("the first link", || !node.frames.from(1).is_empty()).await;
        refusal(&node, vec![introduction("test", 1)]).await
    };
    // Both fall silent in the end; the first has to end long before that.
    let began = tokio::time::Instant::now();
    tokio::select! {
        status = first => assert_eq!(status.message(), "ended"),
        status = second => panic!("the second link ended first: {status}"),
    }
    assert!(began.elapsed() < SILENCE_MAX / 2);
    node.stop().await;
}

#[tokio::test]
async fn a_server_that_is_another_cluster_or_node_is_not_believed() {
    let other = Setup { cluster: "other".to_owned(), ..Setup::of(2) }.start().await;
    other.knows(&[(1, "127.0.0.1:1")]);
    let third = Setup::of(3).start().await;
    third.knows(&[(1, "127.0.0.1:1")]);
    let a = Setup::of(1).start().await;
    // Node 3 answers where node 4 should be.
    a.knows(&[(2, &other.address), (4, &third.address)]);
    let honest = Setup::of(5).start().await;
    honest.knows(&[(1, &a.address)]);
    a.knows(&[(2, &other.address), (4, &third.address), (5, &honest.address)]);
    until("frames of the honest node", || a.frames.from(5).len() > 10).await;
    assert!(a.frames.from(2).is_empty() && a.frames.from(3).is_empty() && a.frames.from(4).is_empty());
    for node in [a, other, third, honest] {
        node.stop().await;
    }
}

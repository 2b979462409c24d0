//! Calls over lanes: lazily dialed, on connections of their own, and cancelled by the thousand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Channel;
use tower::ServiceExt as _;

use super::relay::{Mode, Relay};
use super::{LED, Node, Setup, in_time, until};
use crate::ids::{NodeId, ShardId};
use crate::peers::{Caller, Lane, NotReachable, ask_members};

/// More than the library's own limits of 20 and 1,024.
const CANCELLED_CALLS: u64 = 6_000;
const LATE_ANSWERS: u64 = 2_500;
const AT_ONCE: u64 = 100;
const ANSWER_BYTES: usize = 40_000;

async fn who(request: axum::extract::Request) -> String {
    format!("{:?}", request.extensions().get::<Caller>().unwrap().node)
}

fn routes() -> Routes {
    let soon = || async {
        tokio::task::yield_now().await;
        vec![7_u8; ANSWER_BYTES]
    };
    let wait = || async { std::future::pending::<()>().await };
    Routes::from(Router::new().route("/soon", post(soon)).route("/wait", post(wait)).route("/who", post(who)))
}

async fn call(channel: &Channel, path: &'static str) -> Result<StatusCode, tonic::transport::Error> {
    let request = Request::post(path).body(Body::empty()).unwrap();
    Ok(channel.clone().oneshot(request).await?.status())
}

/// A node that is called over a relay by a node it would dial, so that only calls use the relay.
async fn pair() -> (Node, Node, Relay) {
    let callee = Setup { extra: routes(), ..Setup::of(1) }.start().await;
    let caller = Setup::of(2).start().await;
    let relay = Relay::to(&callee.address, Mode::Through).await;
    caller.knows(&[(1, &relay.address)]);
    (caller, callee, relay)
}

#[tokio::test]
async fn each_lane_is_a_connection_of_its_own_dialed_when_it_is_used() {
    let (caller, callee, relay) = pair().await;
    let forward = caller.peers.channel(NodeId(1), Lane::Forward).unwrap();
    let bulk = caller.peers.channel(NodeId(1), Lane::Bulk).unwrap();
    assert_eq!(relay.connections.load(Ordering::SeqCst), 0);
    for (channel, connections) in [(&forward, 1), (&forward, 1), (&bulk, 2)] {
        assert_eq!(in_time("an answer", call(channel, "/who")).await.unwrap(), StatusCode::OK);
        assert_eq!(relay.connections.load(Ordering::SeqCst), connections);
    }
    let again = caller.peers.channel(NodeId(1), Lane::Forward).unwrap();
    in_time("an answer", call(&again, "/who")).await.unwrap();
    assert_eq!(relay.connections.load(Ordering::SeqCst), 2);
    assert_eq!(caller.peers.channel(NodeId(3), Lane::Forward).err(), Some(NotReachable(NodeId(3))));
    caller.stop().await;
    callee.stop().await;
}

#[tokio::test]
async fn a_lane_is_dialed_again_after_its_node_restarted() {
    let (caller, callee, _) = pair().await;
    caller.knows(&[(1, &callee.address)]);
    let forward = caller.peers.channel(NodeId(1), Lane::Forward).unwrap();
    in_time("an answer", call(&forward, "/who")).await.unwrap();
    let address = callee.stop().await;
    assert!(in_time("a refusal", call(&forward, "/who")).await.is_err());
    let callee = Setup { extra: routes(), address, ..Setup::of(1) }.start().await;
    let answered = async { while call(&forward, "/who").await.is_err() {} };
    in_time("an answer after the restart", answered).await;
    caller.stop().await;
    callee.stop().await;
}

#[tokio::test]
async fn answers_that_come_after_their_calls_were_cancelled_leave_the_connection_to_others() {
    let handled = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&handled);
    let count = move || {
        let counted = Arc::clone(&counted);
        async move { counted.fetch_add(1, Ordering::SeqCst).to_string() }
    };
    let extra = Routes::from(Router::new().route("/count", post(count)));
    let callee = Setup { extra, ..Setup::of(1) }.start().await;
    let caller = Setup::of(2).start().await;
    let relay = Relay::to(&callee.address, Mode::Through).await;
    caller.knows(&[(1, &relay.address)]);
    let forward = caller.peers.channel(NodeId(1), Lane::Forward).unwrap();
    in_time("an answer", call(&forward, "/count")).await.unwrap();
    // The answers are on their way when their calls are given up.
    relay.mode.send_replace(Mode::Stalled);
    for round in 1..=LATE_ANSWERS / AT_ONCE {
        let calls = join_all((0..AT_ONCE).map(|_| call(&forward, "/count")));
        tokio::select! {
            _ = calls => panic!("an answer came through"),
            () = until("all calls", || handled.load(Ordering::SeqCst) == 1 + round * AT_ONCE) => {}
        }
    }
    relay.mode.send_replace(Mode::Through);
    assert_eq!(in_time("an answer", call(&forward, "/count")).await.unwrap(), StatusCode::OK);
    assert_eq!(relay.connections.load(Ordering::SeqCst), 1, "the connection was closed and dialed again");
    caller.stop().await;
    callee.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_cancelled_calls_leave_the_connection_to_others() {
    let (caller, callee, relay) = pair().await;
    let forward = caller.peers.channel(NodeId(1), Lane::Forward).unwrap();
    in_time("an answer", call(&forward, "/who")).await.unwrap();
    for round in 0..CANCELLED_CALLS / AT_ONCE {
        let calls = (0..AT_ONCE).map(|at| {
            let path = if at % 2 == 0 { "/soon" } else { "/wait" };
            // Some are cancelled before they leave, some before their answer comes, some in the middle of it.
            timeout(Duration::from_micros(at * (round % 20) * 2), call(&forward, path))
        });
        join_all(calls).await;
    }
    assert_eq!(in_time("an answer", call(&forward, "/who")).await.unwrap(), StatusCode::OK);
    assert_eq!(relay.connections.load(Ordering::SeqCst), 1, "the connection was closed and dialed again");
    caller.stop().await;
    callee.stop().await;
}

#[tokio::test]
async fn a_leader_says_who_holds_its_shard_and_others_say_that_they_do_not_lead() {
    let (caller, callee, _relay) = pair().await;
    let ask = |node, shard| ask_members(&caller.peers, NodeId(node), shard);
    assert_eq!(in_time("an answer", ask(1, LED)).await.unwrap(), Some(vec![NodeId(1), NodeId(7)]));
    assert_eq!(in_time("an answer", ask(1, ShardId(6))).await.unwrap(), None);
    assert!(in_time("an answer", ask(9, LED)).await.is_err());
    caller.stop().await;
    callee.stop().await;
}

//! HTTP: webhooks and reads that another node answers.

use std::sync::Arc;
use std::time::Duration;

use ::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Frame;
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_cluster::ids::NodeId;
use tokio::sync::mpsc;

use super::world::{BODY_BYTES_MAX, BY, Fault, Node, SOON, World};
use crate::gateway::error::Code;
use crate::gateway::http;

const HOOK: &str = "/hooks/acme.abcdef?x=1";

/// A client's request to the node, and the head and body of the answer.
async fn send(node: &Node, method: Method, path: &str, body: &[u8]) -> (Response<()>, Bytes) {
    let request = Request::builder().method(method).uri(path).header("host", "hooks.example");
    let request = request.header("x-request-id", "r-1").header("connection", "close").header("expect", "100-continue");
    let request = request.header("x-steward-retry-key", "forged").body(Full::new(Bytes::copy_from_slice(body)));
    let here = |request| Arc::clone(&node.stub).answer(request);
    let answer = http::enter(&node.forwarder, BODY_BYTES_MAX, request.unwrap(), here).await;
    let (head, body) = answer.into_parts();
    (Response::from_parts(head, ()), body.collect().await.unwrap().to_bytes())
}

fn code(body: &Bytes) -> String {
    serde_json::from_slice::<serde_json::Value>(body).unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_webhook_reaches_the_leader_as_it_came() {
    let world = World::led_by(3).await;
    let (head, body) = send(world.node(1), Method::POST, HOOK, b"{ \"a\":1}").await;
    assert_eq!((head.status(), &head.headers()[BY], &body[..]), (StatusCode::OK, &"3".parse().unwrap(), &b"done"[..]));
    let seen = world.node(3).seen().remove(0);
    assert_eq!((seen.path.as_str(), &seen.body[..]), ("/hooks/acme.abcdef", &b"{ \"a\":1}"[..]));
    assert_eq!(
        (&seen.headers["host"], &seen.headers["x-request-id"]),
        (&"hooks.example".parse().unwrap(), &"r-1".parse().unwrap())
    );
    assert!(
        !seen.headers.contains_key("connection") && !seen.headers.contains_key("expect") && seen.retry_key.is_none(),
        "{seen:?}"
    );
    let (head, _) = send(world.node(1), Method::GET, "/readyz", b"").await;
    assert_eq!(head.headers()[BY], "1");
}

#[tokio::test]
async fn a_webhook_is_sent_again_since_accounts_know_it_by_its_id() {
    let world = World::led_by(3).await;
    *world.node(1).wire.breaks.lock() = 1;
    world.node(3).fail(Fault::Refuse(Code::OutcomeUnknown));
    world.node(3).fail(Fault::Refuse(Code::OutcomeUnknown));
    let (head, _) = send(world.node(1), Method::POST, HOOK, b"twice").await;
    assert_eq!(head.status(), StatusCode::OK);
    let bodies: Vec<Bytes> = world.node(3).seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, ["twice"; 3]);
}

#[tokio::test]
async fn refusals_tell_who_leads_and_answers_tell_nothing_of_it() {
    let world = World::led_by(3).await;
    world.believes(1, 2);
    let (head, _) = send(world.node(1), Method::POST, HOOK, b"x").await;
    assert_eq!((head.status(), &head.headers()[BY]), (StatusCode::OK, &"3".parse().unwrap()));
    assert_eq!(*world.node(1).beliefs.corrections.lock(), [Some(NodeId(3))]);
    world.node(3).fail(Fault::Refuse(Code::Quarantined));
    let (head, body) = send(world.node(1), Method::POST, HOOK, b"x").await;
    assert_eq!((head.status(), code(&body)), (StatusCode::SERVICE_UNAVAILABLE, "quarantined".to_owned()));
    assert!(head.headers().keys().all(|name| !name.as_str().starts_with("x-steward-")), "{head:?}");
}

#[tokio::test]
async fn a_webhook_is_answered_before_its_platform_gives_up() {
    let world = World::new().await;
    let clock = SystemClock::new();
    let started = clock.monotonic();
    let (head, body) = send(world.node(1), Method::POST, HOOK, b"x").await;
    let took = clock.monotonic().saturating_sub(started);
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!((head.status(), code(&body)), (StatusCode::SERVICE_UNAVAILABLE, "not_led".to_owned()));
    assert_eq!(
        (&head.headers()["retry-after"], &head.headers()["x-request-id"]),
        (&"1".parse().unwrap(), &"r-1".parse().unwrap())
    );
}

#[tokio::test]
async fn a_webhook_that_is_too_large_goes_nowhere() {
    let world = World::led_by(3).await;
    let (head, body) = send(world.node(1), Method::POST, HOOK, &[b'x'; BODY_BYTES_MAX + 1]).await;
    assert_eq!((head.status(), code(&body)), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large".to_owned()));
    assert!(world.node(1).wire.calls.lock().is_empty());
}

#[tokio::test]
async fn a_blob_is_passed_back_as_it_is_read() {
    let world = World::led_by(3).await;
    let (frames, stream) = mpsc::channel(1);
    *world.node(3).stub.stream.lock() = Some(stream);
    let request = Request::builder().uri("/v1/accounts/acme/blobs/00").body(Full::new(Bytes::new())).unwrap();
    let node = world.node(1);
    let here = |request| Arc::clone(&node.stub).answer(request);
    let answer = http::enter(&node.forwarder, BODY_BYTES_MAX, request, here).await;
    assert_eq!(answer.headers()[BY], "3");
    let mut body = answer.into_body();
    for piece in ["one", "two"] {
        frames.send(Ok(Frame::data(Bytes::from(piece)))).await.unwrap();
        let frame = tokio::time::timeout(SOON, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    // What breaks off must not look whole.
    frames.send(Err(std::io::Error::other("the node dies"))).await.unwrap();
    assert!(tokio::time::timeout(SOON, body.frame()).await.unwrap().unwrap().is_err());
}

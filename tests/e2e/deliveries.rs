//! Webhooks out: signed so that the official library agrees, retried over restarts, stopped when the receiver is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use steward_proto::webhook::v1::EndpointState;
use steward_tests::harness::{Node, Outside, data, eventually, receiver, skipped, within, workspace};

const SECRET: &str = "whsec_c3Rld2FyZC1lMmUtcmVjZWl2ZXItc2VjcmV0LTE=";
/// A first retry comes 5 s after the failure, give or take.
const RETRIED_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_official_library_verifies_what_we_send() {
    if !workspace().join(".venv/bin/python").exists() {
        return skipped("no .venv with the standardwebhooks library (scripts/setup makes it)");
    }
    let mut receiver = receiver(&workspace(), SECRET).unwrap();
    let node = Node::builder().reaching_loopback().start();
    let api = node.api().await;
    api.create_account("acme").await;
    let url = format!("http://127.0.0.1:{}/events", receiver.port);
    api.create_endpoint("acme", "crm", &url, "job.*", SECRET).await;
    let job = api.create_job("acme", "probe", &json!({"url": "http://10.0.0.1/never.mp4"})).await;
    api.follow("acme", 0).await.until_job_ends(&job).await;
    let mut ids = vec![];
    for wanted in ["job.requested", "job.failed"] {
        let line: Value = serde_json::from_str(&receiver.line().unwrap()).unwrap();
        assert_eq!((&line["verified"], &line["type"]), (&json!(true), &json!(wanted)), "{line}");
        ids.push(line["id"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 2, "each event has an id of its own");
    let mut follow = api.follow("acme", 0).await;
    for _ in 0..2 {
        let (_, told) = follow.until("a delivery", |event, _| event.r#type == "delivery.succeeded").await;
        assert_eq!((&told["endpoint"], &told["status"], &told["attempt"]), (&json!("crm"), &json!(204), &json!(1)));
    }
}

#[tokio::test]
async fn a_failed_delivery_is_retried_after_a_restart() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let receiver = Outside::start(move |_, _| match is_up.load(Ordering::SeqCst) {
        true => (204, vec![], vec![]),
        false => (503, vec![], b"down".to_vec()),
    });
    let mut node = Node::builder().reaching_loopback().start();
    let api = node.api().await;
    api.create_account("acme").await;
    api.create_endpoint("acme", "crm", &receiver.url("/in"), "key.created", SECRET).await;
    let mut follow = api.follow("acme", 0).await;
    api.create_key("acme", steward_proto::account::v1::Role::Reader, 0).await;
    let (failed, told) = follow.until("a failure", |event, _| event.r#type == "delivery.failed").await;
    assert_eq!((&told["status"], &told["attempt"]), (&json!(503), &json!(1)), "{told}");
    let retry_at_ms = told["retry_at_ms"].as_u64().expect("it will be tried again");
    assert!(retry_at_ms > failed.time_ms);
    let endpoint = api.endpoint("acme", "crm").await;
    assert_eq!((endpoint.failed_attempts, endpoint.next_attempt_at_ms), (1, retry_at_ms));

    node.kill();
    up.store(true, Ordering::SeqCst);
    node.restart();
    let mut follow = node.api().await.follow("acme", follow.seq).await;
    let (succeeded, told) = follow.until("the delivery", |event, _| event.r#type == "delivery.succeeded").await;
    assert_eq!(told["attempt"], 2, "{told}");
    assert!(succeeded.time_ms >= retry_at_ms, "not before it was due");
    assert!(u128::from(succeeded.time_ms - failed.time_ms) < RETRIED_WITHIN.as_millis());
    let seen = receiver.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"), "a repeat has the id of the first");
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(node.api().await.endpoint("acme", "crm").await.failed_attempts, 0);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_not_asked_again() {
    let receiver = Outside::start(|_, _| (410, vec![], vec![]));
    let node = Node::builder().reaching_loopback().start();
    let api = node.api().await;
    api.create_account("acme").await;
    api.create_endpoint("acme", "crm", &receiver.url("/in"), "consumer.**", SECRET).await;
    api.create_endpoint("acme", "gone", &receiver.url("/in"), "key.created", SECRET).await;
    api.create_key("acme", steward_proto::account::v1::Role::Reader, 0).await;
    let disabled = eventually(RETRIED_WITHIN, "the endpoint to be disabled", async || {
        api.feed_of("acme", "endpoint.disabled").await.first().map(data)
    });
    assert_eq!(disabled.await["endpoint"], "gone");
    let endpoint = api.endpoint("acme", "gone").await;
    assert_eq!(endpoint.state(), EndpointState::Disabled);
    assert!(endpoint.disabled_reason.contains("410"), "{}", endpoint.disabled_reason);
    assert_eq!(api.endpoint("acme", "crm").await.state(), EndpointState::Active, "the other one is not");
    // What happens from now on is not its business.
    api.create_key("acme", steward_proto::account::v1::Role::Reader, 0).await;
    let other = Outside::start(|_, _| (204, vec![], vec![]));
    api.create_endpoint("acme", "later", &other.url("/in"), "key.created", SECRET).await;
    api.create_key("acme", steward_proto::account::v1::Role::Reader, 0).await;
    within(RETRIED_WITHIN, "the later endpoint's delivery", || (!other.seen().is_empty()).then_some(()));
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn deliveries_do_not_reach_this_machine_unless_allowed() {
    let bait = Outside::start(|_, _| (204, vec![], vec![]));
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    api.create_endpoint("acme", "inside", &bait.url("/in"), "key.created", SECRET).await;
    let mut follow = api.follow("acme", 0).await;
    api.create_key("acme", steward_proto::account::v1::Role::Reader, 0).await;
    let (_, told) = follow.until("the refusal", |event, _| event.r#type == "delivery.failed").await;
    assert!(told["error"].as_str().is_some_and(|error| error.starts_with("egress_refused")), "{told}");
    assert_eq!(bait.connections(), 0, "the bait was touched");
}

//! Webhooks from platforms: every outcome, and what is left of them after kill -9.

use serde_json::json;

use crate::harness::{Answer, Node, mac, now_s};

fn github(node: &Node, path: &str, delivery: &str, body: &[u8]) -> Answer {
    let signature = format!("sha256={}", mac(&[body]));
    let headers = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-delivery", delivery),
        ("x-github-event", "push"),
        ("content-type", "application/json"),
        ("x-request-id", "request-7"),
    ];
    node.send("POST", path, &headers, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_accepted_once_and_outlives_a_kill() {
    let node = Node::start(&[]);
    node.create_account("acme").await;
    let path = node.create_source("acme", "hub", "github-hub256").await;
    let body = br#"{"ref": "main"}"#;
    let first = github(&node, &path, "d-1", body);
    assert_eq!((first.status, first.json()), (200, json!({"seq": 3, "duplicate": false})), "{first:?}");
    assert_eq!(first.header("x-request-id"), Some("request-7"));
    assert_eq!(github(&node, &path, "d-1", body).json(), json!({"seq": 3, "duplicate": true}));
    assert_eq!(github(&node, &path, "d-2", body).json(), json!({"seq": 4, "duplicate": false}));
    let before = node.feed("acme").await;
    let event = &before[2];
    assert_eq!((event.r#type.as_str(), event.actor.as_str()), ("webhook.github.push", "source:hub"));
    assert_eq!(event.correlation_id, "request-7");
    assert!(event.data_json.contains(r#""ref":"main""#), "{}", event.data_json);

    let node = node.kill_and_restart();
    assert_eq!(node.feed("acme").await, before);
    assert_eq!(github(&node, &path, "d-1", body).json(), json!({"seq": 3, "duplicate": true}));
    assert_eq!(github(&node, &path, "d-3", body).json(), json!({"seq": 5, "duplicate": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_webhook_is_named() {
    let node = Node::start(&["http.body_bytes_max=1000"]);
    node.create_account("acme").await;
    let path = node.create_source("acme", "hub", "github-hub256").await;
    let slack = node.create_source("acme", "slack", "slack-v0").await;
    let body = b"{}".as_slice();
    let signed = format!("sha256={}", mac(&[body]));
    let forged = format!("sha256={}", mac(&[b"{ }"]));
    let large = vec![b' '; 1001];
    let old = (now_s() - 3600).to_string();
    let old_mac = format!("v0={}", mac(&[b"v0:", old.as_bytes(), b":", body]));
    let stale = [("x-slack-signature", old_mac.as_str()), ("x-slack-request-timestamp", old.as_str())];
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);
    let table: [Row<'_>; 7] = [
        ("POST", &path, &[("x-hub-signature-256", &forged)], body, 401, "bad_signature"),
        ("POST", &path, &[], body, 401, "missing_header"),
        ("POST", &slack, &stale, body, 401, "expired"),
        ("POST", &path, &[("x-hub-signature-256", &signed)], &large, 413, "body_too_large"),
        ("GET", &path, &[("x-hub-signature-256", &signed)], body, 405, "method_not_allowed"),
        ("POST", "/hooks/acme.aaaaaaaaaaaaaaaaaaaaaaaa", &[("x-hub-signature-256", &signed)], body, 404, "not_found"),
        ("POST", "/hooks/nobody.aaaaaaaaaaaaaaaaaaaaaaaa", &[], body, 404, "not_found"),
    ];
    for (method, path, headers, body, status, code) in table {
        let answer = node.send(method, path, headers, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
        assert_eq!(answer.json()["correlation_id"].as_str(), answer.header("x-request-id"));
    }
    assert_eq!(node.feed("acme").await.len(), 3, "nothing that was refused is on the feed");
    let metrics = node.get("/metrics").body;
    for reason in ["bad_signature", "missing_header", "expired", "body_too_large", "method_not_allowed"] {
        assert!(metrics.contains(&format!("steward_webhooks_refused_total{{reason=\"{reason}\"}} 1")), "{metrics}");
    }
    assert!(!node.log().contains("a secret of the tests"), "no secret in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_answered_when_signed_and_are_no_events() {
    let node = Node::start(&[]);
    node.create_account("acme").await;
    let path = node.create_source("acme", "slack", "slack-v0").await;
    let body = br#"{"type":"url_verification","challenge":"echo me"}"#;
    let stamp = now_s().to_string();
    let signature = format!("v0={}", mac(&[b"v0:", stamp.as_bytes(), b":", body]));
    let headers = [("x-slack-signature", signature.as_str()), ("x-slack-request-timestamp", stamp.as_str())];
    let answer = node.send("POST", &path, &headers, body);
    assert_eq!((answer.status, answer.body.as_str()), (200, "echo me"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(node.send("POST", &path, &headers[1..], body).status, 401);
    assert_eq!(node.feed("acme").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_source_is_gone_at_once() {
    use steward_proto::webhook::v1::DeleteSourceRequest;
    let node = Node::start(&[]);
    node.create_account("acme").await;
    let path = node.create_source("acme", "hub", "github-hub256").await;
    assert_eq!(github(&node, &path, "d-1", b"{}").status, 200);
    let delete = DeleteSourceRequest { account_id: "acme".to_owned(), source_id: "hub".to_owned() };
    node.webhooks().await.delete_source(crate::harness::with(&node.operator, delete)).await.unwrap();
    assert_eq!(github(&node, &path, "d-2", b"{}").status, 404);
}

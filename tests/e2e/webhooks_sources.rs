//! The life of a source: secrets that platforms bring, rotation, pauses, limits, trials, and what came compressed.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use steward_proto::webhook::v1 as pb;
use steward_tests::harness::{Api, Delivery, Node, Platform, Reply, data, headers, now_ms};

use crate::webhooks_batches::asana;
use crate::webhooks_in::source;

const ONE: &str = "b758c93d8020f8572887a56c319eed91";
const OTHER: &str = "f1d927926bb0a963d1a5254191c982f3";

fn names() -> (String, String) {
    ("acme".to_owned(), "in".to_owned())
}

/// The source as the node shows it.
async fn shown(api: &Api) -> pb::Source {
    let request = pb::ListSourcesRequest { account_id: "acme".to_owned() };
    api.webhooks().list_sources(request).await.expect("sources are listed").into_inner().sources.remove(0)
}

async fn update(api: &Api, settings: pb::UpdateSourceRequest) {
    let (account_id, source_id) = names();
    let request = pb::UpdateSourceRequest { account_id, source_id, ..settings };
    api.webhooks().update_source(request).await.expect("the source is changed");
}

fn count(source: &pb::Source, what: &str) -> u64 {
    source.counts.iter().find(|count| count.what == what).map_or(0, |count| count.count)
}

async fn post(node: &Node, path: &str, number: u64) -> Reply {
    let delivery = Platform::GitHub.sample(number);
    node.post(path, &delivery.signed(now_ms(), ""), &delivery.body).await
}

#[tokio::test]
async fn asana_brings_its_secret_and_only_when_it_is_asked_to() {
    let mut node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    let (account_id, source_id) = names();
    let scheme = "asana-hook".to_owned();
    let create = pb::CreateSourceRequest { account_id, source_id, scheme, ..pb::CreateSourceRequest::default() };
    let created = api.webhooks().create_source(create).await.unwrap().into_inner().source.unwrap();
    assert!(created.awaits_secret);
    let path = created.path;
    let brings = |secret: &str| headers(&[("X-Hook-Secret", secret)]);
    let body = r#"{"events":[{"action":"added"}]}"#;
    node.post(&path, &asana(ONE, body), body.as_bytes()).await.problem(401, "bad_signature");
    for _ in 0..2 {
        let answer = node.post(&path, &brings(ONE), b"{}").await;
        assert_eq!((answer.status, answer.header("x-hook-secret")), (200, Some(ONE)), "{}", answer.text());
    }
    node.post(&path, &brings(OTHER), b"{}").await.problem(409, "already_exists");
    // What was answered is durable.
    node.kill();
    node.restart();
    let api = node.api().await;
    assert_eq!(node.post(&path, &asana(ONE, body), body.as_bytes()).await.status, 200);

    let (account_id, source_id) = names();
    let rotate = pb::AddSourceSecretRequest { account_id, source_id, secret: String::new() };
    let waiting = api.webhooks().add_source_secret(rotate).await.unwrap().into_inner().source.unwrap();
    assert!(waiting.awaits_secret);
    assert_eq!(node.post(&path, &brings(OTHER), b"{}").await.status, 200);
    assert!(!shown(&api).await.awaits_secret);
    for secret in [ONE, OTHER] {
        assert_eq!(node.post(&path, &asana(secret, body), body.as_bytes()).await.status, 200, "{secret}");
    }
    let (account_id, source_id) = names();
    let retire = pb::RetireSourceSecretRequest { account_id, source_id, position: 0 };
    api.webhooks().retire_source_secret(retire).await.unwrap();
    node.post(&path, &asana(ONE, body), body.as_bytes()).await.problem(401, "bad_signature");
    let changes = api.feed_of("acme", "source.secrets_changed").await;
    let told: Vec<Value> = changes.iter().map(|event| data(event)["secrets"].clone()).collect();
    assert_eq!(told, [json!(1), json!(1), json!(2), json!(1)]);
    assert_eq!(changes[0].actor, "source:in");
}

#[tokio::test]
async fn a_paused_source_takes_nothing_until_it_is_resumed() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let (account_id, source_id) = names();
    api.webhooks().pause_source(pb::PauseSourceRequest { account_id, source_id }).await.unwrap();
    let refused = post(&node, &path, 1).await;
    refused.problem(503, "source_paused");
    assert_eq!(refused.header("retry-after"), Some("30"));
    let (account_id, source_id) = names();
    api.webhooks().resume_source(pb::ResumeSourceRequest { account_id, source_id }).await.unwrap();
    assert_eq!(post(&node, &path, 1).await.status, 200);
}

#[tokio::test]
async fn a_source_answers_what_its_owner_wants_at_the_rate_and_from_where_he_wants() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let response = pb::SourceResponse { status: 202, content_type: "text/html".into(), body: "<ok/>".into() };
    let settings = pb::UpdateSourceRequest { rate_per_s: 1, response: Some(response), ..Default::default() };
    update(&api, settings).await;
    let answer = post(&node, &path, 1).await;
    assert_eq!((answer.status, answer.text().as_str()), (202, "<ok/>"));
    assert_eq!(answer.header("content-type"), Some("text/html"));
    let refused = post(&node, &path, 2).await;
    refused.problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), Some("1"));

    update(&api, pb::UpdateSourceRequest { allow: vec!["192.0.2.0/24".into()], ..Default::default() }).await;
    // The connection counts, not what the client says.
    let delivery = Platform::GitHub.sample(3);
    let mut posing = delivery.signed(now_ms(), "");
    posing.push(("x-steward-client".to_owned(), "192.0.2.1".to_owned()));
    node.post(&path, &posing, &delivery.body).await.problem(403, "address_forbidden");
    update(&api, pb::UpdateSourceRequest { allow: vec!["127.0.0.0/8".into()], ..Default::default() }).await;
    assert_eq!(post(&node, &path, 3).await.status, 200);
    let counted = shown(&api).await;
    for what in ["rate_limited", "address_forbidden"] {
        assert_eq!(count(&counted, what), 1, "{what}");
    }
}

#[tokio::test]
async fn the_owner_sees_which_secret_verified_last_and_what_came() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let (account_id, source_id) = names();
    let add = pb::AddSourceSecretRequest { account_id, source_id, secret: "the next one".into() };
    api.webhooks().add_source_secret(add).await.unwrap();
    let before = now_ms();
    for _ in 0..2 {
        let delivery = Platform::GitHub.sample(1);
        let signed = delivery.signed_with("the next one", now_ms(), "");
        assert_eq!(node.post(&path, &signed, &delivery.body).await.status, 200);
    }
    let delivery = Platform::GitHub.sample(2);
    let forged = delivery.signed_with("guessed", now_ms(), "");
    node.post(&path, &forged, &delivery.body).await.problem(401, "bad_signature");
    let counted = shown(&api).await;
    let last: Vec<(u32, bool)> =
        counted.secrets.iter().map(|secret| (secret.position, secret.last_used_at_ms >= before)).collect();
    assert_eq!(last, [(0, false), (1, true)]);
    for what in ["accepted", "repeated", "bad_signature"] {
        assert_eq!(count(&counted, what), 1, "{what}");
    }
}

#[tokio::test]
async fn a_trial_says_what_would_come_of_a_request_and_leaves_nothing() {
    let node = Node::start();
    let api = node.api().await;
    source(&api, "acme", Platform::GitHub).await;
    let delivery = Platform::GitHub.sample(1);
    let test = async |secret: &str| {
        let (account_id, source_id) = names();
        let signed = delivery.signed_with(secret, now_ms(), "");
        let headers = signed.into_iter().map(|(name, value)| pb::TestedHeader { name, value }).collect();
        let request =
            pb::TestSourceRequest { account_id, source_id, headers, body: delivery.body.clone(), ..Default::default() };
        api.webhooks().test_source(request).await.unwrap().into_inner()
    };
    let accepted = test(Platform::GitHub.secret()).await;
    assert!(accepted.is_accepted, "{accepted:?}");
    assert_eq!(
        (accepted.events[0].r#type.as_str(), accepted.events[0].delivery_id.as_str()),
        ("webhook.github.push", "delivery-1")
    );
    let refused = test("guessed").await;
    assert_eq!((refused.is_accepted, refused.code.as_str()), (false, "bad_signature"));
    assert!(refused.detail.contains("matches none of the configured secrets"), "{}", refused.detail);
    assert_eq!(api.feed_of("acme", "webhook.github.push").await.len(), 0);
}

#[tokio::test]
async fn a_compressed_body_is_signed_as_it_came_and_kept_as_it_reads() {
    let node = Node::builder().set("http.body_bytes_max=10000").start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let gzip = |body: &[u8]| {
        let mut encoder = GzEncoder::new(vec![], Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let send = async |id: &str, encoding: &str, body: Vec<u8>| {
        let delivery = Delivery { platform: Platform::GitHub, id: id.to_owned(), body };
        let mut signed = delivery.signed(now_ms(), "");
        signed.push(("content-encoding".to_owned(), encoding.to_owned()));
        node.post(&path, &signed, &delivery.body).await
    };
    let answer = send("small", "gzip", gzip(br#"{"a": 1, "installation": {"id": 7}}"#)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = data(&api.feed_of("acme", "webhook.github.push").await[0]);
    assert_eq!((&told["body"]["a"], &told["tenant"]), (&json!(1), &json!("7")));
    send("bomb", "gzip", gzip(&vec![b' '; 10_001])).await.problem(413, "body_too_large");
    send("other", "br", b"{}".to_vec()).await.problem(415, "unsupported_encoding");
    send("broken", "deflate", b"{}".to_vec()).await.problem(400, "body_broken");
    assert_eq!(api.feed_of("acme", "webhook.github.push").await.len(), 1);
}

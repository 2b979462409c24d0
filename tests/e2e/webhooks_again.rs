//! Requests that are kept: refused ones that become events once their source is mended, accepted ones judged once more.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use steward_proto::webhook::v1 as pb;
use steward_tests::harness::{Api, Delivery, Headers, Node, Platform, data, now_ms};

use crate::webhooks_in::{public_url, source};

/// Bytes of a request that stand in its event.
const INLINE_BYTES_MAX: usize = 64 * 1024;
const NEW_SECRET: &str = "a secret that the owner forgot to tell";

fn names() -> (String, String) {
    ("acme".to_owned(), "in".to_owned())
}

async fn refused(api: &Api) -> Vec<pb::RefusedRequest> {
    let (account_id, source_id) = names();
    let request = pb::ListRefusedRequestsRequest { account_id, source_id, ..pb::ListRefusedRequestsRequest::default() };
    let listed = api.webhooks().list_refused_requests(request).await.expect("refused requests are listed");
    listed.into_inner().requests
}

async fn add_secret(api: &Api, secret: &str) {
    let (account_id, source_id) = names();
    let request = pb::AddSourceSecretRequest { account_id, source_id, secret: secret.to_owned() };
    api.webhooks().add_source_secret(request).await.expect("a secret is added");
}

/// Judges once more by ctl; gives the counts.
fn reprocess(node: &Node, flags: &[&str]) -> Value {
    node.ctl_json(&[&["source", "reprocess", "acme", "in"], flags].concat())
}

fn counts(requests: u64, verified: u64, events: u64, repeated: u64) -> Value {
    let refused = requests - verified;
    let refused = if refused == 0 { json!({}) } else { json!({"bad_signature": refused}) };
    json!({"requests": requests, "verified": verified, "refused": refused, "events": events, "repeated": repeated,
           "jobs": 0, "unkept": 0})
}

fn with(mut counts: Value, dry_run: bool) -> Value {
    counts["dry_run"] = dry_run.into();
    counts
}

async fn bodies(api: &Api, event_type: &str) -> Vec<Value> {
    let events = api.feed_of("acme", event_type).await;
    events.iter().map(|event| data(event)["body"].clone()).collect()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(body).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

#[tokio::test]
async fn what_was_refused_for_a_secret_that_was_not_told_is_accepted_afterwards() {
    let mut node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let post = async |node: &Node, delivery: &Delivery, secret: &str| {
        node.post(&path, &delivery.signed_with(secret, now_ms(), ""), &delivery.body).await
    };
    let samples: Vec<Delivery> = (1..4).map(|number| Platform::GitHub.sample(number)).collect();
    for delivery in samples.iter().chain(&samples[..1]) {
        post(&node, delivery, NEW_SECRET).await.problem(401, "bad_signature");
    }
    post(&node, &Platform::GitHub.sample(9), "a stranger's").await.problem(401, "bad_signature");
    node.post(&path, &Headers::new(), b"{}").await.problem(401, "missing_header");
    // What is kept is durable.
    node.kill();
    node.restart();
    let api = node.api().await;
    let kept = refused(&api).await;
    let codes: Vec<(u64, &str)> = kept.iter().map(|one| (one.number, one.code.as_str())).collect();
    let bad = "bad_signature";
    assert_eq!(codes, [(0, bad), (1, bad), (2, bad), (3, bad), (4, bad), (5, "missing_header")]);
    assert_eq!(kept[0].body_bytes, u64::try_from(samples[0].body.len()).expect("it is short"));
    assert!(kept[0].header_names.contains(&"x-hub-signature-256".to_owned()), "{:?}", kept[0].header_names);

    let missing = |counts: Value| {
        let mut counts = counts;
        counts["refused"]["missing_header"] = 1.into();
        counts["requests"] = (counts["requests"].as_u64().expect("a number") + 1).into();
        counts
    };
    assert_eq!(reprocess(&node, &["--dry-run"]), with(missing(counts(5, 0, 0, 0)), true));
    add_secret(&api, NEW_SECRET).await;
    let before = api.feed("acme").await.len();
    for _ in 0..2 {
        assert_eq!(reprocess(&node, &["--dry-run"]), with(missing(counts(5, 4, 3, 1)), true));
    }
    assert_eq!(reprocess(&node, &["--since-ms", &(now_ms() + 60_000).to_string()]), with(counts(0, 0, 0, 0), false));
    assert_eq!(api.feed("acme").await.len(), before, "a dry run does nothing, nor does an empty window");

    assert_eq!(reprocess(&node, &[]), with(missing(counts(5, 4, 3, 1)), false));
    let sent: Vec<Value> =
        samples.iter().map(|sample| serde_json::from_slice(&sample.body).expect("samples are JSON")).collect();
    assert_eq!(bodies(&api, "webhook.github.push").await, sent);
    assert_eq!(refused(&api).await.iter().map(|one| one.number).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(reprocess(&node, &[]), with(missing(counts(1, 0, 0, 0)), false));
    // The platform tries again by itself, too late.
    assert_eq!(post(&node, &samples[1], NEW_SECRET).await.json()["duplicate"], true);
    assert_eq!(bodies(&api, "webhook.github.push").await.len(), 3);
    // What became an event this way can be judged again like any other.
    let accepted = reprocess(&node, &["--accepted"]);
    assert_eq!(accepted, with(counts(3, 3, 3, 0), false));
}

#[tokio::test]
async fn a_wrong_public_url_is_mended_for_batches_that_came_compressed() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::HubSpot).await;
    let url = "https://proxy.example/hooks";
    let item = |number: u64| {
        json!({"portalId": 1, "subscriptionId": 2, "eventId": number, "occurredAt": number,
        "subscriptionType": "contact.creation", "note": "x".repeat(40)})
    };
    // Too large for a feed that is read by everyone.
    let many: Vec<Value> = (0..600).map(item).collect();
    for items in [vec![item(1), item(2)], many] {
        let body = gzip(Value::from(items).to_string().as_bytes());
        let delivery = Delivery { platform: Platform::HubSpot, id: String::new(), body };
        let mut headers = delivery.signed(now_ms(), &format!("{url}?a=b"));
        headers.extend(steward_tests::harness::headers(&[("Content-Encoding", "gzip")]));
        let called = format!("{path}?a=b");
        node.post(&called, &headers, &delivery.body).await.problem(401, "bad_signature");
    }
    let (account_id, source_id) = names();
    let public_url = url.to_owned();
    let request = pb::UpdateSourceRequest { account_id, source_id, public_url, ..pb::UpdateSourceRequest::default() };
    api.webhooks().update_source(request).await.expect("the source is changed");
    // The second batch has the two of the first in it.
    assert_eq!(reprocess(&node, &["--dry-run"]), with(counts(2, 2, 600, 2), true));
    assert_eq!(reprocess(&node, &[]), with(counts(2, 2, 600, 2), false));
    let told = bodies(&api, "webhook.hubspot.contact.creation").await;
    let mut numbers: Vec<u64> = told.iter().filter_map(|body| body["eventId"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..600).collect::<Vec<u64>>());
    assert_eq!(refused(&api).await, []);
    assert_eq!(reprocess(&node, &["--accepted"]), with(counts(2, 2, 600, 0), false));
}

#[tokio::test]
async fn accepted_webhooks_are_judged_once_more_and_followed_by_the_playbooks_of_today() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::HubSpot).await;
    let url = public_url(&node, &path);
    let item = |number: u64, note: &str| {
        json!({"portalId": 1, "subscriptionId": 2, "eventId": number,
        "occurredAt": number, "subscriptionType": "contact.creation", "note": note})
    };
    add_secret(&api, NEW_SECRET).await;
    // One whose request is too large to stand in its event, and one signed with each secret.
    let large = item(3, &"x".repeat(INLINE_BYTES_MAX));
    for (secret, items) in
        [(Platform::HubSpot.secret(), vec![item(1, ""), item(2, "")]), (NEW_SECRET, vec![large, item(4, "")])]
    {
        let body = Value::from(items).to_string().into_bytes();
        let delivery = Delivery { platform: Platform::HubSpot, id: String::new(), body };
        let answer = node.post(&path, &delivery.signed_with(secret, now_ms(), &url), &delivery.body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(reprocess(&node, &["--accepted", "--dry-run"]), with(counts(2, 2, 4, 0), true));
    let input = json!({"text": "{{/body/eventId}}"});
    api.put_playbook("acme", "webhook.hubspot.**", "chat", &input).await;
    let mut wanted = counts(2, 2, 4, 0);
    wanted["jobs"] = 4.into();
    assert_eq!(reprocess(&node, &["--accepted", "--dry-run"]), with(wanted, true));
    assert_eq!(api.feed_of("acme", "job.requested").await.len(), 0);

    // The secret is out of use: what it signed is left alone.
    let (account_id, source_id) = names();
    let retire = pb::RetireSourceSecretRequest { account_id, source_id, position: 0 };
    api.webhooks().retire_source_secret(retire).await.expect("a secret is retired");
    let mut wanted = counts(2, 1, 2, 0);
    wanted["jobs"] = 2.into();
    assert_eq!(reprocess(&node, &["--accepted"]), with(wanted, false));
    let feed = api.feed("acme").await;
    let jobs: Vec<_> = feed.iter().filter(|event| event.r#type == "job.requested").collect();
    assert_eq!(jobs.len(), 2);
    for (job, number) in jobs.iter().zip([3, 4]) {
        let cause = feed.iter().find(|event| event.seq == job.causation_seq).expect("it has a cause");
        assert_eq!(data(cause)["body"]["eventId"], number);
        assert_eq!(data(job)["input"]["text"], number);
    }
}

#[tokio::test]
async fn a_source_keeps_no_more_than_its_last_refusals_and_none_when_it_is_gone() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let mut answered = 0;
    // More than are kept in a second: the rest is only counted.
    for number in 0..64 {
        let delivery = Platform::GitHub.sample(number);
        let headers = delivery.signed_with("guessed", now_ms(), "");
        node.post(&path, &headers, &delivery.body).await.problem(401, "bad_signature");
        answered += 1;
    }
    let (account_id, _) = names();
    let listed = api.webhooks().list_sources(pb::ListSourcesRequest { account_id }).await.expect("it is listed");
    let source = listed.into_inner().sources.remove(0);
    let count = |what: &str| source.counts.iter().find(|count| count.what == what).map_or(0, |count| count.count);
    let kept = u64::try_from(refused(&api).await.len()).expect("they are few");
    assert_eq!(kept + count("not_kept"), answered);
    assert!(kept >= 16, "{kept}");
    let (account_id, source_id) = names();
    api.webhooks().delete_source(pb::DeleteSourceRequest { account_id, source_id }).await.expect("it is deleted");
    api.create_source("acme", "in", Platform::GitHub.scheme(), NEW_SECRET).await;
    assert_eq!(refused(&api).await, []);
}

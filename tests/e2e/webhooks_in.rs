//! Webhooks of six platforms: accepted once, refused with a reason, challenges answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use steward_tests::harness::{Api, Delivery, Node, Platform, data, now_ms};

const REFUSED: &str = r#"steward_webhooks_refused_total{reason="bad_signature"}"#;

/// An account with a source of this platform; returns the source's path.
pub(crate) async fn source(api: &Api, account: &str, platform: Platform) -> String {
    api.create_account(account).await;
    api.create_source(account, "in", platform.scheme(), platform.secret()).await
}

/// The URL that a platform was given, as a node without `public_url` takes it to be.
pub(crate) fn public_url(node: &Node, path: &str) -> String {
    format!("https://{}{path}", node.http())
}

/// What holds for every platform: once, again, forged.
async fn once_again_forged(platform: Platform) {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", platform).await;
    let url = public_url(&node, &path);
    let delivery = platform.sample(now_ms());

    let first = node.post(&path, &delivery.signed(now_ms(), &url), &delivery.body).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.json()["duplicate"], false);
    let again = node.post(&path, &delivery.signed(now_ms(), &url), &delivery.body).await;
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!((&again.json()["duplicate"], &again.json()["seq"]), (&json!(true), &first.json()["seq"]));

    let events = api.feed_of("acme", platform.event_type()).await;
    assert_eq!(events.len(), 1, "one webhook, one event");
    assert_eq!((first.json()["seq"].as_u64(), events[0].actor.as_str()), (Some(events[0].seq), "source:in"));
    let told = data(&events[0]);
    let body: Value = serde_json::from_slice(&delivery.body).expect("samples are JSON");
    // HubSpot sends arrays, and each item is an event.
    let body = body.get(0).cloned().unwrap_or(body);
    assert_eq!((&told["body"], &told["trust"]), (&body, &json!("full")));

    let before = node.metric(REFUSED).await;
    let other = platform.sample(now_ms() + 1);
    let forged = match platform {
        Platform::Standard => "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        Platform::Stripe | Platform::GitHub | Platform::Slack | Platform::Zoom | Platform::HubSpot => "guessed",
    };
    let refused = node.post(&path, &other.signed_with(forged, now_ms(), &url), &other.body).await;
    refused.problem(401, "bad_signature");
    assert_eq!(node.metric(REFUSED).await, before + 1);
    assert_eq!(api.feed_of("acme", platform.event_type()).await.len(), 1, "what is refused is no event");
}

#[tokio::test]
async fn stripe_is_accepted_once() {
    once_again_forged(Platform::Stripe).await;
}

#[tokio::test]
async fn github_is_accepted_once() {
    once_again_forged(Platform::GitHub).await;
}

#[tokio::test]
async fn slack_is_accepted_once() {
    once_again_forged(Platform::Slack).await;
}

#[tokio::test]
async fn zoom_is_accepted_once() {
    once_again_forged(Platform::Zoom).await;
}

#[tokio::test]
async fn hubspot_is_accepted_once() {
    once_again_forged(Platform::HubSpot).await;
}

#[tokio::test]
async fn standard_webhooks_are_accepted_once() {
    once_again_forged(Platform::Standard).await;
}

#[tokio::test]
async fn an_old_or_unsigned_webhook_is_refused_with_its_own_reason() {
    let node = Node::start();
    let path = source(&node.api().await, "acme", Platform::Stripe).await;
    let delivery = Platform::Stripe.sample(1);
    let old = delivery.signed(now_ms() - 301_000, "");
    node.post(&path, &old, &delivery.body).await.problem(401, "expired");
    node.post(&path, &vec![], &delivery.body).await.problem(401, "missing_header");
    for reason in ["expired", "missing_header"] {
        let name = format!("steward_webhooks_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(node.metric(&name).await, 1, "{reason}");
    }
}

#[tokio::test]
async fn zoom_gets_its_url_validated() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::Zoom).await;
    let body =
        json!({"event": "endpoint.url_validation", "event_ts": 1, "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}});
    let challenge = Delivery { platform: Platform::Zoom, id: String::new(), body: body.to_string().into_bytes() };
    let answer = node.post(&path, &challenge.signed(now_ms(), ""), &challenge.body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut mac = Hmac::<Sha256>::new_from_slice(Platform::Zoom.secret().as_bytes()).unwrap();
    mac.update(b"qgg8vlvZRS6UYooatFL8Aw");
    let encrypted = hex::encode(mac.finalize().into_bytes());
    assert_eq!(answer.json(), json!({"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": encrypted}));
    let unsigned = node.post(&path, &challenge.signed_with("guessed", now_ms(), ""), &challenge.body).await;
    unsigned.problem(401, "bad_signature");
    assert_eq!(node.metric("steward_webhook_handshakes_total").await, 1);
    let webhooks = api.feed("acme").await.into_iter().filter(|event| event.r#type.starts_with("webhook."));
    assert_eq!(webhooks.count(), 0, "a challenge is no event");
}

#[tokio::test]
async fn slack_gets_its_challenge_back() {
    let node = Node::start();
    let path = source(&node.api().await, "acme", Platform::Slack).await;
    let body = json!({"token": "x", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P", "type": "url_verification"});
    let challenge = Delivery { platform: Platform::Slack, id: String::new(), body: body.to_string().into_bytes() };
    let answer = node.post(&path, &challenge.signed(now_ms(), ""), &challenge.body).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn a_body_that_is_no_text_is_kept_byte_for_byte() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let bytes = vec![0xff, 0x00, 0xfe, b'{', 0x80];
    for (id, body) in [("binary", bytes.clone()), ("empty", vec![])] {
        let delivery = Delivery { platform: Platform::GitHub, id: id.to_owned(), body };
        let answer = node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await;
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
    }
    let events = api.feed_of("acme", "webhook.github.push").await;
    let told: Vec<Value> = events.iter().map(data).collect();
    assert_eq!(told[0]["body_base64"], STANDARD.encode(bytes));
    assert_eq!(told[1]["body_text"], "");
}

//! The edges of the webhook path: wrong tokens, sizes and methods, deleted sources, full queues.

use steward_tests::harness::{Headers, Http, Node, Platform, headers, now_ms};
use tokio::task::JoinSet;

use crate::webhooks_in::source;

/// More than an account may have in hand at once.
const AT_ONCE: u64 = 320;

#[tokio::test]
async fn a_token_nobody_has_is_not_found() {
    let node = Node::start();
    source(&node.api().await, "acme", Platform::Zoom).await;
    let delivery = Platform::Zoom.sample(1);
    let long = format!("acme.{}", "a".repeat(300));
    let escaped = "acme.%2e%2e";
    for token in ["acme.aaaaaaaaaaaaaaaaaaaaaaaa", "nobody.aaaaaaaaaaaaaaaaaaaaaaaa", "acme", "", &long, escaped] {
        let answer = node.post(&format!("/hooks/{token}"), &delivery.signed(now_ms(), ""), &delivery.body).await;
        answer.problem(404, "not_found");
    }
    assert_eq!(node.metric(r#"steward_webhooks_refused_total{reason="not_found"}"#).await, 6);
}

#[tokio::test]
async fn only_post_is_taken() {
    let node = Node::start();
    let path = source(&node.api().await, "acme", Platform::Zoom).await;
    let answer = node.get(&path).await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let node = Node::builder().set("http.body_bytes_max=1000").start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let mut http = Http::connect(node.http()).await.unwrap();
    http.send_head("POST", &path, &headers(&[("content-length", "1001")])).await.unwrap();
    http.read().await.unwrap().problem(413, "body_too_large");
    // Without a length the limit is found on the way.
    let mut http = Http::connect(node.http()).await.unwrap();
    http.send_head("POST", &path, &headers(&[("transfer-encoding", "chunked")])).await.unwrap();
    http.send_raw(format!("3e9\r\n{}\r\n", "x".repeat(1001)).as_bytes()).await.unwrap();
    http.read().await.unwrap().problem(413, "body_too_large");
    let mut fits = Platform::GitHub.sample(1);
    fits.body = vec![b'x'; 1000];
    assert_eq!(node.post(&path, &fits.signed(now_ms(), ""), &fits.body).await.status, 200);
}

#[tokio::test]
async fn header_names_come_in_any_case() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let cases: [fn(&str) -> String; 3] = [str::to_uppercase, str::to_lowercase, str::to_owned];
    for (number, case) in (0..).zip(cases) {
        let delivery = Platform::GitHub.sample(number);
        let signed: Headers =
            delivery.signed(now_ms(), "").into_iter().map(|(name, value)| (case(&name), value)).collect();
        let answer = node.post(&path, &signed, &delivery.body).await;
        assert_eq!(answer.status, 200, "{signed:?}: {}", answer.text());
    }
    assert_eq!(api.feed_of("acme", "webhook.github.push").await.len(), 3);
}

#[tokio::test]
async fn a_deleted_source_is_gone_at_once() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::Zoom).await;
    let send = async |number| {
        let delivery = Platform::Zoom.sample(number);
        node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await
    };
    assert_eq!(send(1).await.status, 200);
    let request = steward_proto::webhook::v1::DeleteSourceRequest { account_id: "acme".into(), source_id: "in".into() };
    api.webhooks().delete_source(request).await.unwrap();
    send(2).await.problem(404, "not_found");
}

#[tokio::test]
async fn two_secrets_live_side_by_side_while_one_is_rotated() {
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    let request = steward_proto::webhook::v1::CreateSourceRequest {
        account_id: "acme".into(),
        source_id: "in".into(),
        scheme: "zoom-v0".into(),
        secrets: vec!["old-secret".into(), "new-secret".into()],
        tolerance_s: 0,
        public_url: String::new(),
    };
    let path = api.webhooks().create_source(request).await.unwrap().into_inner().source.unwrap().path;
    for (number, secret) in [(1, "old-secret"), (2, "new-secret")] {
        let delivery = Platform::Zoom.sample(number);
        let answer = node.post(&path, &delivery.signed_with(secret, now_ms(), ""), &delivery.body).await;
        assert_eq!(answer.status, 200, "{secret}: {}", answer.text());
    }
    let delivery = Platform::Zoom.sample(3);
    node.post(&path, &delivery.signed_with("third", now_ms(), ""), &delivery.body).await.problem(401, "bad_signature");
}

#[tokio::test]
async fn an_account_with_too_much_in_hand_is_asked_to_come_back() {
    // A slow disk, so that what is in hand piles up.
    let node = Node::builder().set("storage.sync_delay_us=500000").start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let mut connections = vec![];
    for _ in 0..AT_ONCE {
        connections.push(Http::connect(node.http()).await.unwrap());
    }
    let mut senders = JoinSet::new();
    for (number, mut http) in (0..).zip(connections) {
        let path = path.clone();
        senders.spawn(async move {
            let delivery = Platform::GitHub.sample(number);
            http.send("POST", &path, &delivery.signed(now_ms(), ""), &delivery.body).await.unwrap()
        });
    }
    let answers = senders.join_all().await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert!(!refused.is_empty(), "{AT_ONCE} at once are too many for one account");
    for answer in &refused {
        answer.problem(429, "account_busy");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(api.feed_of("acme", "webhook.github.push").await.len(), accepted.len());
    let after = Platform::GitHub.sample(AT_ONCE);
    assert_eq!(
        node.post(&path, &after.signed(now_ms(), ""), &after.body).await.status,
        200,
        "the queue is empty again"
    );
}

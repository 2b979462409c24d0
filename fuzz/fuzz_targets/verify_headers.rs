//! Signed requests with anything changed, under any scheme: verifying them, answering their challenges and taking their
//! batches apart never panics, and what is verified stays within its limits.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use steward_actors::domain::account::limits::BATCH_ITEMS_MAX;
use steward_actors::domain::webhook::{self, Incoming, Scheme, handshake};
use steward_cluster::clock::Timestamp;

/// Every header that some scheme reads.
const NAMES: [&str; 36] = [
    "authorization",
    "calendly-webhook-signature",
    "content-type",
    "docusign-signature-1",
    "idempotency-key",
    "linear-delivery",
    "linear-signature",
    "paddle-signature",
    "shopify-event-id",
    "shopify-hmac-sha256",
    "stripe-signature",
    "svix-id",
    "svix-signature",
    "svix-timestamp",
    "typeform-signature",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
    "x-atlassian-webhook-identifier",
    "x-docusign-signature-1",
    "x-front-request-timestamp",
    "x-front-signature",
    "x-github-delivery",
    "x-github-event",
    "x-gitlab-token",
    "x-goog-channel-id",
    "x-goog-channel-token",
    "x-hook-secret",
    "x-hook-signature",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-hubspot-signature",
    "x-hubspot-signature-v3",
    "x-slack-signature",
    "x-twilio-signature",
    "x-zm-signature",
];

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

/// A request that was signed for the tests.
#[derive(Deserialize)]
struct Vector {
    scheme: String,
    method: String,
    url: String,
    secret: Option<String>,
    #[serde(default)]
    extra_secrets: Vec<String>,
    headers: BTreeMap<String, String>,
    body_base64: String,
    now_unix: u64,
}

static VECTORS: LazyLock<Vec<Vector>> = LazyLock::new(|| {
    let text = include_str!("../../tests/fixtures/vectors/webhooks.json");
    serde_json::from_str::<File>(text).expect("the vectors are well formed").vectors
});

#[derive(Arbitrary, Debug)]
struct Input {
    vector: u16,
    /// Under another scheme than the vector's.
    scheme: Option<u8>,
    changes: Vec<Change>,
    tolerance_s: Option<u32>,
}

#[derive(Arbitrary, Debug)]
enum Change {
    Header(u8, Vec<u8>),
    /// One of the vector's own.
    OwnHeader(u8, Vec<u8>),
    Drop(u8),
    Splice(u16, Vec<u8>),
    Body(Vec<u8>),
    Url(String),
    Get,
    Now(u64),
    Secret(Vec<u8>),
}

fuzz_target!(|input: Input| {
    let vector = &VECTORS[usize::from(input.vector) % VECTORS.len()];
    let of_vector = webhook::find(&vector.scheme);
    let other = input.scheme.and_then(|nth| webhook::all().nth(usize::from(nth) % webhook::all().count()));
    let Some(scheme) = other.or(of_vector) else { return };
    let mut headers: Vec<(String, Vec<u8>)> =
        vector.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let mut body = STANDARD.decode(&vector.body_base64).expect("bodies are base64");
    let (mut url, mut method, mut now_s) = (vector.url.clone(), vector.method.clone(), vector.now_unix);
    let texts = vector.secret.iter().chain(&vector.extra_secrets);
    let mut secrets: Vec<Vec<u8>> = texts.map(|secret| secret.clone().into_bytes()).collect();
    for change in input.changes {
        match change {
            Change::Header(nth, value) => headers.insert(0, (NAMES[usize::from(nth) % NAMES.len()].to_owned(), value)),
            Change::OwnHeader(nth, value) if !headers.is_empty() => {
                let nth = usize::from(nth) % headers.len();
                headers[nth].1 = value;
            }
            Change::Drop(nth) if !headers.is_empty() => drop(headers.remove(usize::from(nth) % headers.len())),
            Change::Splice(at, piece) => {
                let from = usize::from(at).min(body.len());
                let to = (from + piece.len()).min(body.len());
                body.splice(from..to, piece);
            }
            Change::Body(whole) => body = whole,
            Change::Url(other) => url = other,
            Change::Get => method = "GET".to_owned(),
            Change::Now(other) => now_s = other,
            Change::Secret(secret) => secrets.push(secret),
            Change::OwnHeader(..) | Change::Drop(_) => {}
        }
    }
    let incoming = Incoming { method: &method, url: &url, headers: &headers, body: &body, raw: None };
    let tolerance = input.tolerance_s.map(|seconds| Duration::from_secs(seconds.into()));
    judge(scheme, &incoming, &secrets, Timestamp(now_s.saturating_mul(1_000)), tolerance);
});

fn judge(
    scheme: &'static Scheme,
    incoming: &Incoming<'_>,
    secrets: &[Vec<u8>],
    now: Timestamp,
    tolerance: Option<Duration>,
) {
    match webhook::verify(scheme, incoming, secrets, now, tolerance) {
        Ok(verified) => assert!(verified.secret_index < secrets.len()),
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
    handshake::greet(scheme, incoming);
    handshake::brought_secret(scheme, incoming);
    for secret in secrets {
        webhook::usable_secret(scheme, secret);
        handshake::answer(scheme, incoming, secret);
    }
    if let Ok(Some(items)) = webhook::split(scheme, incoming, &Bytes::copy_from_slice(incoming.body)) {
        assert!(items.len() <= BATCH_ITEMS_MAX);
    }
}

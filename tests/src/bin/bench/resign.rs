//! Requests of every scheme: the test vectors, those with a shared key filled up to one size and signed again. Shares no
//! code with the verifier; that a recipe here is right shows in the signature of the vector itself.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::HeaderMap;
use hyper::header::HeaderName;
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use steward_actors::domain::webhook::{self, Incoming};
use steward_cluster::clock::Timestamp;

const VECTORS: &str = include_str!("../../../fixtures/vectors/webhooks.json");

/// A request that verifies.
pub(crate) struct Request {
    pub(crate) scheme: &'static str,
    pub(crate) is_shared: bool,
    method: String,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
    secrets: Vec<String>,
    now: Timestamp,
}

#[derive(Clone, Copy)]
enum Hash {
    HmacSha256,
    HmacSha1,
    /// Of the secret and what is signed.
    Sha256,
}

impl Hash {
    fn tag(self, key: &[u8], signed: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(match self {
            HmacSha256 => Hmac::<Sha256>::new_from_slice(key)?.chain_update(signed).finalize().into_bytes().to_vec(),
            HmacSha1 => Hmac::<Sha1>::new_from_slice(key)?.chain_update(signed).finalize().into_bytes().to_vec(),
            Self::Sha256 => Sha256::digest([key, signed].concat()).to_vec(),
        })
    }
}

/// How a signature is written.
#[derive(Clone, Copy)]
enum Text {
    Hex,
    Base64,
}

/// What is signed.
#[derive(Clone, Copy)]
enum Piece {
    Body,
    Words(&'static str),
    /// A header; of a list of `key=value` the first value.
    Header(&'static str),
    Method,
    Url,
    /// The fields of a form, sorted, name and value.
    Fields,
}

use Hash::{HmacSha1, HmacSha256};
use Piece::{Body, Fields, Header, Method, Url, Words};
use Text::{Base64, Hex};

/// How schemes sign; those that sign nothing of the body sign nothing here.
type Recipe = (&'static [&'static str], Hash, Text, &'static [Piece]);

const SHARED: &[Recipe] = &[
    (&["github-hub256", "jira-hub256", "asana-hook", "pagerduty-v1", "linear-sha256"], HmacSha256, Hex, &[Body]),
    (&["shopify-hmac", "shopify-events-hmac", "typeform-sha256", "docusign-hmac"], HmacSha256, Base64, &[Body]),
    (&["intercom-hub-sha1", "segment-sha1"], HmacSha1, Hex, &[Body]),
    (&["front-rule-sha1"], HmacSha1, Base64, &[Body]),
    (&["stripe-v1"], HmacSha256, Hex, &[Header("Stripe-Signature"), Words("."), Body]),
    (&["calendly-v1"], HmacSha256, Hex, &[Header("Calendly-Webhook-Signature"), Words("."), Body]),
    (&["mux-v1"], HmacSha256, Hex, &[Header("Mux-Signature"), Words("."), Body]),
    (&["paddle-h1"], HmacSha256, Hex, &[Header("Paddle-Signature"), Words(":"), Body]),
    (&["slack-v0"], HmacSha256, Hex, &[Words("v0:"), Header("X-Slack-Request-Timestamp"), Words(":"), Body]),
    (&["zoom-v0"], HmacSha256, Hex, &[Words("v0:"), Header("x-zm-request-timestamp"), Words(":"), Body]),
    (
        &["standard-webhooks-v1", "gitlab-signing-token"],
        HmacSha256,
        Base64,
        &[Header("webhook-id"), Words("."), Header("webhook-timestamp"), Words("."), Body],
    ),
    (&["svix-v1"], HmacSha256, Base64, &[Header("svix-id"), Words("."), Header("svix-timestamp"), Words("."), Body]),
    (&["hubspot-v1"], Hash::Sha256, Hex, &[Body]),
    (&["hubspot-v2"], Hash::Sha256, Hex, &[Method, Url, Body]),
    (&["hubspot-v3"], HmacSha256, Base64, &[Method, Url, Body, Header("X-HubSpot-Request-Timestamp")]),
    (&["zendesk-hmac"], HmacSha256, Base64, &[Header("X-Zendesk-Webhook-Signature-Timestamp"), Body]),
    (&["front-app-hmac"], HmacSha256, Base64, &[Header("X-Front-Request-Timestamp"), Words(":"), Body]),
    (&["box-v1"], HmacSha256, Base64, &[Body, Header("BOX-DELIVERY-TIMESTAMP")]),
    (&["twilio-form-sha1"], HmacSha1, Base64, &[Url, Fields]),
    (&["twilio-json-bodysha256"], HmacSha1, Base64, &[Url]),
    (&["twilio-sharedkey-sha256"], HmacSha256, Base64, &[Url, Fields]),
    (&["mailgun-body", "jira-oauth-jwt"], HmacSha256, Hex, &[]),
];

/// Schemes with a public key.
const PUBLIC: [&str; 3] = ["standard-webhooks-v1a", "sendgrid-ecdsa", "gong-jwt"];

/// Schemes that compare a word.
const TOKENS: [&str; 6] = [
    "gitlab-token",
    "goog-channel-token",
    "graph-client-state",
    "pipedrive-basic",
    "chargebee-basic",
    "salesforce-outbound-message",
];

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Clone, Deserialize)]
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
    expect: String,
}

/// A request of every scheme with a key. Bodies of those with a shared key are filled up to this size.
pub(crate) fn requests(body_bytes: usize) -> anyhow::Result<Vec<Request>> {
    let file: File = serde_json::from_str(VECTORS).context("the vectors are not of the expected form")?;
    let mut requests = vec![];
    for scheme in webhook::all() {
        let recipe = SHARED.iter().find(|(schemes, ..)| schemes.contains(&scheme.name));
        let is_public = PUBLIC.contains(&scheme.name);
        let is_known = recipe.is_some() || is_public || TOKENS.contains(&scheme.name);
        ensure!(is_known, "how {} signs is not known here", scheme.name);
        let vector = file.vectors.iter().find(|vector| vector.scheme == scheme.name && vector.expect == "ok");
        let mut vector = vector.with_context(|| format!("{} has no vector", scheme.name))?.clone();
        let mut body = STANDARD.decode(&vector.body_base64).context("a body is no base64")?;
        if let Some(recipe) = recipe {
            let filled = filled(&body, body_bytes);
            let signed = vector.sign_again(recipe, &body, &filled);
            signed.with_context(|| format!("{} cannot be signed again", scheme.name))?;
            body = filled;
        } else if !is_public {
            continue;
        }
        let request = vector.request(scheme.name, recipe.is_some(), body)?;
        ensure!(request.verifies(), "the request of {} does not verify", scheme.name);
        requests.push(request);
    }
    Ok(requests)
}

/// The same with a field more: JSON or a form.
fn filled(body: &[u8], bytes: usize) -> Vec<u8> {
    let filler = |around: usize| "x".repeat(bytes.saturating_sub(body.len() + around));
    match body.iter().rposition(|byte| *byte == b'}') {
        Some(end) => {
            let field = format!(",\"filler\":\"{}\"", filler(12));
            [&body[..end], field.as_bytes(), &body[end..]].concat()
        }
        None => [body, format!("&Filler={}", filler(8)).as_bytes()].concat(),
    }
}

impl Vector {
    /// Puts the signature over the new body in the place of that over the old one.
    fn sign_again(&mut self, recipe: &Recipe, old: &[u8], new: &[u8]) -> anyhow::Result<()> {
        let (_, hash, text, pieces) = recipe;
        if pieces.is_empty() {
            return Ok(());
        }
        let before = self.clone();
        let digest = |body: &[u8]| hex::encode(Sha256::digest(body));
        self.url = self.url.replace(&digest(old), &digest(new));
        for secret in before.secret.iter().chain(&before.extra_secrets) {
            // Of those that sign an id, keys are written in base64.
            let key = match (secret.strip_prefix("whsec_"), &pieces[0]) {
                (Some(encoded), Header("webhook-id" | "svix-id")) => STANDARD.decode(encoded)?,
                _ => secret.as_bytes().to_vec(),
            };
            let signature = |vector: &Self, body: &[u8]| {
                let tag = hash.tag(&key, &vector.signed(pieces, body)?)?;
                anyhow::Ok(match text {
                    Hex => hex::encode(tag),
                    Base64 => STANDARD.encode(tag),
                })
            };
            let (was, is) = (signature(&before, old)?, signature(self, new)?);
            let place = self.headers.values_mut().find(|value| value.contains(&was));
            let place = place.context("its recipe does not make the signature of its vector")?;
            *place = place.replace(&was, &is);
        }
        Ok(())
    }

    fn signed(&self, pieces: &[Piece], body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut signed = vec![];
        for piece in pieces {
            match piece {
                Body => signed.extend_from_slice(body),
                Words(words) => signed.extend_from_slice(words.as_bytes()),
                Method => signed.extend_from_slice(self.method.as_bytes()),
                Url => signed.extend_from_slice(self.url.as_bytes()),
                Header(name) => {
                    let value = self.headers.get(*name).with_context(|| format!("it has no {name}"))?;
                    let first = value.split([',', ';']).next().unwrap_or_default();
                    signed.extend_from_slice(first.rsplit('=').next().unwrap_or_default().as_bytes());
                }
                Fields => {
                    let text = std::str::from_utf8(body).context("a form is no text")?;
                    let plain = text.replace('+', " ").replace("%2B", "+");
                    let fields: BTreeMap<&str, &str> =
                        plain.split('&').filter_map(|field| field.split_once('=')).collect();
                    fields.iter().for_each(|(name, value)| signed.extend([name.as_bytes(), value.as_bytes()].concat()));
                }
            }
        }
        Ok(signed)
    }

    fn request(self, scheme: &'static str, is_shared: bool, body: Vec<u8>) -> anyhow::Result<Request> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, value.parse()?);
        }
        let Self { method, url, secret, extra_secrets, now_unix, .. } = self;
        let secrets = secret.into_iter().chain(extra_secrets).collect();
        Ok(Request { scheme, is_shared, method, url, headers, body, secrets, now: Timestamp(now_unix * 1000) })
    }
}

impl Request {
    /// Whether the node would take it.
    pub(crate) fn verifies(&self) -> bool {
        let Self { method, url, headers, body, secrets, now, .. } = self;
        let incoming = Incoming { method, url, headers, body, raw: None };
        let scheme = webhook::find(self.scheme).expect("it was found before");
        webhook::verify(scheme, &incoming, secrets, *now, None).is_ok()
    }
}

//! `POST /hooks/{token}`: the way in for platforms, and the busy path.
//!
//! # Decisions
//! - Challenges are answered after the signature check: an answer to a stranger would be an oracle. The one that comes
//!   before there is anything to sign with is echoed as plain text, for sources of that scheme only.
//! - A scheme without delivery ids is deduplicated by the hash of the body.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use ::http::request::Parts;
use ::http::{Method, header};
use bytes::Bytes;
use hyper::body::Body;
use hyper::{Request, StatusCode};
use metrics::{Counter, Histogram};
use steward_actors::domain::account::{Command, WebhookAccepted};
use steward_actors::domain::webhook::{self, Incoming, Refusal, Verified, handshake};
use steward_cluster::clock::Clock;

use super::body;
use super::reply::{JSON, Reply, allow, nosniff, problem, whole};
use super::serve::HttpState;
use super::source::{KnownSource, VerifiedSource};
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::metrics as named;

/// Where webhooks are posted to; the source's token follows.
pub(crate) const PATH: &str = "/hooks/";
/// The longest content type kept.
const CONTENT_TYPE_LEN_MAX: usize = 128;

/// Counters of the busy path, looked up once.
pub(crate) struct HookMetrics {
    accepted: Counter,
    repeated: Counter,
    handshakes: Counter,
    seconds: Histogram,
}

impl HookMetrics {
    pub(crate) fn new() -> Self {
        Self {
            accepted: named::webhooks_accepted(),
            repeated: named::webhooks_repeated(),
            handshakes: named::webhook_handshakes(),
            seconds: named::webhook_seconds(),
        }
    }
}

/// Answers a webhook.
pub(super) async fn handle<B>(state: &HttpState, request: Request<B>, correlation: &CorrelationId) -> Reply
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    accept(state, request, correlation).await.unwrap_or_else(|refused| refuse(&refused, correlation))
}

/// Refuses a webhook, and counts that.
pub(super) fn refuse(refused: &Refused, correlation: &CorrelationId) -> Reply {
    named::webhooks_refused(refused.code).increment(1);
    tracing::debug!(correlation_id = %correlation.0, code = refused.code.word(), "a webhook was refused");
    let reply = problem(refused, correlation);
    if refused.code == Code::MethodNotAllowed { allow(reply, "POST") } else { reply }
}

async fn accept<B>(state: &HttpState, request: Request<B>, correlation: &CorrelationId) -> Result<Reply, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let gateway = &state.gateway;
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Err(Refused::new(Code::MethodNotAllowed, "webhooks are posted"));
    }
    let token = head.uri.path().strip_prefix(PATH).unwrap_or_default();
    let source = state.sources.find(token, &gateway.router, &gateway.sealer, correlation)?;
    let body = body::read(body, state.body_bytes_max).await?;
    let started = gateway.clock.monotonic();
    let outcome = verify(&source, &head, &body, gateway.clock.as_ref())?;
    let verified = match outcome {
        Outcome::Challenge(answer) => {
            state.hooks.handshakes.increment(1);
            return Ok(nosniff(whole(StatusCode::OK, answer.content_type, answer.body)));
        }
        Outcome::Webhook(verified) => verified,
    };
    let command = Command::AcceptWebhook(webhook_accepted(&source, &head, body, verified));
    let receipt = handshake::receipt(source.scheme);
    let answer = gateway.router.accept(&VerifiedSource(source), command, correlation).await?;
    let counter = if answer.repeated { &state.hooks.repeated } else { &state.hooks.accepted };
    counter.increment(1);
    state.hooks.seconds.record(gateway.clock.monotonic().saturating_sub(started).as_secs_f64());
    if let Some(receipt) = receipt {
        return Ok(whole(StatusCode::OK, receipt.content_type, receipt.body));
    }
    let body = format!("{{\"seq\":{},\"duplicate\":{}}}", answer.seq, answer.repeated);
    Ok(whole(StatusCode::OK, JSON, body))
}

/// What a verified request is.
enum Outcome {
    Webhook(Verified),
    Challenge(handshake::Answer),
}

fn verify(source: &KnownSource, head: &Parts, body: &Bytes, clock: &dyn Clock) -> Result<Outcome, Refused> {
    let url = public_url(source, head);
    let incoming = Incoming { method: head.method.as_str(), url: &url, headers: &head.headers, body };
    if let Some(answer) = handshake::greet(source.scheme, &incoming) {
        return Ok(Outcome::Challenge(answer));
    }
    let verified = webhook::verify(source.scheme, &incoming, &source.secrets, clock.now(), source.tolerance);
    let verified = verified.map_err(|refusal| {
        let code = match refusal {
            Refusal::MissingHeader { .. } => Code::WebhookMissingHeader,
            Refusal::BadSignature { .. } => Code::WebhookBadSignature,
            Refusal::Expired { .. } => Code::WebhookExpired,
        };
        Refused::new(code, refusal.to_string())
    })?;
    let secret = &source.secrets[verified.secret_index];
    Ok(match handshake::answer(source.scheme, &incoming, secret) {
        Some(answer) => Outcome::Challenge(answer),
        None => Outcome::Webhook(verified),
    })
}

/// The URL the platform was given, with the query it called.
fn public_url<'s>(source: &'s KnownSource, head: &Parts) -> Cow<'s, str> {
    let query = head.uri.query();
    if !source.public_url.is_empty() {
        return match query {
            Some(query) if !source.public_url.contains('?') => Cow::Owned(format!("{}?{query}", source.public_url)),
            Some(_) | None => Cow::Borrowed(&source.public_url),
        };
    }
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let path = head.uri.path_and_query().map_or(head.uri.path(), |whole| whole.as_str());
    Cow::Owned(format!("https://{host}{path}"))
}

fn webhook_accepted(source: &Arc<KnownSource>, head: &Parts, body: Bytes, verified: Verified) -> WebhookAccepted {
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut delivery_ids = verified.dedup_ids;
    if delivery_ids.is_empty() {
        delivery_ids.push(format!("blake3:{}", blake3::hash(&body).to_hex()));
    }
    WebhookAccepted {
        source: source.source.clone(),
        provider: source.scheme.provider.to_owned(),
        event_type: verified.event_type.unwrap_or_default(),
        delivery_ids,
        tenant: verified.tenant_id,
        trust: verified.trust,
        content_type: content_type.filter(|text| text.len() <= CONTENT_TYPE_LEN_MAX).unwrap_or_default().to_owned(),
        body,
    }
}

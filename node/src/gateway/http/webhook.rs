//! `POST /hooks/{token}`: the way in for platforms, and the busy path.
//!
//! # Decisions
//! - Challenges are answered after the signature check: an answer to a stranger would be an oracle. The one that comes
//!   before there is anything to sign with is echoed as plain text, for sources of that scheme only.
//! - A scheme without delivery ids is deduplicated by the hash of the body, and in batches by that of each item.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::http::request::Parts;
use ::http::{HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use hyper::body::Body;
use hyper::{Request, StatusCode};
use metrics::{Counter, Histogram};
use steward_actors::codec::RawRequest;
use steward_actors::domain::account::{Answer, Command, KeptRequest, RefusedFor, SourceAsked, WebhookAccepted};
use steward_actors::domain::webhook::{self, Incoming, Refusal, Verified, handshake};
use steward_cluster::clock::Timestamp;

use super::accepted::{self, Accepted};
use super::body;
use super::decode::decode;
use super::kept;
use super::reply::{JSON, Reply, allow, nosniff, problem, whole};
use super::serve::HttpState;
use super::source::{KnownSource, RefusingSource, VerifiedSource};
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::metrics as named;

/// Where webhooks are posted to; the source's token follows.
pub(crate) const PATH: &str = "/hooks/";
/// Where Asana reads its secret back.
const HOOK_SECRET: &str = "x-hook-secret";
const TEXT: &str = "text/plain; charset=utf-8";

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
    let source = gateway.sources.find(token, &gateway.router, &gateway.sealer, correlation)?;
    let outcome = accept_from(state, &source, head, body, correlation).await;
    if let Err(refused) = &outcome {
        source.tally.count(refused.code.word());
    }
    outcome
}

async fn accept_from<B>(
    state: &HttpState,
    source: &Arc<KnownSource>,
    head: Parts,
    body: B,
    correlation: &CorrelationId,
) -> Result<Reply, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let gateway = &state.gateway;
    source.admission.check(&head.headers, gateway.clock.monotonic())?;
    let raw = body::read(body, state.body_bytes_max).await?;
    // In a box: a request that waits for its body needs no room for what comes after it.
    Box::pin(accept_body(state, source, head, raw, correlation)).await
}

async fn accept_body(
    state: &HttpState,
    source: &Arc<KnownSource>,
    head: Parts,
    raw: Bytes,
    correlation: &CorrelationId,
) -> Result<Reply, Refused> {
    let gateway = &state.gateway;
    let (started, received_at) = (gateway.clock.monotonic(), gateway.clock.now());
    let judged = judge(source, &head, raw.clone(), received_at, state.body_bytes_max);
    let Judged { outcome, body, is_as_sent } = match judged {
        Ok(judged) => judged,
        Err(refused) => {
            if let Some(reason) = kept::reason(refused.code) {
                keep_refused(state, source, reason, kept::raw(source, &head, Some(raw), received_at), correlation)
                    .await;
            }
            return Err(refused);
        }
    };
    let (verified, items) = match outcome {
        Outcome::Challenge(answer) => {
            state.hooks.handshakes.increment(1);
            source.tally.count("handshakes");
            return Ok(nosniff(whole(StatusCode::OK, answer.content_type, answer.body)));
        }
        Outcome::Secret(secret) => return take_secret(state, source, &secret, correlation).await,
        Outcome::Webhook(verified, items) => (verified, items),
    };
    source.last_uses[verified.secret_index].store(gateway.clock.now().0, Ordering::Relaxed);
    // What came as one event, as it is, has its body there.
    let is_body = is_as_sent && items.is_none();
    let kept = kept::raw(source, &head, (!is_body).then_some(raw), received_at);
    let kept = match kept::seal(&gateway.sealer, source, kept) {
        Ok(sealed) => KeptRequest::Here(sealed),
        Err(_) => KeptRequest::Nowhere,
    };
    let request = Accepted { source, content_type: accepted::content_type(&head), body, kept };
    let answer = match items {
        None => record(state, source, vec![request.whole(verified)], correlation).await?,
        Some(items) if items.is_empty() => Answer::default(), // A heartbeat: nothing happened.
        Some(items) => batch(state, &request, verified, items, correlation).await?,
    };
    state.hooks.seconds.record(gateway.clock.monotonic().saturating_sub(started).as_secs_f64());
    Ok(told(source, &answer))
}

/// What the platform is told: what the owner wants, or the platform, or which event it was.
fn told(source: &KnownSource, answer: &Answer) -> Reply {
    if let Some(response) = &source.response {
        let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::OK);
        let mut reply = nosniff(whole(status, TEXT, response.body.clone()));
        if let Ok(content_type) = HeaderValue::from_str(&response.content_type) {
            reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        return reply;
    }
    if let Some(receipt) = handshake::receipt(source.scheme) {
        return whole(StatusCode::OK, receipt.content_type, receipt.body);
    }
    whole(StatusCode::OK, JSON, format!("{{\"seq\":{},\"duplicate\":{}}}", answer.seq, answer.repeated))
}

/// Keeps the secret that the platform brings, and gives it back once it is durable.
async fn take_secret(
    state: &HttpState,
    source: &Arc<KnownSource>,
    secret: &str,
    correlation: &CorrelationId,
) -> Result<Reply, Refused> {
    let gateway = &state.gateway;
    // Nodes may pass a request on twice, when the first answer got lost.
    let is_known = source.secrets.iter().any(|known| webhook::same_secret(known, secret.as_bytes()));
    if !is_known {
        if !source.takes_secret {
            let message = "the source has its secret; rotate it for another";
            return Err(Refused::new(Code::AlreadyExists, message));
        }
        let sealed_secret = gateway.sealer.seal(&source.wrapped_key, secret.as_bytes()).map_err(|_| {
            tracing::error!("an account's data key does not open with this node key");
            Refused::new(Code::Internal, "the secret cannot be sealed; the node's log says more")
        })?;
        let asked = SourceAsked::TakeSecret { sealed_secret };
        let command = Command::ChangeSource { source: source.source.clone(), asked };
        gateway.router.accept(&VerifiedSource(Arc::clone(source)), command, correlation).await?;
    }
    state.hooks.handshakes.increment(1);
    source.tally.count("handshakes");
    let mut reply = nosniff(whole(StatusCode::OK, TEXT, ""));
    if let Ok(value) = HeaderValue::from_str(secret) {
        reply.headers_mut().insert(HeaderName::from_static(HOOK_SECRET), value);
    }
    Ok(reply)
}

/// Makes events durable.
async fn record(
    state: &HttpState,
    source: &Arc<KnownSource>,
    webhooks: Vec<WebhookAccepted>,
    correlation: &CorrelationId,
) -> Result<Answer, Refused> {
    let command = Command::AcceptWebhooks(webhooks);
    let answer = state.gateway.router.accept(&VerifiedSource(Arc::clone(source)), command, correlation).await?;
    let (counter, what) =
        if answer.repeated { (&state.hooks.repeated, "repeated") } else { (&state.hooks.accepted, "accepted") };
    counter.increment(1);
    source.tally.count(what);
    Ok(answer)
}

/// Keeps a request that was refused, for when its source is mended. So many a second: a stranger may send as many as he
/// likes.
async fn keep_refused(
    state: &HttpState,
    source: &Arc<KnownSource>,
    reason: RefusedFor,
    request: RawRequest,
    correlation: &CorrelationId,
) {
    let gateway = &state.gateway;
    let has_room = source.keeping.lock().take(gateway.clock.monotonic()).is_ok();
    let sealed = has_room.then(|| kept::seal(&gateway.sealer, source, request));
    if let Some(Ok(sealed_request)) = sealed {
        let command = Command::KeepRefused { source: source.source.clone(), refused_for: reason, sealed_request };
        match gateway.router.keep_refused(&RefusingSource(Arc::clone(source)), command, correlation).await {
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(correlation_id = %correlation.0, code = error.code.word(), "a refused request is not kept");
            }
        }
    }
    source.tally.count("not_kept");
}

/// An event for each item. While nodes are being upgraded the others may not know batches: then one event for all.
async fn batch(
    state: &HttpState,
    request: &Accepted<'_>,
    verified: Verified,
    items: Vec<webhook::Item>,
    correlation: &CorrelationId,
) -> Result<Answer, Refused> {
    let webhooks = request.items(items, verified.trust);
    match record(state, request.source, webhooks, correlation).await {
        Err(refused) if refused.code == Code::NotYet => {
            record(state, request.source, vec![request.whole(verified)], correlation).await
        }
        outcome => outcome,
    }
}

/// What a verified request is.
pub(super) enum Outcome {
    /// With its items, when it is a batch.
    Webhook(Verified, Option<Vec<webhook::Item>>),
    Challenge(handshake::Answer),
    /// It brings the secret it will sign with.
    Secret(String),
}

/// A request that was judged.
pub(super) struct Judged {
    pub(super) outcome: Outcome,
    /// Decoded.
    pub(super) body: Bytes,
    /// Nothing had to be decoded.
    pub(super) is_as_sent: bool,
}

/// What a request is that was received at this time.
pub(super) fn judge(
    source: &KnownSource,
    head: &Parts,
    raw: Bytes,
    received_at: Timestamp,
    body_bytes_max: usize,
) -> Result<Judged, Refused> {
    let decoded = decode(&head.headers, &raw, body_bytes_max)?;
    let (body, raw) = decoded.map_or((raw.clone(), None), |decoded| (decoded, Some(raw)));
    let url = public_url(source, head);
    let method = head.method.as_str();
    let incoming = Incoming { method, url: &url, headers: &head.headers, body: &body, raw: raw.as_deref() };
    let outcome = outcome(source, &incoming, &body, received_at)?;
    let is_as_sent = incoming.raw.is_none();
    Ok(Judged { outcome, body, is_as_sent })
}

fn outcome(
    source: &KnownSource,
    incoming: &Incoming<'_>,
    body: &Bytes,
    received_at: Timestamp,
) -> Result<Outcome, Refused> {
    if let Some(answer) = handshake::greet(source.scheme, incoming) {
        return Ok(Outcome::Challenge(answer));
    }
    if let Some(secret) = handshake::brought_secret(source.scheme, incoming) {
        return Ok(Outcome::Secret(secret.to_owned()));
    }
    let verified = webhook::verify(source.scheme, incoming, &source.secrets, received_at, source.tolerance);
    let verified = verified.map_err(|refusal| {
        let code = match refusal {
            Refusal::MissingHeader { .. } => Code::WebhookMissingHeader,
            Refusal::BadSignature { .. } => Code::WebhookBadSignature,
            Refusal::Expired { .. } => Code::WebhookExpired,
        };
        Refused::new(code, refusal.to_string())
    })?;
    let secret = &source.secrets[verified.secret_index];
    Ok(match handshake::answer(source.scheme, incoming, secret) {
        Some(answer) => Outcome::Challenge(answer),
        None => {
            let items = webhook::split(source.scheme, incoming, body);
            Outcome::Webhook(verified, items.map_err(|many| Refused::new(Code::BatchTooLarge, many.to_string()))?)
        }
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

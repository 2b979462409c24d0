//! The HTTP side's way to the node that answers: for what clients ask, and the way in for calls another node passed on.
//!
//! A webhook's token and the paths of an account name it, so nothing is read before it is known where to go.

use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;

use ::http::request::Parts;
use ::http::{Method, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Either};
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::shard_of;

use super::reply::{Reply, ReplyBody, problem};
use super::upload::note_passed;
use super::{body, webhook};
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::Refused;
use crate::gateway::forward::{Asked, Body, Call, Effect, Forwarder, Protocol, Route, take_private};

/// How long people with curl wait.
const PATIENCE: Duration = Duration::from_secs(8);
/// Slack and Zoom give a webhook three seconds.
const PATIENCE_WEBHOOK: Duration = Duration::from_millis(2_500);

/// Answers a client, here or by another node; `here` is how this node would.
pub(crate) async fn enter<B, F>(
    forwarder: &Forwarder,
    body_bytes_max: usize,
    mut request: Request<B>,
    here: impl Fn(Request<Body>) -> F,
) -> Response<ReplyBody>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    F: Future<Output = Response<Body>>,
{
    take_private(request.headers_mut());
    let answer = match read(forwarder, body_bytes_max, request).await {
        // In boxes: a request that waits for its body needs no room for what comes after it.
        Read::Call(asked, head, body) => Box::pin(forwarder.run(&Call::from_client(asked, head, body), here)).await,
        Read::Unnamed(request) => Box::pin(here(request)).await,
        Read::Refused(reply) => return reply,
    };
    answer.map(|body| Either::Right(body.map_err(io::Error::other).boxed_unsync()))
}

/// Answers another node that passed a call on.
pub(crate) async fn answer_node<F>(
    forwarder: &Forwarder,
    here: impl Fn(Request<Body>) -> F,
    body_bytes_max: usize,
    request: Request<Body>,
) -> Response<Body>
where
    F: Future<Output = Response<Body>>,
{
    match read(forwarder, body_bytes_max, note_passed(request)).await {
        Read::Call(asked, head, body) => forwarder.answer_node(&Call::from_node(asked, head, body), here).await,
        Read::Unnamed(request) => here(request).await,
        Read::Refused(reply) => reply.map(Body::new),
    }
}

/// A refusal of the node that took the call.
pub(crate) fn refusal(refused: &Refused, correlation: &CorrelationId) -> Response<Body> {
    super::reply::correlated(problem(refused, correlation), correlation).map(Body::new)
}

/// What a request turned out to be.
enum Read {
    Call(Asked, Parts, Bytes),
    /// It is not about an account, or not well enough formed to say which: any node answers it.
    Unnamed(Request<Body>),
    Refused(Reply),
}

async fn read<B>(forwarder: &Forwarder, body_bytes_max: usize, request: Request<B>) -> Read
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let Some((account, effect)) = account_of(&head) else {
        return Read::Unnamed(Request::from_parts(head, Body::new(body)));
    };
    let correlation = CorrelationId::of(&head.headers);
    let (patience, body) = match effect {
        Effect::Read => (PATIENCE, Bytes::new()),
        Effect::Repeatable | Effect::Keyed | Effect::Once => match body::read(body, body_bytes_max).await {
            Ok(body) => (PATIENCE_WEBHOOK, body),
            Err(refused) => return Read::Refused(webhook::refuse(&refused, &correlation)),
        },
    };
    let route = Route::Leader(effect);
    let shard = shard_of(&account, forwarder.shards);
    Read::Call(Asked { protocol: Protocol::Http, shard, route, correlation, patience }, head, body)
}

/// The account a request is about, and what it does to make it again. An account takes a webhook once: it knows it by its
/// delivery id, or the hash of its body.
fn account_of(head: &Parts) -> Option<(AccountId, Effect)> {
    let path = head.uri.path();
    if let Some(token) = path.strip_prefix(webhook::PATH) {
        let (account, _) = token.split_once('.').filter(|_| head.method == Method::POST)?;
        return Some((AccountId::parse(account).ok()?, Effect::Repeatable));
    }
    let path: Vec<&str> = path.trim_matches('/').split('/').collect();
    match path.as_slice() {
        ["v1", "accounts", account, "events"] | ["v1", "accounts", account, "blobs", _]
            if head.method == Method::GET || head.method == Method::HEAD =>
        {
            Some((AccountId::parse(account).ok()?, Effect::Read))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_their_account() {
        for (method, path, want) in [
            (Method::POST, "/hooks/acme.abc", Some(Effect::Repeatable)),
            (Method::GET, "/v1/accounts/acme/events?after=3", Some(Effect::Read)),
            (Method::GET, "/v1/accounts/acme/blobs/00/", Some(Effect::Read)),
            (Method::GET, "/hooks/acme.abc", None),
            (Method::POST, "/hooks/acme", None),
            (Method::POST, "/hooks/Acme.abc", None),
            (Method::PUT, "/v1/accounts/acme/events", None),
            (Method::GET, "/v1/accounts/acme", None),
            (Method::GET, "/readyz", None),
        ] {
            let request = Request::builder().method(&method).uri(path).body(()).unwrap();
            let found = account_of(&request.into_parts().0);
            let want = want.map(|effect| (AccountId::parse("acme").unwrap(), effect));
            assert_eq!(found, want, "{method} {path}");
        }
    }
}

//! Paths to handlers. The webhook path is looked at first: it is the busy one.

use std::error::Error;

use ::http::Method;
use ::http::request::Parts;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Body;
use tracing::Instrument as _;

use super::reply::{Reply, allow, correlated, problem};
use super::serve::HttpState;
use super::{blob, events, health, upload, webhook};
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::gateway::forward;

/// Answers one request, whatever it is.
pub(super) async fn handle<B>(state: &HttpState, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let correlation = CorrelationId::of(request.headers());
    if request.uri().path().starts_with(webhook::PATH) {
        // No span on the busy path: its few log lines carry the correlation id themselves.
        let reply = webhook::handle(state, request, &correlation).await;
        return correlated(reply, &correlation);
    }
    let span = tracing::info_span!("http", correlation_id = %correlation.0, path = request.uri().path());
    if upload::path_of(request.uri().path()).is_some() {
        let request = request.map(forward::Body::new);
        let reply = upload::answer(&state.gateway, request, &correlation).instrument(span).await;
        return correlated(reply, &correlation);
    }
    let (head, _) = request.into_parts();
    let reply = dispatch(state, &head, &correlation).instrument(span).await;
    correlated(reply, &correlation)
}

async fn dispatch(state: &HttpState, head: &Parts, correlation: &CorrelationId) -> Reply {
    let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
    let is_of_blob = matches!(path.as_slice(), ["v1", "accounts", _, "blobs", _]);
    if head.method != Method::GET && !(is_of_blob && head.method == Method::HEAD) {
        let refused = Refused::new(Code::MethodNotAllowed, "this path answers to GET");
        return allow(problem(&refused, correlation), "GET");
    }
    let answer = match path.as_slice() {
        [""] => Ok(health::root()),
        ["livez"] => Ok(health::live()),
        ["readyz"] => health::ready(state),
        ["metrics"] => Ok(health::metrics(state)),
        ["v1", "accounts", account, "events"] => events::list(state, head, account),
        ["v1", "accounts", account, "blobs", hash] => blob::read(state, head, account, hash, correlation).await,
        _ => Err(Refused::new(Code::RouteUnknown, "nothing is at this path")),
    };
    answer.unwrap_or_else(|refused| problem(&refused, correlation))
}

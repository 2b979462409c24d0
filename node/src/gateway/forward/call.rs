//! One call about an account: where it has to be answered, and all that is needed to make it more than once.

use std::time::Duration;

use ::http::request::Parts;
use ::http::uri::PathAndQuery;
use ::http::{HeaderName, HeaderValue, Request, Uri, Version};
use bytes::Bytes;
use http_body_util::Full;
use steward_actors::domain::account::limits::IDEMPOTENCY_KEY_CHARS_MAX;
use steward_cluster::ids::{NodeId, ShardId};
use uuid::Uuid;

use super::headers::{FORWARDED, RETRY_KEY, put_node, take_connection};
use super::{Body, Protocol};
use crate::gateway::correlation::{CorrelationId, REQUEST_ID};

/// Where a gRPC client says how long it waits.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Where a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// On the node that took it.
    Here,
    /// Wherever the shard's committed events are.
    Replica,
    /// By the leader of the account's shard.
    Leader(Effect),
}

/// What it does to make a call again without knowing whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it reads.
    Read,
    /// Nothing new: the account ends up the same, and the answer is the same.
    Repeatable,
    /// Nothing new under an idempotency key; one is made when the client gave none.
    Keyed,
    /// Another effect, or an answer that is not true: never without knowing.
    Once,
}

/// The name under which the effect of a call is remembered when its client gave none. Handlers find it in the request's
/// extensions, where only this module puts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetryKey(pub(crate) String);

impl RetryKey {
    fn new() -> Self {
        Self(format!("retry:{}", Uuid::now_v7()))
    }

    /// The key another node sent along.
    fn of(head: &Parts) -> Option<Self> {
        let key = head.headers.get(RETRY_KEY)?.to_str().ok()?;
        (key.len() <= IDEMPOTENCY_KEY_CHARS_MAX).then(|| Self(key.to_owned()))
    }
}

/// What the protocol found out about a request.
pub(crate) struct Asked {
    pub(crate) protocol: Protocol,
    pub(crate) shard: ShardId,
    pub(crate) route: Route,
    pub(crate) correlation: CorrelationId,
    /// How long the client waits for an answer.
    pub(crate) patience: Duration,
}

/// A call that can be made again.
pub(crate) struct Call {
    pub(super) asked: Asked,
    head: Parts,
    body: Bytes,
}

impl Call {
    /// A call of a client.
    pub(crate) fn from_client(asked: Asked, mut head: Parts, body: Bytes) -> Self {
        if asked.route == Route::Leader(Effect::Keyed) {
            head.extensions.insert(RetryKey::new());
        }
        Self { asked, head, body }
    }

    /// A call that another node passed on.
    pub(crate) fn from_node(asked: Asked, mut head: Parts, body: Bytes) -> Self {
        if let Some(key) = RetryKey::of(&head) {
            head.extensions.insert(key);
        }
        Self { asked, head, body }
    }

    pub(super) fn effect(&self) -> Effect {
        match self.asked.route {
            Route::Leader(effect) => effect,
            Route::Here | Route::Replica => Effect::Read,
        }
    }

    /// The request for the handlers of this node.
    pub(super) fn for_here(&self) -> Request<Body> {
        Request::from_parts(self.head.clone(), self.whole_body())
    }

    /// The request for another node, which has `left` to answer.
    pub(super) fn for_node(&self, from: NodeId, left: Duration) -> Request<Body> {
        let mut request = Request::new(self.whole_body());
        *request.method_mut() = self.head.method.clone();
        *request.version_mut() = Version::HTTP_2;
        let path = self.head.uri.path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        let mut headers = self.head.headers.clone();
        take_connection(&mut headers);
        put_node(&mut headers, FORWARDED, from);
        headers.insert(REQUEST_ID, self.asked.correlation.header());
        if let Some(RetryKey(key)) = self.head.extensions.get() {
            headers.insert(RETRY_KEY, HeaderValue::from_str(key).expect("a key is made of visible ASCII"));
        }
        if headers.contains_key(GRPC_TIMEOUT) {
            let timeout = format!("{}m", left.as_millis());
            headers.insert(GRPC_TIMEOUT, HeaderValue::from_str(&timeout).expect("digits and a letter"));
        }
        *request.headers_mut() = headers;
        request
    }

    fn whole_body(&self) -> Body {
        Body::new(Full::new(self.body.clone()))
    }
}

//! The API's way to the node that answers: a layer before the services for what clients ask, and the way in for calls that
//! another node passed on.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::request::Parts;
use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, FutureExt as _};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use prost::Message as _;
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::shard_of;
use tower::{Layer, Service, ServiceExt as _};

use super::methods::route_of;
use super::serve::MESSAGE_BYTES_MAX;
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::gateway::forward::{Asked, Body, Call, Forwarder, Protocol, Route, take_private};

/// How long a client waits that does not say so.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a client's own limit counts at most.
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The first field of every request about an account. Other fields are skipped, not read.
#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    account_id: String,
}

/// Passes calls on that are answered by another node.
#[derive(Clone)]
pub(crate) struct ForwardLayer(pub(crate) Arc<Forwarder>);

/// See [`ForwardLayer`].
#[derive(Clone)]
pub(crate) struct Forwarding<S> {
    forwarder: Arc<Forwarder>,
    services: S,
}

impl<S> Layer<S> for ForwardLayer {
    type Service = Forwarding<S>;

    fn layer(&self, services: S) -> Forwarding<S> {
        Forwarding { forwarder: Arc::clone(&self.0), services }
    }
}

impl<S> Service<Request<Body>> for Forwarding<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        take_private(request.headers_mut());
        let route = route_of(request.uri().path());
        if route == Route::Here {
            return Either::Left(self.services.call(request));
        }
        let (forwarder, services) = (Arc::clone(&self.forwarder), self.services.clone());
        Either::Right(Box::pin(async move { Ok(enter(&forwarder, services, route, request).await) }))
    }
}

/// What a client asks about an account.
async fn enter<S>(forwarder: &Forwarder, services: S, route: Route, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    match read(forwarder, route, request).await {
        Read::Call(asked, head, message) => {
            let call = Call::from_client(asked, head, message);
            forwarder.run(&call, move |request| answer(services.clone(), request)).await
        }
        Read::Unnamed(request) => answer(services, request).await,
        Read::Refused(refused) => refused.status().into_http(),
    }
}

/// What another node passed on.
pub(crate) async fn answer_node<S>(forwarder: &Forwarder, services: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let route = route_of(request.uri().path());
    match read(forwarder, route, request).await {
        Read::Call(asked, head, message) => {
            let call = Call::from_node(asked, head, message);
            forwarder.answer_node(&call, |request| answer(services, request)).await
        }
        Read::Unnamed(request) => answer(services, request).await,
        Read::Refused(refused) => refused.status().into_http(),
    }
}

async fn answer<S>(services: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    services.oneshot(request).map(|answer| answer.unwrap_or_else(|never| match never {})).await
}

/// What a request turned out to be.
enum Read {
    Call(Asked, Parts, Bytes),
    /// It names no account: whatever is wrong with it, the handler says it better.
    Unnamed(Request<Body>),
    Refused(Refused),
}

/// Reads the one message of a request.
async fn read(forwarder: &Forwarder, route: Route, request: Request<Body>) -> Read {
    let patience = patience(request.headers());
    let (head, body) = request.into_parts();
    let whole = Limited::new(body, MESSAGE_BYTES_MAX + PREFIX_BYTES).collect();
    let message = match tokio::time::timeout(patience, whole).await {
        Ok(Ok(message)) => message.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the message has more than {MESSAGE_BYTES_MAX} bytes");
            return Read::Refused(Refused::new(Code::BodyTooLarge, message));
        }
        Ok(Err(_)) => return Read::Refused(Refused::new(Code::BodyBroken, "the message ended early")),
        Err(_) => return Read::Refused(Refused::new(Code::BodyTimeout, "the message did not come in time")),
    };
    let Some(account) = account_of(&message) else {
        return Read::Unnamed(Request::from_parts(head, Body::new(Full::new(message))));
    };
    let correlation = head.extensions.get::<CorrelationId>().cloned();
    let correlation = correlation.unwrap_or_else(|| CorrelationId::of(&head.headers));
    let shard = shard_of(&account, forwarder.shards);
    Read::Call(Asked { protocol: Protocol::Grpc, shard, route, correlation, patience }, head, message)
}

/// The account a message is about. None when it is compressed or is not one whole message.
fn account_of(message: &Bytes) -> Option<AccountId> {
    let (prefix, message) = message.split_first_chunk::<PREFIX_BYTES>()?;
    let [compressed, length @ ..] = *prefix;
    let whole = usize::try_from(u32::from_be_bytes(length)) == Ok(message.len());
    if compressed != 0 || !whole {
        return None;
    }
    AccountId::parse(&Named::decode(message).ok()?.account_id).ok()
}

/// How long the client waits, less a tenth: an answer needs time to get back.
fn patience(headers: &HeaderMap) -> Duration {
    let told = headers.get("grpc-timeout").and_then(|text| text.to_str().ok()).and_then(grpc_timeout);
    told.map_or(PATIENCE, |timeout| (timeout * 9 / 10).min(PATIENCE_MAX))
}

/// At most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_how_long_a_client_waits() {
        let of = |text: &'static str| {
            patience(&[("grpc-timeout".parse().unwrap(), text.parse().unwrap())].into_iter().collect())
        };
        assert_eq!(of("10S"), Duration::from_secs(9));
        assert_eq!(of("500m"), Duration::from_millis(450));
        assert_eq!(of("100000u"), Duration::from_millis(90));
        assert_eq!(of("99999999H"), PATIENCE_MAX);
        for bad in ["", "S", "1", "1x", "-1S", "123456789S", "1\u{20ac}"] {
            assert_eq!(grpc_timeout(bad), None, "{bad}");
        }
        assert_eq!(patience(&HeaderMap::new()), PATIENCE);
    }

    #[test]
    fn reads_the_account_of_a_whole_plain_message() {
        let framed = |flag: u8, length: usize, account: &str| {
            let message = Named { account_id: account.to_owned() }.encode_to_vec();
            let length = u32::try_from(message.len() + length).unwrap().to_be_bytes();
            Bytes::from([&[flag], length.as_slice(), &message].concat())
        };
        assert_eq!(account_of(&framed(0, 0, "acme")), AccountId::parse("acme").ok());
        assert_eq!(account_of(&framed(1, 0, "acme")), None);
        assert_eq!(account_of(&framed(0, 1, "acme")), None);
        assert_eq!(account_of(&framed(0, 0, "no account")), None);
        assert_eq!(account_of(&Bytes::from_static(b"\0\0\0")), None);
    }
}

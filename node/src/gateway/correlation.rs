//! The id that ties a request to its events and log lines. Both protocols take it from the client or make one.

use std::task::{Context, Poll};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use futures_util::future::BoxFuture;
use tower::{Layer, Service};
use tracing::Instrument as _;
use uuid::Uuid;

/// Where a client puts its id and finds ours.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id taken from a client.
const LEN_MAX: usize = 128;

/// The id of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CorrelationId(pub(crate) String);

impl CorrelationId {
    /// The client's `x-request-id`, else the trace id of its `traceparent`, else a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| plain(id));
        let traced = || trace_id(headers.get("traceparent")?.to_str().ok()?);
        match given.or_else(traced) {
            Some(id) => Self(id.to_owned()),
            None => Self(Uuid::now_v7().to_string()),
        }
    }

    /// The id as a header.
    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("an id is of visible ASCII characters")
    }
}

fn plain(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (1..=LEN_MAX).contains(&id.len()) && id.bytes().all(allowed)
}

/// The second field of `version-traceid-parentid-flags`.
fn trace_id(traceparent: &str) -> Option<&str> {
    let mut fields = traceparent.split('-');
    let (version, trace) = (fields.next()?, fields.next()?);
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let valid = version.len() == 2 && trace.len() == 32 && hex(trace) && trace.bytes().any(|b| b != b'0');
    valid.then_some(trace)
}

/// Gives every gRPC request its id: in its extensions, in a span around its handler, and in the answer.
#[derive(Clone, Debug)]
pub(crate) struct CorrelationLayer;

/// See [`CorrelationLayer`].
#[derive(Clone, Debug)]
pub(crate) struct Correlated<S>(S);

impl<S> Layer<S> for CorrelationLayer {
    type Service = Correlated<S>;

    fn layer(&self, inner: S) -> Correlated<S> {
        Correlated(inner)
    }
}

impl<S, B, R> Service<Request<B>> for Correlated<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = CorrelationId::of(request.headers());
        let span = tracing::info_span!("grpc", correlation_id = %id.0, path = request.uri().path());
        let header = id.header();
        request.extensions_mut().insert(id);
        let answer = self.0.call(request);
        Box::pin(
            async move {
                let mut response = answer.await?;
                response.headers_mut().insert(REQUEST_ID, header);
                Ok(response)
            }
            .instrument(span),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_clients_id_or_makes_one() {
        let of = |pairs: &[(&'static str, &str)]| {
            let header = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
            CorrelationId::of(&pairs.iter().map(header).collect()).0
        };
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(&[("x-request-id", "r-1"), ("traceparent", trace)]), "r-1");
        assert_eq!(of(&[("traceparent", trace)]), "4bf92f3577b34da6a3ce929d0e0e4736");
        let made = |id: &str| id.len() == 36 && id.as_bytes()[14] == b'7';
        for bad in ["", "a b", "a\"b", &"x".repeat(129)] {
            assert!(made(&of(&[("x-request-id", bad)])), "{bad}");
        }
        assert!(made(&of(&[("traceparent", "00-00000000000000000000000000000000-1-1")])));
        assert_ne!(of(&[]), of(&[]));
    }
}

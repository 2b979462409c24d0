//! The gateway as other nodes reach it: both protocols on one HTTP/2 port, for calls that were passed on.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use ::http::header::CONTENT_TYPE;
use ::http::{Request, Response};
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::Layer as _;

use super::carry::CallServer;
use super::headers::{FORWARDED, node};
use super::{Body, Forwarder, Protocol};
use crate::gateway::correlation::{CorrelationId, CorrelationLayer};
use crate::gateway::error::{Code, Refused};
use crate::gateway::http::HttpState;
use crate::gateway::{grpc, http};

/// What the port between nodes serves beside consensus: what clients of this node get, for calls that were passed on.
/// Streams of short calls end with `stop`.
pub(crate) fn routes(forwarder: Arc<Forwarder>, api: Routes, state: Arc<HttpState>, stop: CancellationToken) -> Routes {
    let body_bytes_max = state.body_bytes_max;
    router(forwarder, api, move |request| http::answer(Arc::clone(&state), request), body_bytes_max, stop)
}

/// The same over any `web` that answers HTTP.
pub(super) fn router<W, F>(
    forwarder: Arc<Forwarder>,
    api: Routes,
    web: W,
    body_bytes_max: usize,
    stop: CancellationToken,
) -> Routes
where
    W: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let api = CorrelationLayer.layer(api);
    let answer = move |request: Request<Body>| {
        let (forwarder, api, web) = (Arc::clone(&forwarder), api.clone(), web.clone());
        async move {
            let protocol = protocol_of(&request);
            if node(request.headers(), &FORWARDED).is_none() {
                let refused = Refused::new(Code::Forbidden, "this port is for calls that a node passes on");
                return protocol.refuse(&refused, &CorrelationId::of(request.headers()));
            }
            match protocol {
                Protocol::Grpc => grpc::answer_node(&forwarder, api, request).await,
                Protocol::Http => http::answer_node(&forwarder, web, body_bytes_max, request).await,
            }
        }
    };
    let alone = answer.clone();
    let alone = tower::service_fn(move |request: Request<axum::body::Body>| {
        alone(request.map(Body::new)).map(Ok::<_, Infallible>)
    });
    let carried = CallServer::service(Arc::new(move |request| answer(request).boxed()), stop);
    Routes::from(axum::Router::new().fallback_service(alone)).add_service(carried)
}

fn protocol_of(request: &Request<Body>) -> Protocol {
    let kind = request.headers().get(CONTENT_TYPE).map(::http::HeaderValue::as_bytes);
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) { Protocol::Grpc } else { Protocol::Http }
}

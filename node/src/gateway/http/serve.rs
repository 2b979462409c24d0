//! Accepts connections and serves them until the node stops. One that keeps a full node waiting gives up its place.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use steward_actors::supervisor;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::arriving::Arriving;
use super::route::handle;
use super::webhook::HookMetrics;
use super::{admission, enter};
use crate::gateway::Gateway;
use crate::gateway::forward::{Body, Forwarder};
use crate::gateway::places::{Places, Seated};
use crate::metrics::{self, Listener};

/// How long a client may take for the head of a request, and be idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long accepting rests when the process has no descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What the HTTP handlers work with.
pub(crate) struct HttpState {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) hooks: HookMetrics,
    pub(crate) body_bytes_max: usize,
}

/// Serves until `stop`, then lets requests in hand finish.
pub(crate) async fn serve(
    listener: TcpListener,
    state: Arc<HttpState>,
    forwarder: Option<Arc<Forwarder>>,
    connections_max: usize,
    stop: CancellationToken,
) {
    let places = Places::new(connections_max, Listener::Http);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                stream.set_nodelay(true).ok(); // A connection that is gone already ends when it is read.
                let client = admission::client(address.ip());
                let seated = tokio::select! {
                    seated = places.seat(stream) => seated,
                    () = stop.cancelled() => break,
                };
                let connection = connection(seated, client, Arc::clone(&state), forwarder.clone(), stop.clone());
                supervisor::spawn("http_connection", connection);
            }
            Err(error) => rest_after(error).await,
        }
    }
    drop(listener); // New connections are refused while those in hand finish.
    places.empty().await;
}

async fn rest_after(error: io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_REST).await;
}

/// How this node answers a request itself.
pub(crate) async fn answer(state: Arc<HttpState>, request: Request<Body>) -> Response<Body> {
    handle(&state, request).await.map(Body::new)
}

async fn connection(
    seated: Seated<TcpStream>,
    client: HeaderValue,
    state: Arc<HttpState>,
    forwarder: Option<Arc<Forwarder>>,
    stop: CancellationToken,
) {
    let _open = Open::new();
    let begun = tokio::select! {
        begun = timeout(HEAD_TIMEOUT, seated.begins()) => begun,
        () = stop.cancelled() => return,
    };
    if !matches!(begun, Ok(Ok(()))) {
        return; // A peer that says nothing has cost no buffers yet.
    }
    let seat = Arc::clone(seated.seat());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (state, forwarder, seat) = (Arc::clone(&state), forwarder.clone(), Arc::clone(&seat));
        request.headers_mut().insert(admission::CLIENT, client.clone());
        let (request, rest) = Arriving::split(request, &seat);
        // In a box: it takes more than the rest of the connection, which may be idle.
        Box::pin(async move {
            let reply = match forwarder {
                None => handle(&state, request).await,
                Some(forwarder) => {
                    let bytes_max = state.body_bytes_max;
                    enter(&forwarder, bytes_max, request, |request| answer(Arc::clone(&state), request)).await
                }
            };
            rest.drain().await;
            seat.wait();
            Ok::<_, Infallible>(reply)
        })
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(seated), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Peers that break off or send no HTTP are their own affair.
        let cause: &dyn std::error::Error = &error;
        tracing::debug!(error = cause, "a connection ended early");
    }
}

/// Counts a connection while it is open.
struct Open(::metrics::Gauge);

impl Open {
    fn new() -> Self {
        let gauge = metrics::http_connections();
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

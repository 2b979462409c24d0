//! Accepts API connections, no more than are allowed at a time, and learns which of them are callers' that are known.
//!
//! # Invariants
//! - **A1 begun**: a connection that does not begin as HTTP/2 in time is cut.
//! - **A2 whole**: a request that is not whole in time is refused.
//! - **A3 known**: a connection of which a call was answered is not cut for others; answers to strangers do not count.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream;
use hyper::body::{Frame, SizeHint};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tonic::Status;
use tonic::transport::server::Connected;
use tower::{Layer, Service};

use crate::gateway::error::{Code, Refused};
use crate::gateway::forward::Body;
use crate::gateway::places::{Places, Seat, Seated};

/// How long accepting rests when the process has no descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// What every connection begins with, and how long its peer may take to send it.
const PREFACE_BYTES: usize = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Whatever is at these paths wants a key.
const OURS: &str = "/steward.";
/// A refusal says so before it says anything else.
const GRPC_STATUS: &str = "grpc-status";

/// Connections as they come and get a place.
pub(super) fn incoming(
    listener: TcpListener,
    places: Arc<Places>,
) -> impl Stream<Item = io::Result<Seated<TcpStream>>> {
    stream::unfold((listener, places), |(listener, places)| async move {
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    tracing::warn!(%error, "an API connection could not be accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        };
        stream.set_nodelay(true).ok(); // A connection that is gone already ends when it is read.
        let seated = places.seat(stream).await.opening_within(PREFACE_BYTES, PREFACE_TIMEOUT);
        Some((Ok(seated), (listener, places)))
    })
}

impl Connected for Seated<TcpStream> {
    type ConnectInfo = Arc<Seat>;

    fn connect_info(&self) -> Arc<Seat> {
        Arc::clone(self.seat())
    }
}

/// Gives requests a time limit, and spares the connections of known callers.
#[derive(Clone)]
pub(super) struct CallersLayer;

/// See [`CallersLayer`].
#[derive(Clone)]
pub(super) struct Callers<S>(S);

impl<S> Layer<S> for CallersLayer {
    type Service = Callers<S>;

    fn layer(&self, services: S) -> Callers<S> {
        Callers(services)
    }
}

impl<S, R> Service<Request<Body>> for Callers<S>
where
    S: Service<Request<Body>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !request.uri().path().starts_with(OURS) {
            return Box::pin(self.0.call(request));
        }
        let seat = request.extensions().get::<Arc<Seat>>().cloned();
        let answer = self.0.call(request.map(|body| Body::new(Awaited { body, until: None })));
        Box::pin(async move {
            let response = answer.await?;
            if let Some(seat) = seat.filter(|_| !response.headers().contains_key(GRPC_STATUS)) {
                seat.spare();
            }
            Ok(response)
        })
    }
}

/// A request's body that has to come in time.
struct Awaited {
    body: Body,
    /// None as long as nothing had to be waited for.
    until: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Awaited {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(REQUEST_TIMEOUT)));
        until.as_mut().poll(cx).map(|()| {
            let message = format!("the request did not come within {} s", REQUEST_TIMEOUT.as_secs());
            Some(Err(Refused::new(Code::BodyTimeout, message).status()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

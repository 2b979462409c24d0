//! A request's body on its way: it tells when it is whole, and what a handler leaves of it is read before the answer goes out.
//!
//! # Decisions
//! - A small rest is read: an answer behind which a connection is reset may never be seen, and a sender that is told to
//!   come back had better find its connection open. A large one is not: its sender hears the refusal, or the reset.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Request, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::gateway::places::Seat;

/// The largest rest of a body that is read for nothing, and how long that may take.
const REST_BYTES_MAX: u64 = 64 * 1024;
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// A body on its way; its connection is spared from when it is whole.
pub(super) struct Arriving {
    /// Given to the rest when the handler is done with it.
    body: Option<Incoming>,
    rest: Arc<Mutex<Option<Incoming>>>,
    seat: Arc<Seat>,
}

/// What a handler leaves of a body.
pub(super) struct Rest {
    body: Arc<Mutex<Option<Incoming>>>,
    /// The client asks first whether it may send the body.
    is_asked_for: bool,
}

impl Arriving {
    /// A request as the handler gets it, and what it will leave.
    pub(super) fn split(request: Request<Incoming>, seat: &Arc<Seat>) -> (Request<Self>, Rest) {
        let body = Arc::<Mutex<Option<Incoming>>>::default();
        let rest = Rest { body: Arc::clone(&body), is_asked_for: request.headers().contains_key(header::EXPECT) };
        let arriving = |incoming| {
            let arriving = Self { body: Some(incoming), rest: body, seat: Arc::clone(seat) };
            arriving.look();
            arriving
        };
        (request.map(arriving), rest)
    }

    fn look(&self) {
        if self.is_end_stream() {
            self.seat.spare();
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            *self.rest.lock() = self.body.take();
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(_)) => self.look(),
            Poll::Ready(None) => self.seat.spare(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Rest {
    /// Reads it, when it is small and comes soon.
    pub(super) async fn drain(self) {
        let Some(mut body) = self.body.lock().take() else { return };
        if self.is_asked_for || body.size_hint().lower() > REST_BYTES_MAX {
            return;
        }
        let reading = async {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if u64::try_from(read).unwrap_or(u64::MAX) > REST_BYTES_MAX {
                    return;
                }
            }
        };
        timeout(REST_TIMEOUT, reading).await.ok(); // Late: the connection ends behind the answer.
    }
}

//! Reads an answer's body piece by piece, and gives up on one that falls silent.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::error::EgressError;

/// A body that is still coming.
pub(super) struct Body {
    pub(super) host: String,
    incoming: Incoming,
    idle_timeout: Duration,
}

impl Body {
    pub(super) fn new(host: String, incoming: Incoming, idle_timeout: Duration) -> Self {
        Self { host, incoming, idle_timeout }
    }

    /// The next piece; none at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, EgressError> {
        loop {
            let limit = self.idle_timeout;
            let frame = timeout(limit, self.incoming.frame()).await.map_err(|_| EgressError::Timeout {
                host: self.host.clone(),
                step: "send the next part of its answer",
                limit,
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(source)) => {
                    return Err(EgressError::BrokenOff { host: self.host.clone(), source: source.into() });
                }
                // Trailers say nothing we need.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The pieces as a stream of at most this many bytes.
    pub(super) fn into_stream(self, limit: u64) -> BoxStream<'static, Result<Bytes, EgressError>> {
        let pieces = stream::unfold(Some((self, 0_u64)), move |state| async move {
            let (mut body, seen) = state?;
            match body.chunk().await {
                Ok(None) => None,
                Ok(Some(chunk)) => {
                    let seen = add(seen, &chunk);
                    if seen > limit {
                        return Some((Err(EgressError::TooLarge { host: body.host, limit }), None));
                    }
                    Some((Ok(chunk), Some((body, seen))))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        pieces.boxed()
    }
}

/// A count of bytes and a piece more.
pub(super) fn add(seen: u64, chunk: &Bytes) -> u64 {
    seen.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX))
}

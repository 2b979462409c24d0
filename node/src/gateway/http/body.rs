//! Reads a request's body: bounded in bytes and time, copied at most once.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;

use crate::gateway::error::{Code, Refused};

/// How long a client may take for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The body's bytes.
pub(super) async fn read<B>(body: B, bytes_max: usize) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let announced = body.size_hint().lower();
    if announced > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
        return Err(too_large(bytes_max));
    }
    let late = |_| {
        let message = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
        Refused::new(Code::BodyTimeout, message)
    };
    tokio::time::timeout(BODY_TIMEOUT, collect(body, bytes_max)).await.map_err(late)?
}

/// Puts the pieces together as they come: a body of tiny ones must not cost a buffer each.
async fn collect<B>(body: B, bytes_max: usize) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let broken = |_| Refused::new(Code::BodyBroken, "the body ended early or is not valid HTTP");
        let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
        if first.len() + whole.len() + piece.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&piece);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

pub(super) fn too_large(bytes_max: usize) -> Refused {
    Refused::new(Code::BodyTooLarge, format!("the body has more than {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// A byte that tells that somebody keeps it.
    struct Kept(#[expect(dead_code, reason = "it is counted, not read")] Arc<()>);

    impl AsRef<[u8]> for Kept {
        fn as_ref(&self) -> &[u8] {
            b"x"
        }
    }

    #[tokio::test]
    async fn pieces_are_not_kept_while_others_come() {
        let kept = Arc::new(());
        let pieces = (0..100).map(|_| {
            assert!(Arc::strong_count(&kept) <= 3, "pieces pile up");
            let piece = Bytes::from_owner(Kept(Arc::clone(&kept)));
            Ok::<_, Infallible>(Frame::data(piece))
        });
        let body = read(StreamBody::new(stream::iter(pieces)), 100).await.unwrap();
        assert_eq!((body.len(), Arc::strong_count(&kept)), (100, 1));
    }

    #[tokio::test]
    async fn the_limit_counts_all_pieces() {
        let of = async |count| {
            let pieces = (0..count).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"abc"))));
            read(StreamBody::new(stream::iter(pieces)), 6).await.map_err(|refused| refused.code)
        };
        assert_eq!(of(0).await, Ok(Bytes::new()));
        assert_eq!(of(1).await, Ok(Bytes::from_static(b"abc")));
        assert_eq!(of(2).await, Ok(Bytes::from_static(b"abcabc")));
        assert_eq!(of(3).await, Err(Code::BodyTooLarge));
    }
}

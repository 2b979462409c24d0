//! Reads a request's body: bounded in bytes and time, copied at most once.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
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
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
        Ok(Err(_)) => Err(Refused::new(Code::BodyBroken, "the body ended early or is not valid HTTP")),
        Err(_) => {
            let message = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
            Err(Refused::new(Code::BodyTimeout, message))
        }
    }
}

pub(super) fn too_large(bytes_max: usize) -> Refused {
    Refused::new(Code::BodyTooLarge, format!("the body has more than {bytes_max} bytes"))
}

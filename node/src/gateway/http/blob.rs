//! `GET /v1/accounts/{id}/blobs/{hash}`: the bytes of a blob, streamed; one byte range if asked.

use std::io::SeekFrom;

use ::http::request::Parts;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, Either, StreamBody};
use hyper::body::Frame;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, RANGE};
use hyper::{Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::reply::{Reply, nosniff};
use super::serve::HttpState;
use crate::gateway::blob::{Opened, chunks, open, unreadable};
use crate::gateway::error::Refused;

pub(super) async fn read(state: &HttpState, head: &Parts, account: &str, hash: &str) -> Result<Reply, Refused> {
    let gateway = &state.gateway;
    let caller = gateway.auth.authenticate(&head.headers)?;
    let reader = caller.account_reader(&gateway.auth, account)?;
    let Opened { mut file, bytes } = open(gateway, &reader, hash).await?;
    let asked = head.headers.get(RANGE).and_then(|range| range.to_str().ok());
    let part = asked.and_then(|range| range_of(range, bytes));
    let (first, length) = part.unwrap_or((0, bytes));
    file.seek(SeekFrom::Start(first)).await.map_err(|error| unreadable(&error))?;
    let frames = chunks(file.take(length)).map_ok(Frame::data);
    let mut reply = Response::new(Either::Right(StreamBody::new(frames).boxed_unsync()));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(ETAG, HeaderValue::from_str(&format!("\"{hash}\"")).expect("a hash is of hex digits"));
    if part.is_some() {
        let range = format!("bytes {first}-{}/{bytes}", first + length - 1);
        headers.insert(CONTENT_RANGE, HeaderValue::from_str(&range).expect("numbers are visible ASCII"));
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(nosniff(reply))
}

/// First byte and length of a single range. Other forms are answered with the whole, as the standard allows.
fn range_of(header: &str, bytes: u64) -> Option<(u64, u64)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first, last) {
        ("", suffix) => (bytes.saturating_sub(suffix.parse().ok()?), bytes.checked_sub(1)?),
        (first, "") => (first.parse().ok()?, bytes.checked_sub(1)?),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.min(bytes.checked_sub(1)?)),
    };
    (first <= last).then(|| (first, last - first + 1))
}

#[cfg(test)]
mod tests {
    use super::range_of;

    #[test]
    fn reads_single_ranges() {
        for (header, want) in [
            ("bytes=0-4", Some((0, 5))),
            ("bytes=5-", Some((5, 5))),
            ("bytes=-3", Some((7, 3))),
            ("bytes=-30", Some((0, 10))),
            ("bytes=8-99", Some((8, 2))),
            ("bytes=10-", None),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(range_of(header, 10), want, "{header}");
        }
        assert_eq!(range_of("bytes=0-", 0), None);
    }
}

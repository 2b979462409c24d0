//! `GET` and `HEAD /v1/accounts/{id}/blobs/{hash}`: the bytes of a blob, streamed, for a key or a signed link.

use std::io::SeekFrom;

use ::http::Method;
use ::http::request::Parts;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, Either, Empty, StreamBody};
use hyper::body::Frame;
use hyper::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue};
use hyper::{Response, StatusCode};
use steward_actors::blob::BlobHash;
use steward_actors::domain::ids::AccountId;
use steward_cluster::clock::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::range::{Asked, asked};
use super::reply::{Reply, nosniff, problem};
use super::serve::HttpState;
use crate::gateway::Gateway;
use crate::gateway::auth::{AccountReader, Link};
use crate::gateway::blob::{Opened, chunks, open, unreadable};
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};

/// What a name may end with, for players that go by that: what kind of file it is then said to be. The bytes are the same.
const KINDS: [(&str, &str); 8] = [
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("mp4", "video/mp4"),
    ("vtt", "text/vtt"),
    ("srt", "application/x-subrip"),
    ("jpg", "image/jpeg"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("json", "application/json"),
];

/// The hash in a name, and what kind of file it is to be.
fn named(name: &str) -> (&str, &'static str) {
    let known = |(hash, end)| Some((hash, KINDS.into_iter().find(|(known, _)| *known == end)?.1));
    name.split_once('.').and_then(known).unwrap_or((name, "application/octet-stream"))
}

pub(super) async fn read(
    state: &HttpState,
    head: &Parts,
    account: &str,
    hash: &str,
    correlation: &CorrelationId,
) -> Result<Reply, Refused> {
    let gateway = &state.gateway;
    let (hash, content_type) = named(hash);
    let reader = match signature_of(head.uri.query().unwrap_or_default()) {
        Some(signature) => reader_by_link(gateway, account, hash, signature)?,
        None => gateway.auth.authenticate(&head.headers)?.account_reader(&gateway.auth, account)?,
    };
    let Opened { mut file, bytes } = open(gateway, &reader, hash).await?;
    let etag = format!("\"{hash}\"");
    let asked = asked(&head.headers, &etag, bytes);
    let (first, length) = match asked {
        Asked::All => (0, bytes),
        Asked::Part { first, length } => (first, length),
        Asked::Nothing => return Ok(unsatisfiable(bytes, correlation)),
    };
    file.seek(SeekFrom::Start(first)).await.map_err(|error| unreadable(&error))?;
    let body = if head.method == Method::HEAD {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        StreamBody::new(chunks(file.take(length)).map_ok(Frame::data)).boxed_unsync()
    };
    let mut reply = Response::new(Either::Right(body));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A link that a shared cache answers would outlive its time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    headers.insert(ETAG, HeaderValue::from_str(&etag).expect("a hash is of hex digits"));
    if asked != Asked::All {
        headers.insert(CONTENT_RANGE, content_range(&format!("{first}-{}", first + length - 1), bytes));
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(nosniff(reply))
}

fn unsatisfiable(bytes: u64, correlation: &CorrelationId) -> Reply {
    let refused = Refused::new(Code::RangeUnsatisfiable, format!("the blob has {bytes} bytes"));
    let mut reply = problem(&refused, correlation);
    reply.headers_mut().insert(CONTENT_RANGE, content_range("*", bytes));
    reply
}

fn content_range(range: &str, bytes: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes {range}/{bytes}")).expect("numbers are visible ASCII")
}

/// What a link says of itself: until when, and its signature.
type Signature<'a> = (&'a str, &'a str);

/// None: the request brings a key.
fn signature_of(query: &str) -> Option<Signature<'_>> {
    let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let (expires, signature) = (of("expires"), of("signature"));
    (expires.is_some() || signature.is_some()).then(|| (expires.unwrap_or_default(), signature.unwrap_or_default()))
}

fn reader_by_link(
    gateway: &Gateway,
    account: &str,
    hash: &str,
    (expires, signature): Signature<'_>,
) -> Result<AccountReader, Refused> {
    let invalid = || Refused::new(Code::LinkInvalid, "the signature of the link does not hold");
    let account = AccountId::parse(account).map_err(|_| invalid())?;
    let hash = BlobHash::parse(hash).ok_or_else(invalid)?;
    // Any other way to write the number was not signed.
    let expires_at = expires.parse().ok().filter(|at: &u64| at.to_string() == expires).ok_or_else(invalid)?;
    let link = Link { account: &account, hash: &hash, expires_at: Timestamp(expires_at) };
    link.reader(&gateway.auth, &gateway.sealer, signature, gateway.clock.now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_say_what_kind_of_file_it_is() {
        assert_eq!(named("ab"), ("ab", "application/octet-stream"));
        assert_eq!(named("ab.m3u8"), ("ab", "application/vnd.apple.mpegurl"));
        for unknown in ["ab.html", "ab.", "ab.mp4.html"] {
            assert_eq!(named(unknown), (unknown, "application/octet-stream"), "it is no hash, and refused as such");
        }
    }

    #[test]
    fn a_link_says_its_time_and_signature() {
        for (query, want) in [
            ("expires=7&signature=ab", Some(("7", "ab"))),
            ("signature=ab&expires=7&x=1", Some(("7", "ab"))),
            ("expires=7", Some(("7", ""))),
            ("signature=ab", Some(("", "ab"))),
            ("xsignature=ab", None),
            ("", None),
        ] {
            assert_eq!(signature_of(query), want, "{query}");
        }
    }
}

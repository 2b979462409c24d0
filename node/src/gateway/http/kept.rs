//! Requests as they are kept: what a source's scheme reads of them, sealed, so that they can be judged once more.

use ::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use bytes::Bytes;
use steward_actors::codec::RawRequest;
use steward_actors::domain::account::RefusedFor;
use steward_actors::seal::{SealError, Sealer};
use steward_cluster::clock::Timestamp;

use super::source::KnownSource;
use super::webhook::PATH;
use crate::gateway::error::{Code, Refused};

/// A request as it is kept.
pub(super) fn raw(source: &KnownSource, head: &Parts, body: Option<Bytes>, received_at: Timestamp) -> RawRequest {
    let is_kept = |name: &HeaderName| {
        [HOST, CONTENT_TYPE, CONTENT_ENCODING].contains(name) || source.scheme.reads_header(name.as_str())
    };
    let headers = head.headers.iter().filter(|(name, _)| is_kept(name));
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes())));
    RawRequest { received_at, query: head.uri.query().map(str::to_owned), headers: headers.collect(), body }
}

/// A request as it is stored.
pub(super) fn seal(sealer: &Sealer, source: &KnownSource, request: RawRequest) -> Result<Bytes, SealError> {
    Ok(sealer.seal(&source.wrapped_key, &request.encode())?.into())
}

/// A request from what is stored.
pub(super) fn open(sealer: &Sealer, source: &KnownSource, sealed: &[u8]) -> Result<RawRequest, Refused> {
    let lost = || {
        tracing::error!(account = %source.account, source = %source.source, "a kept request cannot be read");
        Refused::new(Code::Internal, "a kept request cannot be read; the node's log says more")
    };
    let opened = sealer.open(&source.wrapped_key, sealed).map_err(|_| lost())?;
    RawRequest::decode(Bytes::copy_from_slice(&opened)).map_err(|_| lost())
}

/// The head of a request that was kept.
pub(super) fn head(source: &KnownSource, request: &RawRequest) -> Result<Parts, Refused> {
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let uri = format!("{PATH}{}{query}", source.token);
    let broken = || Refused::new(Code::Internal, "a kept request is not what HTTP can carry");
    let built = ::http::Request::builder().method(Method::POST).uri(uri).body(()).map_err(|_| broken())?;
    let (mut head, ()) = built.into_parts();
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken())?;
        headers.append(name, HeaderValue::from_bytes(value).map_err(|_| broken())?);
    }
    head.headers = headers;
    Ok(head)
}

/// Why a request was refused, when that is a reason to keep it.
pub(super) fn reason(code: Code) -> Option<RefusedFor> {
    let reasons = [RefusedFor::MissingHeader, RefusedFor::BadSignature, RefusedFor::Expired];
    reasons.into_iter().find(|reason| code_of(*reason) == code)
}

/// The code of that reason.
pub(crate) fn code_of(refused_for: RefusedFor) -> Code {
    match refused_for {
        RefusedFor::MissingHeader => Code::WebhookMissingHeader,
        RefusedFor::BadSignature => Code::WebhookBadSignature,
        RefusedFor::Expired => Code::WebhookExpired,
    }
}

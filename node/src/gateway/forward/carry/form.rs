//! Requests and answers of HTTP as they lie on a stream between nodes, and back.

use ::http::header::CONTENT_TYPE;
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body as _;
use steward_proto::peer::v1 as pb;

use super::CALL_BYTES_MAX;
use crate::gateway::forward::Body;

/// What came is no request, or no answer.
#[derive(Debug, thiserror::Error)]
#[error("what came between nodes is not HTTP")]
pub(super) struct FormError(#[source] ::http::Error);

impl<E: Into<::http::Error>> From<E> for FormError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// Whether a call is carried: a webhook of moderate size, whose answer is short.
pub(crate) fn fits(request: &Request<Body>) -> bool {
    let headers = request.headers();
    let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let of_headers = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    let of_path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let left = CALL_BYTES_MAX.saturating_sub(of_headers + of_path);
    let of_body = request.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    request.method() == Method::POST && !is_grpc && of_body.is_some_and(|bytes| bytes <= left)
}

pub(super) fn call(id: u64, head: Parts, body: Bytes) -> pb::Call {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    pb::Call { id, method: head.method.as_str().to_owned(), path, fields: fields(&head.headers), body }
}

/// The request another node passed on.
pub(super) fn request(call: pb::Call) -> Result<Request<Body>, FormError> {
    let pb::Call { id: _, method, path, fields, body } = call;
    let mut request = Request::new(Body::new(Full::new(body)));
    *request.method_mut() = Method::from_bytes(method.as_bytes())?;
    *request.uri_mut() = Uri::from_maybe_shared(Bytes::from(path))?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers(fields)?;
    Ok(request)
}

pub(super) fn answer(id: u64, head: &::http::response::Parts, body: Bytes) -> pb::Answer {
    pb::Answer { id, status: head.status.as_u16().into(), fields: fields(&head.headers), body }
}

/// What another node answered.
pub(super) fn response(answer: pb::Answer) -> Result<Response<Body>, FormError> {
    let pb::Answer { id: _, status, fields, body } = answer;
    let mut response = Response::new(Body::new(Full::new(body)));
    *response.status_mut() = StatusCode::from_u16(u16::try_from(status).unwrap_or_default())?;
    *response.headers_mut() = headers(fields)?;
    Ok(response)
}

fn fields(headers: &HeaderMap) -> Vec<pb::Field> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| pb::Field {
        name: name.as_str().to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    headers.iter().map(field).collect()
}

fn headers(fields: Vec<pb::Field>) -> Result<HeaderMap, FormError> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for pb::Field { name, value } in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_maybe_shared(value)?);
    }
    Ok(headers)
}

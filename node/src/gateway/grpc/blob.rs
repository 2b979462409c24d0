//! `BlobService`: files of clients, and links. Uploads are asked for as HTTP clients ask (`http/upload/`), so that there is
//! one way to them between nodes.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{CONTENT_TYPE, LOCATION};
use ::http::{HeaderMap, HeaderName, Method};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::Frame;
use steward_actors::blob::BlobHash;
use steward_actors::domain::ids::AccountId;
use steward_proto::blob::v1::blob_service_server::BlobService;
use steward_proto::blob::v1::upload_blob_request::Part;
use steward_proto::blob::v1::{self as pb};
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::wire;
use crate::gateway::Gateway;
use crate::gateway::auth::{LINK_TTL_MAX, Link};
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::gateway::forward::Body;
use crate::gateway::http::{UPLOAD_BLOB, UPLOAD_EXPIRES_MS, UPLOAD_LENGTH, UPLOAD_OFFSET, answer_upload, refused_of};

/// The largest refusal.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How long the first message of a stream may take to come.
const BEGIN_WAIT_MAX: Duration = Duration::from_secs(30);

pub(super) struct Blobs(pub(super) Arc<Gateway>);

#[tonic::async_trait]
impl BlobService for Blobs {
    async fn create_upload(
        &self,
        request: Request<pb::CreateUploadRequest>,
    ) -> Result<Response<pb::CreateUploadResponse>, Status> {
        let (mut asked, request) = Asked::of(request);
        let pairs = [("filename", &request.name), ("filetype", &request.content_type), ("hash", &request.hash)];
        let pairs = pairs.iter().filter(|(_, text)| !text.is_empty());
        let metadata: Vec<_> = pairs.map(|(name, text)| format!("{name} {}", STANDARD.encode(text))).collect();
        asked.put("upload-length", &request.bytes.to_string());
        asked.put("upload-metadata", &metadata.join(","));
        let told = asked.make(&self.0, Method::POST, &request.account_id, "", Body::empty()).await?;
        let location = told.get(LOCATION).and_then(|path| path.to_str().ok()).unwrap_or_default();
        let upload_id = location.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Response::new(pb::CreateUploadResponse { upload_id, expires_at_ms: number(&told, &UPLOAD_EXPIRES_MS) }))
    }

    async fn get_upload(
        &self,
        request: Request<pb::GetUploadRequest>,
    ) -> Result<Response<pb::GetUploadResponse>, Status> {
        let (asked, request) = Asked::of(request);
        let upload = named(&request.upload_id)?;
        let told = asked.make(&self.0, Method::HEAD, &request.account_id, upload, Body::empty()).await?;
        Ok(Response::new(pb::GetUploadResponse {
            offset: number(&told, &UPLOAD_OFFSET),
            bytes: number(&told, &UPLOAD_LENGTH),
            expires_at_ms: number(&told, &UPLOAD_EXPIRES_MS),
            hash: hash(&told),
        }))
    }

    async fn end_upload(
        &self,
        request: Request<pb::EndUploadRequest>,
    ) -> Result<Response<pb::EndUploadResponse>, Status> {
        let (asked, request) = Asked::of(request);
        let upload = named(&request.upload_id)?;
        asked.make(&self.0, Method::DELETE, &request.account_id, upload, Body::empty()).await?;
        Ok(Response::new(pb::EndUploadResponse {}))
    }

    async fn upload_blob(
        &self,
        request: Request<Streaming<pb::UploadBlobRequest>>,
    ) -> Result<Response<pb::UploadBlobResponse>, Status> {
        let (mut asked, mut messages) = Asked::of(request);
        let late = |_| Refused::new(Code::BodyTimeout, "the first message did not come in time");
        let first = timeout(BEGIN_WAIT_MAX, messages.message()).await.map_err(late)??;
        let Some(Part::Begin(begin)) = first.and_then(|first| first.part) else {
            return Err(Refused::field("begin", "must be the first message").into());
        };
        asked.put("upload-offset", &begin.offset.to_string());
        asked.put(CONTENT_TYPE.as_str(), "application/offset+octet-stream");
        let chunks = messages.and_then(|message| async move {
            match message.part {
                Some(Part::Chunk(chunk)) => Ok(Frame::data(Bytes::from(chunk))),
                Some(Part::Begin(_)) | None => {
                    Err(Refused::field("chunk", "must be in every message after the first").into())
                }
            }
        });
        let upload = named(&begin.upload_id)?;
        let body = Body::new(StreamBody::new(chunks));
        let told = asked.make(&self.0, Method::PATCH, &begin.account_id, upload, body).await?;
        Ok(Response::new(pb::UploadBlobResponse { offset: number(&told, &UPLOAD_OFFSET), hash: hash(&told) }))
    }

    async fn create_blob_link(
        &self,
        request: Request<pb::CreateBlobLinkRequest>,
    ) -> Result<Response<pb::CreateBlobLinkResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let ttl = Duration::from_secs(request.ttl_s.into());
        if ttl.is_zero() || ttl > LINK_TTL_MAX {
            return Err(Refused::field("ttl_s", format!("must be 1 to {}", LINK_TTL_MAX.as_secs())).into());
        }
        let rule = || Refused::field("hash", "must be 64 lower-case hex digits");
        let hash = BlobHash::parse(&request.hash).ok_or_else(rule)?;
        if !self.0.router.reads().owns_blob(reader.account(), &hash).map_err(Refused::from)? {
            return Err(Refused::absent("blob", &request.hash).into());
        }
        let link = Link { account: reader.account(), hash: &hash, expires_at: self.0.clock.now().plus(ttl) };
        let path = link.path(&self.0.auth, &self.0.sealer)?;
        Ok(Response::new(pb::CreateBlobLinkResponse { path, expires_at_ms: link.expires_at.0 }))
    }
}

/// A call as the request of HTTP that it stands for.
struct Asked {
    headers: HeaderMap,
    correlation: CorrelationId,
}

impl Asked {
    fn of<T>(request: Request<T>) -> (Self, T) {
        let given = request.extensions().get::<CorrelationId>().cloned();
        let (metadata, _, message) = request.into_parts();
        let correlation = given.unwrap_or_else(|| CorrelationId::of(metadata.as_ref()));
        (Self { headers: headers(&metadata), correlation }, message)
    }

    fn put(&mut self, name: &'static str, value: &str) {
        let value = value.parse().expect("numbers and base64 are visible ASCII");
        self.headers.insert(HeaderName::from_static(name), value);
    }

    /// The headers of the answer; a refusal becomes a status.
    async fn make(
        self,
        gateway: &Gateway,
        method: Method,
        account: &str,
        upload: &str,
        body: Body,
    ) -> Result<HeaderMap, Refused> {
        let account: AccountId = wire::id("account_id", account)?;
        let mut path = format!("/v1/accounts/{account}/uploads");
        if !upload.is_empty() {
            path = format!("{path}/{upload}");
        }
        let mut request = ::http::Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("names of accounts and uploads are paths");
        *request.headers_mut() = self.headers;
        let answer = answer_upload(gateway, request, &self.correlation).await;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(head.headers);
        }
        let body = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
        Err(refused_of(&body.map(|body| body.to_bytes()).unwrap_or_default()))
    }
}

/// Who asks, in the version of tus that uploads speak.
fn headers(metadata: &MetadataMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(key) = metadata.as_ref().get(::http::header::AUTHORIZATION) {
        headers.insert(::http::header::AUTHORIZATION, key.clone());
    }
    headers.insert(HeaderName::from_static("tus-resumable"), ::http::HeaderValue::from_static("1.0.0"));
    headers
}

/// The name of an upload is part of a path.
fn named(upload: &str) -> Result<&str, Refused> {
    let is_name = !upload.is_empty() && upload.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if is_name { Ok(upload) } else { Err(Refused::absent("upload", upload)) }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> u64 {
    headers.get(name).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn hash(headers: &HeaderMap) -> String {
    headers.get(UPLOAD_BLOB).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

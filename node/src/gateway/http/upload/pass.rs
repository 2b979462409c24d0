//! Requests about uploads between nodes: any node to the leader of the account, the leader to the node that has the bytes.
//!
//! # Decisions
//! - An upload stays where it began when the account gets another leader, and bytes then take one hop more. Uploads that
//!   move with the leader were refused: a change of leaders takes milliseconds, and a file of 8 GiB does not.

use ::http::request::Parts;
use ::http::{Method, Request, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, BodyStream, Limited};
use steward_actors::blob::{Progress, UploadError, UploadId};
use steward_actors::domain::ids::AccountId;
use steward_cluster::ids::NodeId;

use super::{path_of, problem::refused_of, tus};
use crate::gateway::Gateway;
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::gateway::forward::{Body, Leader, take_holder};
use crate::gateway::http::reply::{JSON, Reply, from_node, whole};

/// The largest answer of the node that has an upload.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Another node passed the request on. Only this module puts it on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// This node leads the account, as the other one believes.
    ToLeader,
    /// The leader of the account knows the caller, and the upload is here.
    ToHolder,
}

/// Notes on a request of another node what it is for.
pub(crate) fn note_passed(mut request: Request<Body>) -> Request<Body> {
    if path_of(request.uri().path()).is_some() {
        let to_holder = take_holder(request.headers_mut());
        request.extensions_mut().insert(if to_holder { Passed::ToHolder } else { Passed::ToLeader });
    }
    request
}

/// Who answers for the account of a path.
pub(super) fn leader_of(gateway: &Gateway, path: &str) -> Leader {
    let account = path_of(path).and_then(|(account, _)| AccountId::parse(account).ok());
    match gateway.forwarder.as_ref().zip(account) {
        Some((forwarder, account)) => forwarder.leader_of(&account),
        None => Leader::Here, // Alone, or no account at all: it is refused here.
    }
}

/// A client's request to the leader.
pub(super) async fn to_leader(
    gateway: &Gateway,
    node: NodeId,
    head: Parts,
    body: Body,
    correlation: &CorrelationId,
) -> Result<Reply, Refused> {
    let forwarder = gateway.forwarder.as_ref().expect("only a node with others knows a leader elsewhere");
    let answer = forwarder.stream(node, false, Request::from_parts(head, body), correlation).await?;
    Ok(from_node(answer))
}

/// A request that the leader allows, to the node that has the upload.
pub(super) async fn to_holder(
    gateway: &Gateway,
    id: &UploadId,
    mut head: Parts,
    body: Body,
    correlation: &CorrelationId,
) -> Result<Option<Progress>, Refused> {
    let Some(forwarder) = &gateway.forwarder else { return Err(Refused::absent("upload", &id.to_string())) };
    if head.method == Method::HEAD {
        head.method = Method::GET; // Its answer has a body.
    }
    let answer = forwarder.stream(id.node(), true, Request::from_parts(head, body), correlation).await?;
    let (head, body) = answer.into_parts();
    let broken = |_| Refused::new(Code::OutcomeUnknown, "the node that has the upload broke off");
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(broken)?.to_bytes();
    match head.status {
        StatusCode::OK => serde_json::from_slice(&body).map(Some).map_err(|_| refused_of(&body)),
        StatusCode::NO_CONTENT => Ok(None),
        _ => Err(refused_of(&body)),
    }
}

/// Answers the leader.
pub(super) async fn hold(gateway: &Gateway, head: &Parts, body: Body) -> Result<Reply, Refused> {
    let path = head.uri.path();
    let (account, upload) = path_of(path).ok_or_else(|| Refused::absent("upload", path))?;
    let account = AccountId::parse(account).map_err(|rule| Refused::field("account_id", rule))?;
    let id = UploadId::parse(upload).ok_or_else(|| Refused::absent("upload", upload))?;
    let answer = work(gateway, &account, &id, head, body).await?;
    let Some(progress) = answer else { return Ok(whole(StatusCode::NO_CONTENT, JSON, "")) };
    Ok(whole(StatusCode::OK, JSON, serde_json::to_vec(&progress).expect("numbers and texts become JSON")))
}

/// Does what is asked where the upload is. None: it is gone, as was asked.
pub(super) async fn work(
    gateway: &Gateway,
    account: &AccountId,
    id: &UploadId,
    head: &Parts,
    body: Body,
) -> Result<Option<Progress>, Refused> {
    if head.method == Method::DELETE {
        gateway.uploads.end(account, id).await?;
        return Ok(None);
    }
    if head.method != Method::PATCH {
        return Ok(Some(gateway.uploads.progress(account, id).await?));
    }
    let (offset, checksum) = tus::piece(&head.headers)?;
    let pieces = BodyStream::new(body).filter_map(|frame| async move {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok::<Bytes, _>),
            Err(error) => Some(Err(error)),
        }
    });
    Ok(Some(gateway.uploads.append(account, id, offset, checksum, pieces).await?))
}

impl From<UploadError> for Refused {
    fn from(error: UploadError) -> Self {
        let message = error.to_string();
        match error {
            UploadError::Rejected(rejection) => rejection.into(),
            UploadError::NodeFull { .. } => Self::new(Code::Overloaded, message),
            UploadError::Offset { .. } => Self::new(Code::UploadOffset, message),
            UploadError::Busy => Self::new(Code::UploadBusy, message),
            UploadError::TooLong { .. } => Self::new(Code::BodyTooLarge, message),
            UploadError::Checksum | UploadError::WrongBlob { .. } => Self::new(Code::ChecksumMismatch, message),
            UploadError::Broken => Self::new(Code::BodyBroken, message),
            UploadError::Slow => Self::new(Code::BodyTimeout, message),
            UploadError::Copy(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::warn!(error = cause, "an upload could not be copied");
                if error.is_of_store() {
                    let told = "the object store did not take the blob yet; ask for the offset to try again";
                    return Self::new(Code::BlobStore, told);
                }
                Self::new(Code::Overloaded, "too few nodes have the blob yet; ask for the offset to try again")
            }
            UploadError::Disk(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Self::new(Code::DiskFull, "the disk is full")
            }
            UploadError::Disk(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::error!(error = cause, "an upload cannot be read or written");
                Self::new(Code::Internal, "the upload cannot be read or written; the node's log says more")
            }
        }
    }
}

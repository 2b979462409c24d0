//! `/v1/accounts/{id}/uploads`: files of clients, by tus 1.0.0 with creation, checksum, termination and expiration.
//!
//! The leader of the account says who may, and asks for the event that makes a blob the account's; the node that an
//! upload's name says has its bytes. gRPC (`grpc/blob.rs`) makes the same requests of its calls.
//!
//! # Invariants
//! - **T1 no key, no byte**: a request is passed on to the node that has an upload after the leader knew its caller.
//! - **T2 streamed**: no node keeps more of a body than what is on its way, so a request is made once and never again;
//!   whoever sent it asks for the offset and goes on.
//! - **T3 told when owned**: an upload that has all its bytes is answered with success after the event that makes its blob
//!   the account's is durable. A last request, or a question, that comes again gets the same answer.

mod leader;
mod pass;
mod problem;
mod tus;

pub(crate) use pass::note_passed;
pub(crate) use problem::refused_of;
pub(crate) use tus::{UPLOAD_BLOB, UPLOAD_EXPIRES_MS, UPLOAD_LENGTH, UPLOAD_OFFSET};

use ::http::request::Parts;
use ::http::{HeaderValue, Method, Request, StatusCode};
use steward_actors::blob::{CHECKSUM_ALGORITHMS, UPLOAD_BYTES_MAX};

use self::pass::Passed;
use super::reply::{Reply, problem, whole};
use crate::gateway::Gateway;
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::gateway::forward::{Body, Leader};

/// The account and the upload that a path is about; the upload is empty where they are made.
pub(super) fn path_of(path: &str) -> Option<(&str, &str)> {
    let (account, rest) = path.strip_prefix("/v1/accounts/")?.split_once('/')?;
    let rest = rest.strip_prefix("uploads")?.trim_end_matches('/');
    let upload = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
    (!upload.contains('/')).then_some((account, upload))
}

/// Answers a request about uploads, wherever they are.
pub(crate) async fn answer(gateway: &Gateway, request: Request<Body>, correlation: &CorrelationId) -> Reply {
    let (mut head, body) = request.into_parts();
    tus::read_method(&mut head);
    let answer =
        if head.method == Method::OPTIONS { Ok(options()) } else { route(gateway, head, body, correlation).await };
    let mut reply = answer.unwrap_or_else(|refused| refusal(&refused, correlation));
    reply.headers_mut().insert(tus::TUS_RESUMABLE, tus::VERSION);
    reply
}

async fn route(gateway: &Gateway, head: Parts, body: Body, correlation: &CorrelationId) -> Result<Reply, Refused> {
    tus::check_version(&head.headers)?;
    match head.extensions.get::<Passed>() {
        Some(Passed::ToHolder) => pass::hold(gateway, &head, body).await,
        Some(Passed::ToLeader) => leader::answer(gateway, head, body, correlation).await,
        None => match pass::leader_of(gateway, head.uri.path()) {
            Leader::Here => leader::answer(gateway, head, body, correlation).await,
            Leader::At(node) => pass::to_leader(gateway, node, head, body, correlation).await,
            Leader::Unknown => Err(Refused::new(Code::NotLed, "nobody leads this account just now")),
        },
    }
}

fn options() -> Reply {
    let mut reply = whole(StatusCode::NO_CONTENT, super::reply::JSON, "");
    let headers = reply.headers_mut();
    headers.insert(tus::TUS_VERSION, tus::VERSION);
    headers.insert(tus::TUS_EXTENSION, HeaderValue::from_static("creation,checksum,termination,expiration"));
    headers.insert(tus::TUS_MAX_SIZE, HeaderValue::from(UPLOAD_BYTES_MAX));
    headers.insert(tus::TUS_CHECKSUM_ALGORITHM, HeaderValue::from_static(CHECKSUM_ALGORITHMS));
    reply
}

fn refusal(refused: &Refused, correlation: &CorrelationId) -> Reply {
    let mut reply = problem(refused, correlation);
    if refused.code == Code::ChecksumMismatch {
        *reply.status_mut() = tus::checksum_mismatch();
    }
    if refused.code == Code::TusVersion {
        reply.headers_mut().insert(tus::TUS_VERSION, tus::VERSION);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_uploads_are_known() {
        for (path, want) in [
            ("/v1/accounts/acme/uploads", Some(("acme", ""))),
            ("/v1/accounts/acme/uploads/", Some(("acme", ""))),
            ("/v1/accounts/acme/uploads/1-0a", Some(("acme", "1-0a"))),
            ("/v1/accounts/acme/uploads/1/2", None),
            ("/v1/accounts/acme/uploadsx", None),
            ("/v1/accounts/acme/blobs/00", None),
            ("/v1/accounts/acme", None),
        ] {
            assert_eq!(path_of(path), want, "{path}");
        }
    }
}

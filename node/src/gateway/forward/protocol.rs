//! What gRPC and HTTP do differently: how a refusal is told and recognised, and how an answer ends that breaks off.

use ::http::{HeaderMap, HeaderName, HeaderValue, Response};
use futures_util::StreamExt as _;
use http_body_util::{BodyStream, StreamBody};
use hyper::body::{Body as _, Frame};
use tonic::{Code as GrpcCode, Status};
use tonic_types::StatusExt as _;

use super::Body;
use super::headers::REFUSAL;
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::gateway::http;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The refusals after which a call may be worth another try.
const TRIED_AGAIN: [Code; 2] = [Code::NotLed, Code::OutcomeUnknown];

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

impl Protocol {
    /// A refusal as an answer.
    pub(super) fn refuse(self, refused: &Refused, correlation: &CorrelationId) -> Response<Body> {
        match self {
            Self::Grpc => refused.status().into_http(),
            Self::Http => http::refusal(refused, correlation),
        }
    }

    /// Which refusal an answer is, when it may be worth another try. Answers that are none are only glanced at.
    pub(super) fn refusal(self, answer: &Response<Body>) -> Option<Code> {
        match self {
            Self::Grpc => refusal_in_status(answer.headers()),
            Self::Http => {
                let told = answer.headers().get(REFUSAL).and_then(|word| word.to_str().ok());
                let here = || answer.extensions().get::<Code>().map(|code| code.word());
                named(told.or_else(here)?)
            }
        }
    }

    /// Whether an answer says that the account or the key is not known, as a replica does that is a moment behind.
    pub(super) fn is_unknown(self, answer: &Response<Body>) -> bool {
        match self {
            Self::Grpc => {
                let code = answer.headers().get(GRPC_STATUS).map(|code| GrpcCode::from_bytes(code.as_bytes()));
                matches!(code, Some(GrpcCode::NotFound | GrpcCode::Unauthenticated | GrpcCode::PermissionDenied))
            }
            Self::Http => matches!(answer.status().as_u16(), 401 | 403 | 404),
        }
    }

    /// Writes the code of a refusal where the node that passed the call on finds it.
    pub(super) fn mark(self, answer: &mut Response<Body>) {
        if self == Self::Http
            && let Some(code) = self.refusal(answer)
        {
            answer.headers_mut().insert(REFUSAL, HeaderValue::from_static(code.word()));
        }
    }

    /// An answer of another node, as the client gets it. A gRPC client whose answer breaks off is told to try again; over
    /// HTTP the connection breaks off as well.
    pub(super) fn pass_back(self, answer: Response<Body>) -> Response<Body> {
        match self {
            // An end within the head is a form of its own, which an empty stream would not be.
            Self::Grpc if !answer.body().is_end_stream() => answer.map(end_with_status),
            Self::Grpc | Self::Http => answer,
        }
    }
}

fn named(word: &str) -> Option<Code> {
    TRIED_AGAIN.into_iter().find(|code| code.word() == word)
}

fn refusal_in_status(headers: &HeaderMap) -> Option<Code> {
    let code = GrpcCode::from_bytes(headers.get(GRPC_STATUS)?.as_bytes());
    if code != GrpcCode::Unavailable {
        return None;
    }
    named(&Status::from_header_map(headers)?.get_details_error_info()?.reason)
}

fn end_with_status(body: Body) -> Body {
    let frames = BodyStream::new(body).map(|frame| {
        Ok::<_, Status>(frame.unwrap_or_else(|error| {
            tracing::debug!(%error, "an answer of another node broke off");
            let message = "the node that answered broke off";
            let status = Refused::new(Code::OutcomeUnknown, message).status();
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers).expect("a status of constant text fits into headers");
            Frame::trailers(trailers)
        }))
    });
    Body::new(StreamBody::new(frames))
}

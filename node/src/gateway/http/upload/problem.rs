//! Problem documents of other nodes, and of this one's own answers, back to what they were made of.

use serde::Deserialize;

use crate::gateway::error::{Code, Refused};

/// What may become of a request about uploads.
const CODES: [Code; 27] = [
    Code::InvalidArgument,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::NotFound,
    Code::LimitReached,
    Code::IdempotencyKeyReused,
    Code::NotYet,
    Code::AccountBusy,
    Code::Overloaded,
    Code::NotLed,
    Code::Quarantined,
    Code::DiskFull,
    Code::OutcomeUnknown,
    Code::NotReady,
    Code::BodyTooLarge,
    Code::BodyTimeout,
    Code::BodyBroken,
    Code::RouteUnknown,
    Code::MethodNotAllowed,
    Code::EncodingUnknown,
    Code::AlreadyExists,
    Code::RateLimited,
    Code::UploadOffset,
    Code::UploadBusy,
    Code::ChecksumMismatch,
    Code::TusVersion,
    Code::Internal,
];

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    #[serde(default)]
    violations: Vec<Violated>,
}

#[derive(Deserialize)]
struct Violated {
    field: String,
    rule: String,
}

/// The refusal that a problem document tells.
pub(crate) fn refused_of(body: &[u8]) -> Refused {
    let malformed = || Refused::new(Code::Internal, "another node answered what is no answer");
    let Ok(Problem { code, detail, violations }) = serde_json::from_slice(body) else { return malformed() };
    if let Some(Violated { field, rule }) = violations.into_iter().next() {
        return Refused::field(field, rule);
    }
    let known = CODES.into_iter().find(|known| known.word() == code);
    known.map_or_else(malformed, |code| Refused::new(code, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_back_as_it_was() {
        for refused in [
            Refused::new(Code::UploadOffset, "from 3 on"),
            Refused::field("Upload-Length", "must be a number"),
            Refused::absent("upload", "1-0"),
        ] {
            let read = refused_of(refused.problem("c").to_string().as_bytes());
            assert_eq!((read.code, &read.message), (refused.code, &refused.message));
        }
        assert_eq!(refused_of(b"<html>").code, Code::Internal);
    }
}

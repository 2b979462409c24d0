//! Answers: JSON, texts, problems and streams. Every answer carries the correlation id.

use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};

use crate::gateway::correlation::{CorrelationId, REQUEST_ID};
use crate::gateway::error::{Code, Refused};

/// A body in one piece, or as it comes from a file.
pub(crate) type ReplyBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, io::Error>>;
pub(super) type Reply = Response<ReplyBody>;

pub(super) const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// The quota of a source that is over it, and when there is some again (draft-ietf-httpapi-ratelimit-headers-10).
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// A body in one piece.
pub(super) fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body.into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// What another node answered.
pub(super) fn from_node(answer: Response<crate::gateway::forward::Body>) -> Reply {
    answer.map(|body| Either::Right(body.map_err(io::Error::other).boxed_unsync()))
}

/// The same answer, marked as nothing a browser may guess at.
pub(super) fn nosniff(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// A refusal.
pub(super) fn problem(refused: &Refused, correlation: &CorrelationId) -> Reply {
    let body = refused.problem(&correlation.0).to_string();
    let mut reply = nosniff(whole(refused.code.http(), PROBLEM, body));
    reply.extensions_mut().insert(refused.code); // For whoever may try again.
    if let Some(after) = refused.retry_after() {
        // Whole seconds, rounded up: earlier would be too early.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        if let Some(rate) = refused.rate_per_s() {
            reply.headers_mut().insert(RATE_LIMIT_POLICY, visible(format!("\"source\";q={rate};w=1")));
            reply.headers_mut().insert(RATE_LIMIT, visible(format!("\"source\";r=0;t={seconds}")));
        }
    }
    if refused.code == Code::Unauthenticated {
        reply.headers_mut().insert(HeaderName::from_static("www-authenticate"), HeaderValue::from_static("Bearer"));
    }
    if refused.code == Code::BodyTooLarge || refused.code == Code::BodyTimeout {
        // What is left of the body is not read.
        reply.headers_mut().insert(HeaderName::from_static("connection"), HeaderValue::from_static("close"));
    }
    reply
}

/// Names the method a path answers to.
pub(super) fn allow(mut reply: Reply, method: &'static str) -> Reply {
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    reply
}

/// Puts the correlation id on an answer.
pub(super) fn correlated(mut reply: Reply, correlation: &CorrelationId) -> Reply {
    reply.headers_mut().insert(REQUEST_ID, correlation.header());
    reply
}

fn visible(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("numbers and names are visible ASCII")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use steward_actors::shard::ExecuteError;

    use super::*;

    #[test]
    fn a_source_over_its_rate_is_told_its_quota() {
        let over = Refused::new(Code::RateLimited, "too many").after(Duration::from_millis(300)).over(20);
        let reply = problem(&over, &CorrelationId("c".to_owned()));
        assert_eq!(reply.headers()["ratelimit-policy"], "\"source\";q=20;w=1");
        assert_eq!(reply.headers()["ratelimit"], "\"source\";r=0;t=1");
        let busy = problem(&Refused::new(Code::AccountBusy, "busy"), &CorrelationId("c".to_owned()));
        assert!(!busy.headers().contains_key("ratelimit"));
    }

    #[test]
    fn overload_says_when_to_come_back_in_whole_seconds() {
        let full = ExecuteError::Overloaded { what: "account", retry_after: Duration::from_millis(1_200) };
        let reply = problem(&Refused::from(full), &CorrelationId("c".to_owned()));
        assert_eq!(reply.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(reply.headers()[RETRY_AFTER], "2");
        let reply = problem(&Refused::from(ExecuteError::DiskFull), &CorrelationId("c".to_owned()));
        assert_eq!(reply.status(), StatusCode::INSUFFICIENT_STORAGE);
        assert!(reply.headers().contains_key(RETRY_AFTER));
    }
}

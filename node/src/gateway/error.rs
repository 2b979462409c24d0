//! The one table of refusals: a code decides the gRPC status, the HTTP status and whether to retry.
//!
//! Handlers return [`Refused`]; the gRPC side turns it into a `google.rpc.Status` with details, the HTTP side into an
//! RFC 9457 problem. Both say the same.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use ::http::StatusCode;
use serde_json::{Value, json};
use steward_actors::domain::account::Rejection;
use steward_actors::feed::FeedError;
use steward_actors::shard::{ExecuteError, ReadError};
use tonic::{Code as GrpcCode, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::cluster::WishError;

/// Where problem types and error reasons belong to.
const DOMAIN: &str = "steward";
/// How long a client waits when the refusal itself does not know better.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// How long a client waits for an operator to make room.
const RETRY_AFTER_OPERATOR: Duration = Duration::from_secs(30);

/// Why a request was refused, as programs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    InvalidArgument,
    Unauthenticated,
    Forbidden,
    NotFound,
    AlreadyExists,
    LimitReached,
    IdempotencyKeyReused,
    StaleAttempt,
    JobState,
    TaskState,
    NotYet,
    AccountBusy,
    Overloaded,
    NotLed,
    Quarantined,
    DiskFull,
    OutcomeUnknown,
    ReadTooSlow,
    TooManyStreams,
    NotReady,
    BodyTooLarge,
    BodyTimeout,
    BodyBroken,
    RouteUnknown,
    MethodNotAllowed,
    BatchTooLarge,
    EncodingUnknown,
    SourcePaused,
    RateLimited,
    AddressForbidden,
    UploadOffset,
    UploadBusy,
    ChecksumMismatch,
    TusVersion,
    LinkInvalid,
    LinkExpired,
    RangeUnsatisfiable,
    BlobStore,
    BlobDamaged,
    WebhookMissingHeader,
    WebhookBadSignature,
    WebhookExpired,
    Internal,
}

/// What a code means in both protocols.
struct Row {
    word: &'static str,
    title: &'static str,
    grpc: GrpcCode,
    http: StatusCode,
    retry: Option<Duration>,
}

const fn row(word: &'static str, title: &'static str, grpc: GrpcCode, http: StatusCode) -> Row {
    Row { word, title, grpc, http, retry: None }
}

const fn retry(row: Row, after: Duration) -> Row {
    Row { retry: Some(after), ..row }
}

impl Code {
    #[rustfmt::skip]
    const fn row(self) -> Row {
        match self {
            Self::InvalidArgument => row("invalid_argument", "The request breaks a rule", GrpcCode::InvalidArgument, StatusCode::BAD_REQUEST),
            Self::Unauthenticated => row("unauthenticated", "No valid key", GrpcCode::Unauthenticated, StatusCode::UNAUTHORIZED),
            Self::Forbidden => row("forbidden", "The key may not do this", GrpcCode::PermissionDenied, StatusCode::FORBIDDEN),
            Self::NotFound => row("not_found", "Not there", GrpcCode::NotFound, StatusCode::NOT_FOUND),
            Self::AlreadyExists => row("already_exists", "There already", GrpcCode::AlreadyExists, StatusCode::CONFLICT),
            Self::LimitReached => row("limit_reached", "The account has all it may have", GrpcCode::ResourceExhausted, StatusCode::UNPROCESSABLE_ENTITY),
            Self::IdempotencyKeyReused => row("idempotency_key_reused", "The idempotency key belongs to another request", GrpcCode::FailedPrecondition, StatusCode::UNPROCESSABLE_ENTITY),
            Self::StaleAttempt => row("stale_attempt", "The attempt is over", GrpcCode::Aborted, StatusCode::CONFLICT),
            Self::NotYet => row("not_yet", "The cluster is being upgraded", GrpcCode::FailedPrecondition, StatusCode::CONFLICT),
            Self::JobState => row("job_state", "The job is in another state", GrpcCode::FailedPrecondition, StatusCode::CONFLICT),
            Self::TaskState => row("task_state", "The task is in another state", GrpcCode::FailedPrecondition, StatusCode::CONFLICT),
            Self::AccountBusy => retry(row("account_busy", "The account has too much in hand", GrpcCode::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS), RETRY_AFTER_DEFAULT),
            Self::Overloaded => retry(row("overloaded", "The node has too much in hand", GrpcCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE), RETRY_AFTER_DEFAULT),
            Self::NotLed => retry(row("not_led", "Another node leads this account", GrpcCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE), RETRY_AFTER_DEFAULT),
            Self::Quarantined => retry(row("quarantined", "The account is in quarantine", GrpcCode::FailedPrecondition, StatusCode::SERVICE_UNAVAILABLE), RETRY_AFTER_OPERATOR),
            Self::DiskFull => retry(row("disk_full", "The disk is full", GrpcCode::ResourceExhausted, StatusCode::INSUFFICIENT_STORAGE), RETRY_AFTER_OPERATOR),
            Self::OutcomeUnknown => retry(row("outcome_unknown", "It may have happened: retry with the same idempotency key", GrpcCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE), RETRY_AFTER_DEFAULT),
            Self::ReadTooSlow => retry(row("read_too_slow", "The subscriber reads too slowly: resume from its cursor", GrpcCode::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS), RETRY_AFTER_DEFAULT),
            Self::TooManyStreams => retry(row("too_many_streams", "Too many open streams", GrpcCode::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS), RETRY_AFTER_DEFAULT),
            Self::NotReady => retry(row("not_ready", "The node is starting or stopping", GrpcCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE), RETRY_AFTER_DEFAULT),
            Self::BodyTooLarge => row("body_too_large", "The body is too large", GrpcCode::ResourceExhausted, StatusCode::PAYLOAD_TOO_LARGE),
            Self::BodyTimeout => row("body_timeout", "The body came too slowly", GrpcCode::DeadlineExceeded, StatusCode::REQUEST_TIMEOUT),
            Self::BodyBroken => row("body_broken", "The body could not be read", GrpcCode::InvalidArgument, StatusCode::BAD_REQUEST),
            Self::RouteUnknown => row("route_unknown", "Nothing is here", GrpcCode::Unimplemented, StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => row("method_not_allowed", "Not with this method", GrpcCode::Unimplemented, StatusCode::METHOD_NOT_ALLOWED),
            Self::BatchTooLarge => row("batch_too_large", "The batch has too many events", GrpcCode::ResourceExhausted, StatusCode::PAYLOAD_TOO_LARGE),
            Self::EncodingUnknown => row("unsupported_encoding", "The body has an unknown encoding", GrpcCode::InvalidArgument, StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::SourcePaused => retry(row("source_paused", "The source is paused", GrpcCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE), RETRY_AFTER_OPERATOR),
            Self::RateLimited => retry(row("rate_limited", "The source takes no more for now", GrpcCode::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS), RETRY_AFTER_DEFAULT),
            Self::AddressForbidden => row("address_forbidden", "The source takes nothing from this address", GrpcCode::PermissionDenied, StatusCode::FORBIDDEN),
            Self::UploadOffset => row("upload_offset", "The upload goes on elsewhere", GrpcCode::FailedPrecondition, StatusCode::CONFLICT),
            Self::UploadBusy => retry(row("upload_busy", "Another request is at the upload", GrpcCode::Aborted, StatusCode::LOCKED), RETRY_AFTER_DEFAULT),
            Self::ChecksumMismatch => row("checksum_mismatch", "The bytes are not what they were said to be", GrpcCode::InvalidArgument, StatusCode::UNPROCESSABLE_ENTITY),
            Self::TusVersion => row("tus_version", "Another version of tus", GrpcCode::InvalidArgument, StatusCode::PRECONDITION_FAILED),
            Self::LinkInvalid => row("link_invalid", "The link opens nothing", GrpcCode::PermissionDenied, StatusCode::FORBIDDEN),
            Self::LinkExpired => row("link_expired", "The link's time is over", GrpcCode::PermissionDenied, StatusCode::FORBIDDEN),
            Self::RangeUnsatisfiable => row("range_unsatisfiable", "The blob has no such bytes", GrpcCode::OutOfRange, StatusCode::RANGE_NOT_SATISFIABLE),
            Self::BlobStore => retry(row("blob_store_unavailable", "The object store does not answer", GrpcCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE), RETRY_AFTER_DEFAULT),
            Self::BlobDamaged => row("blob_damaged", "The stored bytes are not those of the blob", GrpcCode::DataLoss, StatusCode::INTERNAL_SERVER_ERROR),
            Self::WebhookMissingHeader => row("missing_header", "The webhook lacks a credential", GrpcCode::Unauthenticated, StatusCode::UNAUTHORIZED),
            Self::WebhookBadSignature => row("bad_signature", "The webhook's signature does not hold", GrpcCode::Unauthenticated, StatusCode::UNAUTHORIZED),
            Self::WebhookExpired => row("expired", "The webhook was signed too long ago", GrpcCode::Unauthenticated, StatusCode::UNAUTHORIZED),
            Self::Internal => row("internal", "The node has a fault", GrpcCode::Internal, StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// The stable word for programs.
    pub(crate) fn word(self) -> &'static str {
        self.row().word
    }

    /// The status of an HTTP answer.
    pub(crate) fn http(self) -> StatusCode {
        self.row().http
    }
}

/// A field of the request and the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) field: String,
    pub(crate) rule: String,
}

/// A request that was refused. The message is safe to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) message: String,
    violation: Option<Violation>,
    retry_after: Option<Duration>,
    rate_per_s: Option<NonZeroU32>,
    facts: Vec<(&'static str, String)>,
}

impl Refused {
    /// A refusal whose text says it all.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let retry_after = code.row().retry;
        Self { code, message: message.into(), violation: None, retry_after, rate_per_s: None, facts: vec![] }
    }

    /// A field that breaks a rule.
    pub(crate) fn field(field: impl Into<String>, rule: impl ToString) -> Self {
        let (field, rule) = (field.into(), rule.to_string());
        let refused = Self::new(Code::InvalidArgument, format!("{field} {rule}"));
        Self { violation: Some(Violation { field, rule }), ..refused }
    }

    /// A thing that is not there, or that the caller may not know to be there.
    pub(crate) fn absent(what: &'static str, id: &str) -> Self {
        Self::from(Rejection::NotFound { what, id: id.to_owned() })
    }

    /// How long the client had better wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// How many a second there may be, when there were more.
    pub(crate) fn rate_per_s(&self) -> Option<NonZeroU32> {
        self.rate_per_s
    }

    fn fact(mut self, name: &'static str, value: impl ToString) -> Self {
        self.facts.push((name, value.to_string()));
        self
    }

    /// The same, with how long the client had better wait.
    pub(crate) fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// The same, with how many a second there may be.
    pub(crate) fn over(self, rate_per_s: u32) -> Self {
        Self { rate_per_s: NonZeroU32::new(rate_per_s), ..self }
    }

    /// The refusal as a problem document (RFC 9457).
    pub(crate) fn problem(&self, correlation_id: &str) -> Value {
        let row = self.code.row();
        let mut problem = json!({
            "type": format!("urn:{DOMAIN}:problem:{}", row.word),
            "title": row.title,
            "status": row.http.as_u16(),
            "detail": self.message,
            "code": row.word,
            "correlation_id": correlation_id,
        });
        if let Some(violation) = &self.violation {
            problem["violations"] = json!([{"field": violation.field, "rule": violation.rule}]);
        }
        for (name, value) in &self.facts {
            problem[*name] = json!(value);
        }
        problem
    }

    /// The refusal as a gRPC status with details.
    pub(crate) fn status(&self) -> Status {
        let row = self.code.row();
        let facts: HashMap<String, String> =
            self.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut details = ErrorDetails::with_error_info(row.word, DOMAIN, facts);
        if let Some(violation) = &self.violation {
            details.add_bad_request_violation(&violation.field, &violation.rule);
        }
        if let Some(after) = self.retry_after {
            details.set_retry_info(Some(after));
        }
        Status::with_error_details(row.grpc, &self.message, details)
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        refused.status()
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        let message = rejection.to_string();
        match rejection {
            Rejection::NotFound { what, .. } => Self::new(Code::NotFound, message).fact("what", what),
            Rejection::AlreadyExists { what, .. } => Self::new(Code::AlreadyExists, message).fact("what", what),
            Rejection::Invalid { field, rule } => Self::field(field, rule),
            Rejection::Limit { what, max } => {
                Self::new(Code::LimitReached, message).fact("what", what).fact("max", max)
            }
            Rejection::Budget(short) => {
                Self::new(Code::LimitReached, message).fact("what", short.unit.as_str()).fact("max", short.max)
            }
            Rejection::KeyReused => Self::new(Code::IdempotencyKeyReused, message),
            Rejection::StaleAttempt { .. } => Self::new(Code::StaleAttempt, message),
            Rejection::NotYet { .. } => Self::new(Code::NotYet, message),
            Rejection::JobState { .. } => Self::new(Code::JobState, message),
            Rejection::TaskState { .. } => Self::new(Code::TaskState, message),
        }
    }
}

impl From<ExecuteError> for Refused {
    fn from(error: ExecuteError) -> Self {
        let message = error.to_string();
        match error {
            ExecuteError::Rejected(rejection) => rejection.into(),
            ExecuteError::Overloaded { what, retry_after } => {
                let (code, who) = match what {
                    "account" => (Code::AccountBusy, "the account"),
                    _ => (Code::Overloaded, "the node"),
                };
                Self::new(code, format!("{who} has too much in hand")).after(retry_after).fact("what", what)
            }
            ExecuteError::NotLed { .. } => Self::new(Code::NotLed, message),
            // The reason is the text of a panic: for the operator, not for the client.
            ExecuteError::Quarantined { account, .. } => {
                Self::new(Code::Quarantined, format!("account {account} is in quarantine"))
            }
            ExecuteError::DiskFull => Self::new(Code::DiskFull, message),
            ExecuteError::OutcomeUnknown { .. } => Self::new(Code::OutcomeUnknown, message),
        }
    }
}

/// A store that cannot be read needs a human; the client learns only that.
impl From<WishError> for Refused {
    fn from(error: WishError) -> Self {
        if let WishError::Obstacle(obstacle) = &error {
            return Self::new(Code::NotReady, obstacle.to_string());
        }
        let cause: &dyn std::error::Error = &error;
        tracing::warn!(error = cause, "a wish of the operator was not noted");
        Self::new(Code::NotReady, "etcd cannot be asked just now, so the wish was not noted")
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        let cause: &dyn std::error::Error = &error;
        tracing::error!(error = cause, "the state cannot be read");
        Self::new(Code::Internal, "the node has a fault; its log says more under this correlation id")
    }
}

/// A feed that goes on at another node is worth asking for again at once.
impl From<FeedError> for Refused {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Read(error) => error.into(),
            withdrawn @ FeedError::Withdrawn { .. } => Self::new(Code::NotLed, withdrawn.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_say_the_same() {
        let refused = Refused::field("account_id", "must be short");
        let problem = refused.problem("c1");
        assert_eq!(problem["status"], 400);
        assert_eq!(problem["code"], "invalid_argument");
        assert_eq!(problem["violations"][0]["field"], "account_id");
        assert_eq!(problem["correlation_id"], "c1");
        let status = refused.status();
        assert_eq!(status.code(), GrpcCode::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "account_id");
        assert_eq!(details.error_info().unwrap().reason, "invalid_argument");
    }

    #[test]
    fn waits_are_passed_on() {
        let full = ExecuteError::Overloaded { what: "account", retry_after: Duration::from_secs(7) };
        let refused = Refused::from(full);
        assert_eq!((refused.code, refused.retry_after()), (Code::AccountBusy, Some(Duration::from_secs(7))));
        let details = refused.status().get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(7)));
        let shard = ExecuteError::Overloaded { what: "shard", retry_after: Duration::from_secs(1) };
        assert_eq!(Refused::from(shard).code.http(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_quarantine_does_not_tell_the_client_the_panic() {
        let account = steward_actors::domain::ids::AccountId::parse("a").unwrap();
        let refused = Refused::from(ExecuteError::Quarantined { account, reason: "index 3".to_owned() });
        assert!(!refused.problem("c").to_string().contains("index 3"));
    }
}

//! What can happen to an account. Past tense, facts, never taken back.

use bytes::Bytes;
use serde_json::Value;
use steward_cluster::clock::Timestamp;

use super::call::AiCalled;
use super::state::{EndpointSettings, OldSecret, Playbook, Role, SourceSettings, Trust};
use super::upload::BlobUploaded;
use crate::domain::budget::{Amounts, BudgetChange, Ledger};
use crate::domain::ids::{ConsumerId, EndpointId, JobId, KeyId, PlaybookId, ScheduleId, SourceId};
use crate::domain::job::{Failure, JobKind, JobOptions, Split};
use crate::domain::pattern::Pattern;
use crate::domain::schedule::ScheduleChange;
use crate::domain::task::{TaskId, TaskLimits};

/// A webhook whose signature held.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookAccepted {
    pub source: SourceId,
    pub provider: String,
    /// The platform's name for it, such as `recording.completed`.
    pub event_type: String,
    pub delivery_ids: Vec<String>,
    pub tenant: Option<String>,
    pub trust: Trust,
    pub content_type: String,
    /// The bytes as received.
    pub body: Bytes,
    pub kept: KeptRequest,
}

/// Where the request that brought a webhook is kept, so that it can be judged once more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeptRequest {
    /// What accepted it kept none.
    #[default]
    Nowhere,
    /// Here, sealed.
    Here(Bytes),
    /// At the event with this number, which came in the same request.
    At(u64),
    /// In a row beside the feed: it is too large to be read with every event.
    Beside,
}

/// Why a source did not accept a request that it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedFor {
    MissingHeader,
    BadSignature,
    Expired,
}

impl RefusedFor {
    /// Its number in what is stored. Never reused.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::MissingHeader => 1,
            Self::BadSignature => 2,
            Self::Expired => 3,
        }
    }

    /// By that number.
    pub(crate) fn of_number(number: u8) -> Option<Self> {
        [Self::MissingHeader, Self::BadSignature, Self::Expired].into_iter().find(|one| one.number() == number)
    }
}

/// A key that opens the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyCreated {
    pub key: KeyId,
    pub role: Role,
    pub label: String,
    /// BLAKE3 of the secret.
    pub hash: [u8; 32],
    pub expires_at: Option<Timestamp>,
}

/// A place webhooks come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceCreated {
    pub source: SourceId,
    pub scheme: String,
    pub token: String,
    pub sealed_secrets: Vec<Vec<u8>>,
    pub tolerance_s: u32,
    pub public_url: String,
}

/// What became of a source after it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceChange {
    Updated {
        tolerance_s: u32,
        public_url: String,
        settings: SourceSettings,
    },
    /// One came, one went, or the platform is to bring one.
    SecretsChanged {
        sealed_secrets: Vec<Vec<u8>>,
        awaits_secret: bool,
    },
    Paused,
    Resumed,
}

/// A place webhooks go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointCreated {
    pub endpoint: EndpointId,
    pub url: String,
    pub patterns: Vec<Pattern>,
    pub sealed_secret: Vec<u8>,
}

/// What became of an endpoint after it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointChange {
    Updated {
        url: String,
        patterns: Vec<Pattern>,
        settings: EndpointSettings,
    },
    SecretRotated {
        sealed_secret: Vec<u8>,
        /// The one before, for the time of grace.
        old: Option<OldSecret>,
    },
    Paused,
    /// Enabled again, whatever had stopped it.
    Resumed,
    /// It has been failing for so much of the time after which it is disabled.
    Failing {
        percent: u32,
        since: Timestamp,
        disabled_at: Timestamp,
    },
    CircuitOpened {
        until: Timestamp,
        trials: u32,
    },
    CircuitClosed,
    /// A window of the feed is sent once more.
    Recovering {
        after_seq: u64,
        through_seq: u64,
    },
    /// These events are sent once more.
    Requeued {
        seqs: Vec<u64>,
    },
}

/// What became of a job between its request and its end, or after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobChange {
    /// What runs is stopped, and nothing starts.
    Paused,
    Resumed,
    /// The work of its `normalize` was spread over tasks of their own.
    Split(Split),
    /// An ended job is open again.
    Restarted {
        /// What is done anew, with all that waits for it; none: what has not succeeded goes on.
        from: Option<TaskId>,
    },
}

/// Why a task went back to the ready ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ReleaseReason {
    /// Its worker is gone.
    LeaseLost,
    /// Its back-off is over.
    BackOffOver,
    /// Its worker stopped in good order.
    Drained,
    /// The time its job starts at has come.
    DelayOver,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    AccountCreated {
        display_name: String,
        wrapped_key: Vec<u8>,
    },
    ApiKeyCreated(ApiKeyCreated),
    ApiKeyRevoked {
        key: KeyId,
    },
    PlaybookPut {
        playbook: PlaybookId,
        rule: Playbook,
    },
    PlaybookDeleted {
        playbook: PlaybookId,
    },
    PlaybookFailed {
        playbook: PlaybookId,
        reason: String,
    },
    SourceCreated(SourceCreated),
    SourceDeleted {
        source: SourceId,
    },
    SourceChanged {
        source: SourceId,
        change: SourceChange,
    },
    WebhookAccepted(WebhookAccepted),
    EndpointCreated(EndpointCreated),
    EndpointDeleted {
        endpoint: EndpointId,
    },
    EndpointDisabled {
        endpoint: EndpointId,
        reason: String,
    },
    EndpointChanged {
        endpoint: EndpointId,
        change: EndpointChange,
    },
    DeliverySucceeded {
        endpoint: EndpointId,
        event_seq: u64,
        attempt: u32,
        status: u16,
        latency_ms: u64,
        /// The beginning of what the receiver answered.
        response: String,
    },
    DeliveryFailed {
        endpoint: EndpointId,
        event_seq: u64,
        attempt: u32,
        status: Option<u16>,
        error: String,
        /// None: given up.
        retry_at: Option<Timestamp>,
        latency_ms: u64,
        /// The beginning of what the receiver answered.
        response: String,
    },
    JobRequested {
        job: JobId,
        kind: JobKind,
        input: Value,
        playbook: Option<PlaybookId>,
        options: JobOptions,
    },
    JobSucceeded {
        job: JobId,
    },
    JobFailed {
        job: JobId,
        task: TaskId,
        failure: Failure,
    },
    JobCancelled {
        job: JobId,
    },
    JobChanged {
        job: JobId,
        change: JobChange,
    },
    TaskLimitsSet {
        limits: TaskLimits,
    },
    BudgetChanged(BudgetChange),
    BlobUploaded(BlobUploaded),
    ScheduleChanged {
        schedule: ScheduleId,
        change: ScheduleChange,
    },
    TaskStarted {
        job: JobId,
        task: TaskId,
        attempt: u32,
        worker: String,
        /// What it may use of the account's budgets.
        reserved: Amounts,
    },
    TaskProgressed {
        job: JobId,
        task: TaskId,
        attempt: u32,
        permille: u32,
        note: String,
    },
    TaskCheckpointed {
        job: JobId,
        task: TaskId,
        attempt: u32,
        state: Value,
    },
    TaskSucceeded {
        job: JobId,
        task: TaskId,
        attempt: u32,
        result: Value,
        blobs: Vec<String>,
    },
    TaskFailed {
        job: JobId,
        task: TaskId,
        attempt: u32,
        failure: Failure,
        retry_at: Option<Timestamp>,
    },
    TaskReleased {
        job: JobId,
        task: TaskId,
        attempt: u32,
        reason: ReleaseReason,
    },
    AiCalled {
        job: JobId,
        task: TaskId,
        call: AiCalled,
    },
    DocumentIndexed {
        document: String,
        title: String,
        blob: String,
        chunks: u32,
    },
}

/// A change that is no news: it has no number on the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    ConsumerAcked {
        consumer: ConsumerId,
        seq: u64,
    },
    /// Events up to here were not wanted by the endpoint.
    EndpointSkipped {
        endpoint: EndpointId,
        through_seq: u64,
    },
    /// Events up to here, of the feed or of the endpoint's recovery, are done with or pending; these became pending.
    EndpointMoved {
        endpoint: EndpointId,
        is_recovery: bool,
        through_seq: u64,
        pending: Vec<u64>,
    },
    FeedTrimmed {
        first_seq: u64,
    },
    /// A source refused a request and keeps it for a while.
    RequestRefused(RefusedRequest),
    /// These refused requests are kept no longer.
    RefusedForgotten {
        source: SourceId,
        numbers: Vec<u64>,
    },
    /// All that is spent of the account's budgets by now.
    BudgetSpent(Ledger),
}

/// A request that a source refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRequest {
    pub source: SourceId,
    /// Its place among those of the source: those that are too far behind are forgotten.
    pub number: u64,
    /// How many places it takes; one each [`REFUSED_PLACE_BYTES`](super::limits::REFUSED_PLACE_BYTES).
    pub places: u32,
    pub refused_for: RefusedFor,
    pub at: Timestamp,
    pub sealed_request: Bytes,
}

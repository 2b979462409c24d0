//! What can happen to an account. Past tense, facts, never taken back.

use bytes::Bytes;
use serde_json::Value;
use steward_cluster::clock::Timestamp;

use super::state::{EndpointSettings, OldSecret, Playbook, Role, SourceSettings, Trust};
use crate::domain::ids::{ConsumerId, EndpointId, JobId, KeyId, PlaybookId, SourceId};
use crate::domain::job::{Failure, JobKind};
use crate::domain::pattern::Pattern;
use crate::domain::task::TaskKind;

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

/// A call of a model.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AiCalled {
    pub operation: String,
    pub provider: String,
    pub model: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub latency_ms: u64,
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
    },
    JobSucceeded {
        job: JobId,
    },
    JobFailed {
        job: JobId,
        task: TaskKind,
        failure: Failure,
    },
    JobCancelled {
        job: JobId,
    },
    TaskStarted {
        job: JobId,
        task: TaskKind,
        attempt: u32,
        worker: String,
    },
    TaskProgressed {
        job: JobId,
        task: TaskKind,
        attempt: u32,
        permille: u32,
        note: String,
    },
    TaskCheckpointed {
        job: JobId,
        task: TaskKind,
        attempt: u32,
        state: Value,
    },
    TaskSucceeded {
        job: JobId,
        task: TaskKind,
        attempt: u32,
        result: Value,
        blobs: Vec<String>,
    },
    TaskFailed {
        job: JobId,
        task: TaskKind,
        attempt: u32,
        failure: Failure,
        retry_at: Option<Timestamp>,
    },
    TaskReleased {
        job: JobId,
        task: TaskKind,
        attempt: u32,
        reason: ReleaseReason,
    },
    AiCalled {
        job: JobId,
        task: TaskKind,
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
}

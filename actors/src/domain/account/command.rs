//! What can be asked of an account, and what must be known to decide it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use steward_cluster::clock::Timestamp;

use super::call::AiCalled;
use super::event::{ApiKeyCreated, EndpointCreated, RefusedFor, ReleaseReason, SourceCreated, WebhookAccepted};
use super::state::{EndpointSettings, Playbook, SourceSettings};
use super::upload::BlobUploaded;
use crate::domain::budget::{Budgets, Tariff};
use crate::domain::ids::{ConsumerId, EndpointId, JobId, KeyId, PlaybookId, ScheduleId, SourceId};
use crate::domain::job::{Failure, Job, JobKind, JobOptions};
use crate::domain::pattern::Pattern;
use crate::domain::schedule::ScheduleSettings;
use crate::domain::task::{TaskId, TaskLimits};

/// One attempt at one task: the fence of everything its worker reports.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TaskRef {
    pub job: JobId,
    pub task: TaskId,
    pub attempt: u32,
}

/// What is asked. What only clients ask has no serialised form: their requests are passed on between nodes as they came.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Command {
    #[serde(skip)]
    CreateAccount {
        display_name: String,
        wrapped_key: Vec<u8>,
    },
    #[serde(skip)]
    CreateApiKey(ApiKeyCreated),
    #[serde(skip)]
    RevokeApiKey {
        key: KeyId,
    },
    #[serde(skip)]
    PutPlaybook {
        playbook: PlaybookId,
        rule: Playbook,
    },
    #[serde(skip)]
    DeletePlaybook {
        playbook: PlaybookId,
    },
    #[serde(skip)]
    CreateSource(SourceCreated),
    #[serde(skip)]
    DeleteSource {
        source: SourceId,
    },
    #[serde(skip)]
    ChangeSource {
        source: SourceId,
        asked: SourceAsked,
    },
    /// The events of one request: one, or as many as its batch has.
    #[serde(skip)]
    AcceptWebhooks(Vec<WebhookAccepted>),
    /// Keeps a request that was refused.
    #[serde(skip)]
    KeepRefused {
        source: SourceId,
        refused_for: RefusedFor,
        sealed_request: Bytes,
    },
    /// Keeps these refused requests no longer.
    #[serde(skip)]
    ForgetRefused {
        source: SourceId,
        numbers: Vec<u64>,
    },
    /// Lets the account's playbooks follow a webhook that it accepted before. The command's cause is that event.
    #[serde(skip)]
    FollowAgain(WebhookAccepted),
    #[serde(skip)]
    CreateEndpoint(EndpointCreated, EndpointSettings),
    #[serde(skip)]
    UpdateEndpoint {
        endpoint: EndpointId,
        url: String,
        patterns: Vec<Pattern>,
        settings: EndpointSettings,
    },
    #[serde(skip)]
    DeleteEndpoint {
        endpoint: EndpointId,
    },
    #[serde(skip)]
    RotateEndpointSecret {
        endpoint: EndpointId,
        sealed_secret: Vec<u8>,
        /// How long the secret before it still signs.
        grace_ms: u64,
    },
    #[serde(skip)]
    PauseEndpoint {
        endpoint: EndpointId,
    },
    #[serde(skip)]
    ResumeEndpoint {
        endpoint: EndpointId,
    },
    /// Sends a window of the feed once more.
    #[serde(skip)]
    RecoverDeliveries {
        endpoint: EndpointId,
        after_seq: u64,
        through_seq: u64,
    },
    /// Sends these events once more.
    #[serde(skip)]
    RequeueDeliveries {
        endpoint: EndpointId,
        event_seqs: Vec<u64>,
    },
    /// Events up to here are not wanted by the endpoint.
    SkipDeliveries {
        endpoint: EndpointId,
        through_seq: u64,
    },
    /// An attempt on the event behind the cursor.
    ReportDelivery {
        endpoint: EndpointId,
        reported: Reported,
    },
    /// Attempts on any events up to where the sender has come.
    ReportDeliveries {
        endpoint: EndpointId,
        moved: Vec<Moved>,
        outcomes: Vec<Reported>,
    },
    #[serde(skip)]
    CreateJob {
        kind: JobKind,
        input: Value,
        options: JobOptions,
    },
    #[serde(skip)]
    CancelJob {
        job: JobId,
    },
    #[serde(skip)]
    PauseJob {
        job: JobId,
    },
    #[serde(skip)]
    ResumeJob {
        job: JobId,
    },
    /// Opens an ended job again: what has not succeeded, or all from a task on.
    #[serde(skip)]
    RestartJob {
        job: JobId,
        from: Option<TaskId>,
    },
    /// The deadline of a job has come.
    #[serde(skip)]
    ExpireJob {
        job: JobId,
    },
    #[serde(skip)]
    SetTaskLimits {
        limits: TaskLimits,
    },
    #[serde(skip)]
    SetBudgets {
        budgets: Budgets,
    },
    /// A client's file is here in whole.
    #[serde(skip)]
    RecordUpload(BlobUploaded),
    #[serde(skip)]
    CreateSchedule {
        schedule: ScheduleId,
        settings: ScheduleSettings,
    },
    #[serde(skip)]
    UpdateSchedule {
        schedule: ScheduleId,
        settings: ScheduleSettings,
    },
    #[serde(skip)]
    PauseSchedule {
        schedule: ScheduleId,
    },
    #[serde(skip)]
    ResumeSchedule {
        schedule: ScheduleId,
    },
    #[serde(skip)]
    DeleteSchedule {
        schedule: ScheduleId,
    },
    /// A tick of a schedule is due.
    #[serde(skip)]
    FireSchedule {
        schedule: ScheduleId,
        tick: Timestamp,
    },
    /// A worker takes the lease of a ready task.
    StartTask {
        job: JobId,
        task: TaskId,
        worker: String,
    },
    ReportProgress {
        task: TaskRef,
        permille: u32,
        note: String,
    },
    ReportCheckpoint {
        task: TaskRef,
        state: Value,
    },
    ReportAiCall {
        task: TaskRef,
        call: AiCalled,
    },
    ReportSuccess {
        task: TaskRef,
        result: Value,
    },
    ReportFailure {
        task: TaskRef,
        failure: Failure,
        retry: RetryAsked,
    },
    ReleaseTask {
        task: TaskRef,
        reason: ReleaseReason,
    },
    #[serde(skip)]
    AckConsumer {
        consumer: ConsumerId,
        seq: u64,
    },
    /// Forgets events before this one.
    #[serde(skip)]
    TrimFeed {
        first_seq: u64,
    },
}

/// What a source is asked to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceAsked {
    Update {
        tolerance_s: u32,
        public_url: String,
        settings: SourceSettings,
    },
    /// Another secret, beside those it has.
    AddSecret {
        sealed_secret: Vec<u8>,
    },
    /// Another secret, which the platform's next handshake brings.
    AwaitSecret,
    /// The platform's handshake brought it.
    TakeSecret {
        sealed_secret: Vec<u8>,
    },
    /// The secret at this place, from 0 up, counts no longer.
    RetireSecret {
        position: usize,
    },
    Pause,
    Resume,
}

/// How far a sender has come, in the feed or in the endpoint's recovery.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Moved {
    pub is_recovery: bool,
    pub through_seq: u64,
    /// Wanted events up to there that are still to be delivered and were not pending before.
    pub pending: Vec<u64>,
}

/// An attempt at an event.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reported {
    pub event_seq: u64,
    pub outcome: DeliveryOutcome,
}

/// What became of one attempt at a delivery.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DeliveryOutcome {
    Delivered {
        status: u16,
        latency_ms: u64,
        response: String,
    },
    /// The receiver is gone for good (410).
    Gone,
    /// The event is no longer kept.
    Forgotten,
    Failed {
        status: Option<u16>,
        error: String,
        retry_after_ms: Option<u64>,
        latency_ms: u64,
        response: String,
    },
}

/// Whether a failed task may be tried again, as its runner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RetryAsked {
    Never,
    BackOff,
    AfterMs(u64),
}

/// A client's name for its request, so that asking twice happens once.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Idempotency {
    pub key: String,
    /// Hash of the request.
    pub fingerprint: u64,
}

/// A command with who asks and why.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Asked {
    pub command: Command,
    /// Such as `source:zoom`, `key:k1`, `worker`.
    pub actor: String,
    pub correlation_id: String,
    /// The event that caused it; 0 when it came from outside.
    pub causation_seq: u64,
    pub idempotency: Option<Idempotency>,
}

/// What the history says that memory does not hold. The actor looks it up before it decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// For each webhook, in its order: the event that accepted all its delivery ids before. Empty when none was.
    pub delivered: Vec<Option<u64>>,
    /// The first answer to this idempotency key.
    pub answered: Option<(Idempotency, super::decide::Answer)>,
    /// The job that the command is about, when it has ended; jobs in memory are open.
    pub ended_job: Option<Job>,
    /// What models cost here.
    pub tariff: Arc<Tariff>,
}

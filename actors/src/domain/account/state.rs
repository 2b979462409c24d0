//! What an account owns, as its events leave it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_cluster::clock::Timestamp;

use crate::domain::budget::{Amounts, Purse};
use crate::domain::ids::{AccountId, EndpointId, JobId, KeyId, PlaybookId, ScheduleId, SourceId};
use crate::domain::job::{Job, JobKind, TaskState};
use crate::domain::pattern::Pattern;
use crate::domain::schedule::Schedule;
use crate::domain::task::TaskLimits;

/// What a key may do. A higher role includes the lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Reader,
    Writer,
    Admin,
}

/// Opens an account to whoever holds its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    pub role: Role,
    pub label: String,
    /// BLAKE3 of the secret.
    pub hash: [u8; 32],
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// How much of a webhook its signature proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    Full,
    BodyNotCovered,
    TokenOnly,
}

/// Where inbound webhooks come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub scheme: String,
    pub token: String,
    pub sealed_secrets: Vec<Vec<u8>>,
    pub tolerance_s: u32,
    pub public_url: String,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "is_default")]
    pub settings: SourceSettings,
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_paused: bool,
    /// The platform's next handshake brings a secret.
    #[serde(default, skip_serializing_if = "is_default")]
    pub awaits_secret: bool,
    /// The place of the next request that is refused.
    #[serde(default, skip_serializing_if = "is_default")]
    pub next_refused: u64,
}

impl Source {
    /// Whether a secret that the platform brings becomes one of the source's.
    #[must_use]
    pub fn takes_secret(&self) -> bool {
        self.awaits_secret || self.sealed_secrets.is_empty()
    }
}

/// What a source was asked for beside its scheme.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSettings {
    /// Requests a second on each node; 0 means no limit.
    pub rate_per_s: u32,
    /// Networks that webhooks may come from; empty means all.
    pub allow: Vec<String>,
    /// What webhooks are answered with in place of the node's own answer.
    pub response: Option<SourceResponse>,
}

/// An answer that a platform wants to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceResponse {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// Where outbound webhooks go, and how far they have gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub url: String,
    pub patterns: Vec<Pattern>,
    pub sealed_secret: Vec<u8>,
    pub created_at: Timestamp,
    pub disabled: Option<String>,
    /// The last event that is done with: delivered, not wanted or given up.
    pub cursor: u64,
    /// Attempts that failed on the event behind the cursor; only while deliveries may not overtake each other.
    pub failed_attempts: u32,
    pub retry_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub settings: EndpointSettings,
    /// The secret before this one, while receivers may still verify with it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub old_secret: Option<OldSecret>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_paused: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub health: Health,
    /// A window of the feed that is sent once more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub recovery: Option<Recovery>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub counts: DeliveryCounts,
    /// Events up to the cursor, or of a recovery, that are still to be delivered. Rows of their own.
    #[serde(skip)]
    pub pending: BTreeMap<u64, Pending>,
}

/// What an endpoint was asked for beside its address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSettings {
    /// JMESPath over what would be posted; empty lets everything through.
    pub filter: String,
    /// JSON pointer into what would be posted: equal values are delivered in order. Empty: no order.
    pub ordering_key: String,
    /// Posts a second; 0 means no limit.
    pub rate_per_s: u32,
    /// Headers and credentials, sealed; empty when there are none.
    pub sealed_extras: Vec<u8>,
}

/// A secret that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret {
    pub sealed: Vec<u8>,
    pub until: Timestamp,
}

/// How an endpoint has been answering.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub failures_in_row: u32,
    /// The first failure since the last success.
    pub failing_since: Option<Timestamp>,
    /// The last warning that it will be disabled.
    pub warned_percent: u32,
    pub circuit: Option<Circuit>,
}

/// Nothing is sent until then; then one attempt decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    pub until: Timestamp,
    /// Failed attempts since it opened.
    pub trials: u32,
}

/// A window of the feed that is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The last event of it that is done with or pending.
    pub cursor: u64,
    pub through_seq: u64,
}

/// Deliveries of an endpoint since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryCounts {
    pub delivered: u64,
    pub failed_attempts: u64,
    /// Events given up.
    pub dead: u64,
    pub last_success_at: Option<Timestamp>,
    pub last_failure_at: Option<Timestamp>,
}

/// An event that is still to be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub failed_attempts: u32,
    /// Zero: at once.
    pub retry_at: Timestamp,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// When this event, do this job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Playbook {
    pub on: Pattern,
    pub job: JobKind,
    pub input: Value,
}

/// One account in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub id: AccountId,
    /// Set by the account's first event.
    pub created_at: Option<Timestamp>,
    pub display_name: String,
    /// The data key that seals its secrets, itself wrapped.
    pub wrapped_key: Vec<u8>,
    /// Number of the newest event.
    pub last_seq: u64,
    /// Number of the oldest event still kept.
    pub first_seq: u64,
    pub keys: BTreeMap<KeyId, ApiKey>,
    pub sources: BTreeMap<SourceId, Source>,
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
    pub playbooks: BTreeMap<PlaybookId, Playbook>,
    /// Jobs that have not ended.
    pub jobs: BTreeMap<JobId, Job>,
    pub task_limits: TaskLimits,
    pub purse: Purse,
    pub schedules: BTreeMap<ScheduleId, Schedule>,
}

impl Account {
    /// An account nothing has happened to.
    #[must_use]
    pub fn absent(id: AccountId) -> Self {
        Self {
            id,
            created_at: None,
            display_name: String::new(),
            wrapped_key: vec![],
            last_seq: 0,
            first_seq: 1,
            keys: BTreeMap::new(),
            sources: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            playbooks: BTreeMap::new(),
            jobs: BTreeMap::new(),
            task_limits: TaskLimits::default(),
            purse: Purse::default(),
            schedules: BTreeMap::new(),
        }
    }

    /// What its running tasks may still use of its budgets.
    #[must_use]
    pub fn reserved(&self) -> Amounts {
        let tasks = self.jobs.values().flat_map(|job| job.tasks.values());
        Amounts::sum(tasks.filter(|task| task.state == TaskState::Running).map(|task| task.reserved))
    }
}

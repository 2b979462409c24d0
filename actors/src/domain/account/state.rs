//! What an account owns, as its events leave it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_cluster::clock::Timestamp;

use crate::domain::ids::{AccountId, EndpointId, JobId, KeyId, PlaybookId, SourceId};
use crate::domain::job::{Job, JobKind};
use crate::domain::pattern::Pattern;

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
    /// Attempts that failed on the event being delivered.
    pub failed_attempts: u32,
    pub retry_at: Option<Timestamp>,
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
        }
    }
}

//! Reads of what is applied. The gateway, the feed, the task board and the delivery sender call it.

use steward_cluster::clock::Timestamp;
use steward_cluster::ids::{LogIndex, ShardId};

use crate::blob::BlobHash;
use crate::domain::account::{Account, Endpoint, Event, Source};
use crate::domain::ids::{AccountId, ConsumerId, EndpointId, JobId, SourceId};
use crate::domain::job::Job;

/// One event on the feed.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEntry {
    pub seq: u64,
    /// Position of its entry in the shard's log.
    pub index: LogIndex,
    pub at: Timestamp,
    pub actor: String,
    pub correlation_id: String,
    pub causation_seq: u64,
    pub event: Event,
}

/// A document that was indexed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Document {
    pub document: String,
    pub title: String,
    pub blob: String,
    pub chunks: u32,
    pub indexed_at: Timestamp,
}

/// Why the store did not tell.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A row does not hold what its key promises.
    #[error("the {row} of account {account} cannot be read: {reason}")]
    Row { row: &'static str, account: String, reason: String },
}

/// What is applied on this node. Cheap to clone.
#[derive(Clone)]
pub struct Reads {}

impl Reads {
    /// The account with what it owns and its open jobs; none when nothing ever happened to it.
    pub fn account(&self, account: &AccountId) -> Result<Option<Account>, ReadError> {
        unimplemented!("{account}")
    }
    /// Accounts by shard, then name.
    pub fn accounts(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<AccountId>, ReadError> {
        unimplemented!("{after:?} {limit}")
    }
    pub fn source_by_token(&self, account: &AccountId, token: &str) -> Result<Option<(SourceId, Source)>, ReadError> {
        unimplemented!("{account} {token}")
    }
    pub fn job(&self, account: &AccountId, job: &JobId) -> Result<Option<Job>, ReadError> {
        unimplemented!("{account} {job}")
    }
    /// Newest first, those before `before_seq` (none: from the newest).
    pub fn jobs(
        &self,
        account: &AccountId,
        before_seq: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(JobId, Job)>, ReadError> {
        unimplemented!("{account} {before_seq:?} {limit}")
    }
    pub fn events(&self, account: &AccountId, after_seq: u64, limit: usize) -> Result<Vec<FeedEntry>, ReadError> {
        unimplemented!("{account} {after_seq} {limit}")
    }
    /// Numbers of the oldest event kept and of the newest; (1, 0) for an empty feed.
    pub fn bounds(&self, account: &AccountId) -> Result<(u64, u64), ReadError> {
        unimplemented!("{account}")
    }
    pub fn consumer(&self, account: &AccountId, consumer: &ConsumerId) -> Result<Option<u64>, ReadError> {
        unimplemented!("{account} {consumer}")
    }
    pub fn owns_blob(&self, account: &AccountId, blob: &BlobHash) -> Result<bool, ReadError> {
        unimplemented!("{account} {blob:?}")
    }
    pub fn documents(&self, account: &AccountId) -> Result<Vec<Document>, ReadError> {
        unimplemented!("{account}")
    }
    /// All open jobs of a shard, for the task board once the shard is led.
    pub fn open_jobs(&self, shard: ShardId) -> Result<Vec<(AccountId, JobId, Job)>, ReadError> {
        unimplemented!("{shard}")
    }
    /// All endpoints of a shard, for the delivery sender once the shard is led.
    pub fn endpoints(&self, shard: ShardId) -> Result<Vec<(AccountId, EndpointId, Endpoint)>, ReadError> {
        unimplemented!("{shard}")
    }
}

//! Reads of what is applied. The gateway, the feed, the task board and the delivery sender call it.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use steward_cluster::clock::Timestamp;
use steward_cluster::format::Format;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::store::{Direction, StateStore, StoreError};

use super::remembered::remembered_seq;
use super::rows::{Family, Place, account_of, damaged_row, family_behind, family_range, shard_row_key};
use super::shard_of;
use super::source_rows::Refused;
use super::wake::{first_seq, newest, outline, purse, time_of, wake};
use super::{endpoint_rows, source_rows};
use crate::blob::BlobHash;
use crate::codec::{Barrier, decode_feed_row, time_of_feed_row};
use crate::domain::account::limits::SOURCES_MAX;
use crate::domain::account::{Account, ApiKey, Endpoint, Event, Pending, Source, WebhookAccepted};
use crate::domain::budget::Purse;
use crate::domain::ids::{AccountId, ConsumerId, EndpointId, Id, JobId, KeyId, ScheduleId, SourceId, of};
use crate::domain::job::Job;
use crate::domain::schedule::Schedule;
use crate::domain::task::TaskLimits;

/// Rows read from the store at a time when all of a shard's are wanted.
const PAGE_ROWS: usize = 512;
/// Most documents of an account that are listed.
pub const DOCUMENTS_MAX: usize = 10_000;

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
    #[error(transparent)]
    Store(#[from] StoreError), // It says what it could not do.
    /// A row does not hold what its key promises.
    #[error("the {row} of account {account} cannot be read: {reason}")]
    Row { row: &'static str, account: String, reason: String },
    /// A row of a whole shard does not hold what its key promises.
    #[error("the {row} of {shard} cannot be read: {reason}")]
    ShardRow { row: &'static str, shard: ShardId, reason: String },
    /// What a shard comes to is not stored as it should be.
    #[error("the digest of {shard} has {bytes} bytes")]
    Digest { shard: ShardId, bytes: usize },
    /// What a shard may hold is not stored as it should be.
    #[error("the format of {shard} cannot be read")]
    Format { shard: ShardId, source: prost::DecodeError },
}

/// What is applied on this node. Cheap to clone.
#[derive(Clone)]
pub struct Reads {
    store: Arc<dyn StateStore>,
    shards: u16,
}

impl Reads {
    pub(crate) fn new(store: Arc<dyn StateStore>, shards: u16) -> Self {
        Self { store, shards }
    }

    /// The account with what it owns and its open jobs; none when it was never created.
    pub fn account(&self, account: &AccountId) -> Result<Option<Account>, ReadError> {
        let (account, _) = wake(&*self.store, self.place(account))?;
        Ok(Some(account).filter(|account| account.created_at.is_some()))
    }

    /// The account as lists show it: without anything it owns.
    pub fn outline(&self, account: &AccountId) -> Result<Option<Account>, ReadError> {
        let (account, _) = outline(&*self.store, self.place(account))?;
        Ok(Some(account).filter(|account| account.created_at.is_some()))
    }

    /// One of an account's keys.
    pub fn key(&self, account: &AccountId, key: &KeyId) -> Result<Option<ApiKey>, ReadError> {
        self.place(account).read(&*self.store, Family::Key, key.as_str())
    }

    /// The source whose URL ends in this token.
    pub fn source_by_token(&self, account: &AccountId, token: &str) -> Result<Option<(SourceId, Source)>, ReadError> {
        let sources = self.place(account).read_all::<of::Source, Source>(&*self.store, Family::Source, SOURCES_MAX)?;
        Ok(sources.into_iter().find(|(_, source)| source.token == token))
    }

    /// A job, open or ended.
    pub fn job(&self, account: &AccountId, job: &JobId) -> Result<Option<Job>, ReadError> {
        self.place(account).read(&*self.store, Family::Job, job.as_str())
    }

    /// How much work of an account runs at a time.
    pub fn task_limits(&self, account: &AccountId) -> Result<TaskLimits, ReadError> {
        Ok(self.place(account).read(&*self.store, Family::TaskLimits, "")?.unwrap_or_default())
    }

    /// The budgets of an account and what is spent of them.
    pub fn purse(&self, account: &AccountId) -> Result<Purse, ReadError> {
        purse(&*self.store, self.place(account))
    }

    /// Jobs newest first, those requested before an event (none: from the newest on).
    pub fn jobs(
        &self,
        account: &AccountId,
        before_seq: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(JobId, Job)>, ReadError> {
        let place = self.place(account);
        let range = place.seqs(Family::JobBySeq, 0, before_seq.unwrap_or(u64::MAX));
        let rows = self.store.scan(&range, Direction::Backward, limit)?;
        let job = |(_, name): (Bytes, Bytes)| -> Result<Option<(JobId, Job)>, ReadError> {
            let job: JobId = place.id(Family::JobBySeq, &name)?;
            Ok(self.job(account, &job)?.map(|state| (job, state)))
        };
        rows.into_iter().filter_map(|row| job(row).transpose()).collect()
    }

    /// Events after a number.
    pub fn events(&self, account: &AccountId, after_seq: u64, limit: usize) -> Result<Vec<FeedEntry>, ReadError> {
        let place = self.place(account);
        let range = place.seqs(Family::Feed, after_seq.saturating_add(1), u64::MAX);
        let rows = self.store.scan(&range, Direction::Forward, limit)?;
        let entry = |(key, value): (Bytes, Bytes)| {
            let seq = place.number(Family::Feed, place.rest(&key))?;
            decode_feed_row(seq, value).map_err(|error| place.damaged(Family::Feed, error))
        };
        rows.into_iter().map(entry).collect()
    }

    /// An endpoint as it is now, without what is pending there.
    pub(crate) fn endpoint(&self, account: &AccountId, id: &EndpointId) -> Result<Option<Endpoint>, ReadError> {
        self.place(account).read(&*self.store, Family::Endpoint, id.as_str())
    }

    /// An event pending at an endpoint.
    pub(crate) fn pending(&self, account: &AccountId, id: &EndpointId, seq: u64) -> Result<Option<Pending>, ReadError> {
        endpoint_rows::one_pending(&*self.store, self.place(account), id, seq)
    }

    /// Events about attempts at an endpoint, newest first, before a number. Those the feed no longer keeps are left out.
    pub fn attempts(
        &self,
        account: &AccountId,
        id: &EndpointId,
        before_seq: u64,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, ReadError> {
        let place = self.place(account);
        let range = place.owned_seqs(Family::Attempt, id, 0, before_seq);
        let rows = self.store.scan(&range, Direction::Backward, limit)?;
        let entry = |(key, _): (Bytes, Bytes)| {
            let seq = place.last_number(Family::Attempt, &key)?;
            let row = self.store.get(&place.seq_key(Family::Feed, seq))?;
            let entry = row.map(|row| decode_feed_row(seq, row)).transpose();
            entry.map_err(|error| place.damaged(Family::Feed, error))
        };
        rows.into_iter().filter_map(|row| entry(row).transpose()).collect()
    }

    /// Events given up at an endpoint, from one number through another.
    pub fn dead(
        &self,
        account: &AccountId,
        id: &EndpointId,
        from: u64,
        through: u64,
        limit: usize,
    ) -> Result<Vec<u64>, ReadError> {
        let place = self.place(account);
        let range = place.owned_seqs(Family::Dead, id, from, through.saturating_add(1));
        let rows = self.store.scan(&range, Direction::Forward, limit)?;
        rows.iter().map(|(key, _)| place.last_number(Family::Dead, key)).collect()
    }

    /// Requests that a source refused, oldest first, from a number on.
    pub fn refused(
        &self,
        account: &AccountId,
        source: (&SourceId, &Source),
        from: u64,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Refused>, ReadError> {
        source_rows::refused(&*self.store, self.place(account), source, from, limit, now)
    }

    /// Whether every delivery id of a webhook was accepted before, as far back as they are remembered.
    pub fn is_delivered(
        &self,
        account: &AccountId,
        webhook: &WebhookAccepted,
        now: Timestamp,
    ) -> Result<bool, ReadError> {
        let place = self.place(account);
        for id in &webhook.delivery_ids {
            let key = place.delivery_key(webhook.source.as_str(), id);
            if remembered_seq(&*self.store, place, &key, now)?.is_none() {
                return Ok(false);
            }
        }
        Ok(!webhook.delivery_ids.is_empty())
    }

    /// The request beside an event, sealed, when it is too large to be in it.
    pub fn request_beside(&self, account: &AccountId, seq: u64) -> Result<Option<Bytes>, ReadError> {
        Ok(self.store.get(&self.place(account).seq_key(Family::Request, seq))?)
    }

    /// The format in force in the account's shard.
    pub(crate) fn format(&self, account: &AccountId) -> Result<Format, ReadError> {
        Ok(Barrier::read(&*self.store, self.shard_of(account))?.map_or(Format::FIRST, |barrier| barrier.format))
    }

    /// The account's own time, which never goes back: that of its newest event.
    pub(crate) fn newest_at(&self, account: &AccountId) -> Result<Timestamp, ReadError> {
        let place = self.place(account);
        let newest = newest(&*self.store, place)?.map(|(_, row)| time_of_feed_row(row)).transpose();
        Ok(newest.map_err(|error| place.damaged(Family::Feed, error))?.unwrap_or_default())
    }

    /// Numbers of the oldest event kept and of the newest; (1, 0) for an empty feed.
    pub fn bounds(&self, account: &AccountId) -> Result<(u64, u64), ReadError> {
        let place = self.place(account);
        let first = first_seq(&*self.store, place)?;
        Ok((first, newest(&*self.store, place)?.map_or(0, |(seq, _)| seq)))
    }

    /// Number of the first event at or after a time; the number after the newest when there is none yet.
    pub fn seek_time(&self, account: &AccountId, since: Timestamp) -> Result<u64, ReadError> {
        let place = self.place(account);
        let (mut low, last) = self.bounds(account)?;
        let mut high = last + 1;
        while low < high {
            let middle = low + (high - low) / 2;
            // A row trimmed meanwhile is older than all that are left.
            let time = time_of(&*self.store, place, middle)?;
            if time.is_some_and(|time| time >= since) { high = middle } else { low = middle + 1 }
        }
        Ok(low)
    }

    /// What a named consumer has acknowledged.
    pub fn consumer(&self, account: &AccountId, consumer: &ConsumerId) -> Result<Option<u64>, ReadError> {
        let place = self.place(account);
        let row = self.store.get(&place.key(Family::Consumer, consumer.as_str().as_bytes()))?;
        row.map(|value| place.number(Family::Consumer, &value)).transpose()
    }

    /// Whether a result of the account names the blob.
    pub fn owns_blob(&self, account: &AccountId, blob: &BlobHash) -> Result<bool, ReadError> {
        Ok(self.store.get(&self.place(account).key(Family::Blob, blob.as_str().as_bytes()))?.is_some())
    }

    /// The account's documents, by name.
    pub fn documents(&self, account: &AccountId) -> Result<Vec<Document>, ReadError> {
        let place = self.place(account);
        let rows = self.store.scan(&place.all(Family::Document), Direction::Forward, DOCUMENTS_MAX)?;
        rows.into_iter().map(|(_, value)| place.json(Family::Document, &value)).collect()
    }

    /// All open jobs of a shard, for the task board once the shard is led.
    pub fn open_jobs(&self, shard: ShardId) -> Result<Vec<(AccountId, JobId, Job)>, ReadError> {
        let mut jobs = vec![];
        self.each(shard, Family::OpenJob, |place, name, _| {
            let job: JobId = place.id(Family::OpenJob, name)?;
            // It may have ended, and been trimmed, since the list was read.
            jobs.extend(self.job(place.account, &job)?.map(|state| (place.account.clone(), job, state)));
            Ok(())
        })?;
        Ok(jobs)
    }

    /// All blobs that the accounts of a shard own.
    pub fn blobs(&self, shard: ShardId) -> Result<Vec<(AccountId, BlobHash)>, ReadError> {
        let mut blobs = vec![];
        self.each(shard, Family::Blob, |place, name, _| {
            let hash = std::str::from_utf8(name).ok().and_then(BlobHash::parse);
            blobs.extend(hash.map(|hash| (place.account.clone(), hash)));
            Ok(())
        })?;
        Ok(blobs)
    }

    /// All endpoints of a shard, for the delivery sender once the shard is led.
    pub fn endpoints(&self, shard: ShardId) -> Result<Vec<(AccountId, EndpointId, Endpoint)>, ReadError> {
        let mut endpoints = vec![];
        self.each(shard, Family::Endpoint, |place, name, value| {
            let (endpoint, state) = row::<of::Endpoint, Endpoint>(place, Family::Endpoint, name, value)?;
            endpoints.push((place.account.clone(), endpoint, state));
            Ok(())
        })?;
        Ok(endpoints)
    }

    /// All schedules of a shard, for its timers once the shard is led.
    pub(crate) fn schedules(&self, shard: ShardId) -> Result<Vec<(AccountId, ScheduleId, Schedule)>, ReadError> {
        let mut schedules = vec![];
        self.each(shard, Family::Schedule, |place, name, value| {
            let (schedule, state) = row::<of::Schedule, Schedule>(place, Family::Schedule, name, value)?;
            schedules.push((place.account.clone(), schedule, state));
            Ok(())
        })?;
        Ok(schedules)
    }

    /// The log index up to which a consumer of everything has acknowledged a shard.
    pub fn shard_consumer(&self, shard: ShardId, consumer: &ConsumerId) -> Result<Option<LogIndex>, ReadError> {
        let row = self.store.get(&shard_row_key(shard, Family::ShardConsumer, consumer.as_str().as_bytes()))?;
        let index = |value: Bytes| {
            let bytes = <[u8; 8]>::try_from(&*value);
            bytes.map(|bytes| LogIndex(u64::from_be_bytes(bytes)))
        };
        let index = row.map(index).transpose();
        index.map_err(|_| damaged_row(shard, Family::ShardConsumer, "a log index has 8 bytes"))
    }

    /// How many consumers of everything have acknowledged anything in a shard, as far as `limit`.
    pub(crate) fn shard_consumers(&self, shard: ShardId, limit: usize) -> Result<usize, ReadError> {
        Ok(self.store.scan(&family_range(shard, Family::ShardConsumer), Direction::Forward, limit)?.len())
    }

    /// How far the shard is applied here; 0 when it is not held.
    pub fn applied(&self, shard: ShardId) -> Result<LogIndex, ReadError> {
        Ok(self.store.applied(shard)?)
    }

    pub(crate) fn shard_of(&self, account: &AccountId) -> ShardId {
        shard_of(account, self.shards)
    }

    pub(crate) fn store(&self) -> &dyn StateStore {
        &*self.store
    }

    fn place<'a>(&self, account: &'a AccountId) -> Place<'a> {
        Place { shard: self.shard_of(account), account }
    }

    /// Calls `take` with every row of a family in a shard: its place, what its key has behind the account, its value.
    fn each(
        &self,
        shard: ShardId,
        family: Family,
        mut take: impl FnMut(Place<'_>, &[u8], &[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut range = family_range(shard, family);
        loop {
            let rows = self.store.scan(&range, Direction::Forward, PAGE_ROWS)?;
            for (key, value) in &rows {
                let Some(account) = account_of(key) else { continue };
                let place = Place { shard, account: &account };
                take(place, place.rest(key), value)?;
            }
            match rows.last() {
                Some((key, _)) if rows.len() == PAGE_ROWS => range = family_behind(shard, family, key),
                Some(_) | None => return Ok(()),
            }
        }
    }
}

fn row<Of, T: DeserializeOwned>(
    place: Place<'_>,
    family: Family,
    name: &[u8],
    value: &[u8],
) -> Result<(Id<Of>, T), ReadError> {
    Ok((place.id(family, name)?, place.json(family, value)?))
}

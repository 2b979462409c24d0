//! Where everything of an account stands in the store. The applier writes these rows; waking and the reads read them.
//!
//! A key is `shard (2, big-endian) · family (1) · account · 0 · rest`; numbers in `rest` are big-endian, so that rows of
//! an account are neighbours and in order. JSON values are the domain's own structs.
//!
//! | family | rest | value |
//! | --- | --- | --- |
//! | `Account` | – | JSON of [`Head`] |
//! | `TaskLimits` | – | JSON of [`TaskLimits`](crate::domain::task::TaskLimits) |
//! | `Budgets`, `Ledger` | – | JSON of the two halves of a [`Purse`](crate::domain::budget::Purse) |
//! | `Floor` | – | number of the oldest event kept |
//! | `Feed` | seq | `FeedEvent` of record.proto |
//! | `Delivery` | source · 0 · delivery id | [`Remembered`] |
//! | `Answer` | idempotency key | [`Remembered`], then the fingerprint and the id of the answer |
//! | `Key`, `Source`, `Endpoint`, `Playbook`, `Schedule` | its id | JSON |
//! | `Job` | job id | JSON, open or ended |
//! | `JobBySeq` | seq of its request | job id |
//! | `OpenJob` | job id | – |
//! | `Consumer` | consumer id | the number it acknowledged |
//! | `Pending` | endpoint · 0 · seq | failed attempts (4 bytes) and when the next is due (8) |
//! | `Dead` | endpoint · 0 · seq | when it was given up |
//! | `Attempt` | endpoint · 0 · seq of the event about it | number of the event it was about |
//! | `Request` | seq of the webhook it brought | a request too large for the feed, sealed |
//! | `Refused` | source · 0 · number | [`Refused`](super::source_rows::Refused) |
//! | `Blob` | hash | – |
//! | `Document` | document | JSON |
//!
//! Rows of a whole shard have no account in their key: `shard · family · rest`.
//!
//! | family | rest | value |
//! | --- | --- | --- |
//! | `Format` | – | the `Barrier` of record.proto that put the shard's format in force |
//! | `Digest` | – | [`Digest`](super::digest::Digest) |
//! | `Entry` | log index | [`Runs`](crate::codec::Runs): whose events the entry brought |
//! | `Lost` | – | [`Lost`](super::lost::Lost) of any account; of one account with `account · 0` behind it |
//! | `ShardConsumer` | consumer id | the log index a consumer of everything acknowledged |

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::store::{Direction, KeyRange, StateStore, shard_prefix};

use super::ReadError;
use crate::domain::account::{Answer, Idempotency};
use crate::domain::ids::{AccountId, Id};

/// The kinds of row there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Account,
    Floor,
    Feed,
    Delivery,
    Answer,
    Key,
    Source,
    Endpoint,
    Playbook,
    Job,
    JobBySeq,
    OpenJob,
    Consumer,
    Blob,
    Document,
    Digest,
    Format,
    Entry,
    Lost,
    ShardConsumer,
    Pending,
    Dead,
    Attempt,
    Request,
    Refused,
    TaskLimits,
    Schedule,
    Budgets,
    Ledger,
}

/// Bytes before the account in a key.
const HEAD_BYTES: usize = 3;
/// Ends the account in a key; no id contains it.
const SEPARATOR: u8 = 0;

impl Family {
    /// Its number in keys. Never reused.
    const fn byte(self) -> u8 {
        match self {
            Self::Account => 1,
            Self::Floor => 2,
            Self::Feed => 3,
            Self::Delivery => 4,
            Self::Answer => 5,
            Self::Key => 6,
            Self::Source => 7,
            Self::Endpoint => 8,
            Self::Playbook => 9,
            Self::Job => 10,
            Self::JobBySeq => 11,
            Self::OpenJob => 12,
            Self::Consumer => 13,
            Self::Blob => 14,
            Self::Document => 15,
            Self::Digest => 16,
            Self::Format => 17,
            Self::Entry => 18,
            Self::Lost => 19,
            Self::ShardConsumer => 20,
            Self::Pending => 21,
            Self::Dead => 22,
            Self::Attempt => 23,
            Self::Request => 24,
            Self::Refused => 25,
            Self::TaskLimits => 26,
            Self::Schedule => 27,
            Self::Budgets => 28,
            Self::Ledger => 29,
        }
    }

    /// Its name in errors.
    const fn name(self) -> &'static str {
        match self {
            Self::Account => "settings",
            Self::Floor => "oldest event number",
            Self::Feed => "feed",
            Self::Delivery => "delivery",
            Self::Answer => "answer",
            Self::Key => "key",
            Self::Source => "source",
            Self::Endpoint => "endpoint",
            Self::Playbook => "playbook",
            Self::Job => "job",
            Self::JobBySeq => "job list",
            Self::OpenJob => "open job",
            Self::Consumer => "consumer",
            Self::Blob => "blob",
            Self::Document => "document",
            Self::Digest => "digest",
            Self::Format => "format",
            Self::Entry => "entry",
            Self::Lost => "note of what was forgotten",
            Self::ShardConsumer => "consumer of everything",
            Self::Pending => "pending delivery",
            Self::Dead => "delivery given up",
            Self::Attempt => "attempt at a delivery",
            Self::Request => "kept request",
            Self::Refused => "refused request",
            Self::TaskLimits => "task limits",
            Self::Schedule => "schedule",
            Self::Budgets => "budgets",
            Self::Ledger => "ledger",
        }
    }
}

/// What an account has before it owns anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) created_at: Timestamp,
    pub(crate) display_name: String,
    pub(crate) wrapped_key: Vec<u8>,
}

/// The place of one account's rows.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) shard: ShardId,
    pub(crate) account: &'a AccountId,
}

impl Place<'_> {
    /// The key of one row.
    pub(crate) fn key(&self, family: Family, rest: &[u8]) -> Vec<u8> {
        let account = self.account.as_str().as_bytes();
        let mut key = Vec::with_capacity(HEAD_BYTES + account.len() + 1 + rest.len());
        key.extend_from_slice(&shard_prefix(self.shard));
        key.push(family.byte());
        key.extend_from_slice(account);
        key.push(SEPARATOR);
        key.extend_from_slice(rest);
        key
    }

    /// The key of a row of the feed or of the list of jobs.
    pub(crate) fn seq_key(&self, family: Family, seq: u64) -> Vec<u8> {
        self.key(family, &seq.to_be_bytes())
    }

    /// The key of the row that remembers a delivery.
    pub(crate) fn delivery_key(&self, source: &str, delivery: &str) -> Vec<u8> {
        let mut rest = Vec::with_capacity(source.len() + 1 + delivery.len());
        rest.extend_from_slice(source.as_bytes());
        rest.push(SEPARATOR);
        rest.extend_from_slice(&bounded(delivery.as_bytes()));
        self.key(Family::Delivery, &rest)
    }

    /// The key of a numbered row of an endpoint or a source.
    pub(crate) fn owned_key<Of>(&self, family: Family, owner: &Id<Of>, number: u64) -> Vec<u8> {
        [&self.owned_prefix(family, owner)[..], &number.to_be_bytes()].concat()
    }

    /// What the keys of such rows begin with.
    pub(crate) fn owned_prefix<Of>(&self, family: Family, owner: &Id<Of>) -> Vec<u8> {
        self.key(family, &[owner.as_str().as_bytes(), &[SEPARATOR]].concat())
    }

    /// Such rows from one number to before another.
    pub(crate) fn owned_seqs<Of>(&self, family: Family, owner: &Id<Of>, from: u64, before: u64) -> KeyRange {
        let (start, end) = (self.owned_key(family, owner, from), self.owned_key(family, owner, before));
        KeyRange::between(&start, &end)
    }

    /// The number at the end of a key.
    pub(crate) fn last_number(&self, family: Family, key: &[u8]) -> Result<u64, ReadError> {
        self.number(family, key.last_chunk::<8>().map_or(&[][..], |number| number))
    }

    /// The key of the row that remembers an answer.
    pub(crate) fn answer_key(&self, idempotency_key: &str) -> Vec<u8> {
        self.key(Family::Answer, idempotency_key.as_bytes())
    }

    /// All rows of a family.
    pub(crate) fn all(&self, family: Family) -> KeyRange {
        KeyRange::prefix(&self.key(family, &[]))
    }

    /// Rows of a family from one number to before another.
    pub(crate) fn seqs(&self, family: Family, from: u64, before: u64) -> KeyRange {
        KeyRange::between(&self.seq_key(family, from), &self.seq_key(family, before))
    }

    /// The part of a key behind the account.
    pub(crate) fn rest<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.get(HEAD_BYTES + self.account.as_str().len() + 1..).unwrap_or_default()
    }

    /// What is wrong with a row.
    pub(crate) fn damaged(&self, family: Family, reason: impl ToString) -> ReadError {
        ReadError::Row { row: family.name(), account: self.account.to_string(), reason: reason.to_string() }
    }

    /// A value that is JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, family: Family, value: &[u8]) -> Result<T, ReadError> {
        serde_json::from_slice(value).map_err(|error| self.damaged(family, error))
    }

    /// A value or a rest that is a number.
    pub(crate) fn number(&self, family: Family, bytes: &[u8]) -> Result<u64, ReadError> {
        let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| self.damaged(family, "a number has 8 bytes"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// A value or a rest that is an id.
    pub(crate) fn id<Of>(&self, family: Family, bytes: &[u8]) -> Result<Id<Of>, ReadError> {
        let text = std::str::from_utf8(bytes).map_err(|error| self.damaged(family, error))?;
        Id::parse(text).map_err(|error| self.damaged(family, error))
    }

    /// One JSON row.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        store: &dyn StateStore,
        family: Family,
        rest: &str,
    ) -> Result<Option<T>, ReadError> {
        let value = store.get(&self.key(family, rest.as_bytes()))?;
        value.map(|value| self.json(family, &value)).transpose()
    }

    /// All JSON rows of a family, each with its id; at most `limit`.
    pub(crate) fn read_all<Of, T: DeserializeOwned>(
        &self,
        store: &dyn StateStore,
        family: Family,
        limit: usize,
    ) -> Result<Vec<(Id<Of>, T)>, ReadError> {
        let rows = store.scan(&self.all(family), Direction::Forward, limit)?;
        let row = |(key, value): (Bytes, Bytes)| Ok((self.id(family, self.rest(&key))?, self.json(family, &value)?));
        rows.into_iter().map(row).collect()
    }
}

/// The key of a family that has one row in a shard.
pub(crate) fn shard_key(shard: ShardId, family: Family) -> [u8; HEAD_BYTES] {
    let [high, low] = shard_prefix(shard);
    [high, low, family.byte()]
}

/// The key of a row of a whole shard.
pub(crate) fn shard_row_key(shard: ShardId, family: Family, rest: &[u8]) -> Vec<u8> {
    [shard_key(shard, family).as_slice(), rest].concat()
}

/// The part of the key of such a row behind shard and family, when that is a log index.
pub(crate) fn index_of(key: &[u8]) -> Option<LogIndex> {
    let rest = <[u8; 8]>::try_from(key.get(HEAD_BYTES..)?).ok()?;
    Some(LogIndex(u64::from_be_bytes(rest)))
}

/// What is wrong with a row of a whole shard.
pub(crate) fn damaged_row(shard: ShardId, family: Family, reason: impl ToString) -> ReadError {
    ReadError::ShardRow { row: family.name(), shard, reason: reason.to_string() }
}

/// All rows of a family in a shard.
pub(crate) fn family_range(shard: ShardId, family: Family) -> KeyRange {
    KeyRange::prefix(&shard_key(shard, family))
}

/// Rows of a family in a shard after those of an account.
pub(crate) fn family_after(shard: ShardId, family: Family, account: &AccountId) -> KeyRange {
    let mut start = Place { shard, account }.key(family, &[]);
    start.pop();
    start.push(SEPARATOR + 1); // Behind everything that starts with the account and the separator.
    KeyRange::between(&start, family_range(shard, family).end())
}

/// Rows of a family in a shard behind one key.
pub(crate) fn family_behind(shard: ShardId, family: Family, key: &[u8]) -> KeyRange {
    let start = [key, &[0]].concat();
    KeyRange::between(&start, family_range(shard, family).end())
}

/// The account a key belongs to.
pub(crate) fn account_of(key: &[u8]) -> Option<AccountId> {
    let behind = key.get(HEAD_BYTES..)?;
    let end = behind.iter().position(|byte| *byte == SEPARATOR)?;
    AccountId::parse(std::str::from_utf8(&behind[..end]).ok()?).ok()
}

/// A long name is remembered by its hash: keys have a limit, platforms' ids have none.
const NAME_BYTES_MAX: usize = 256;

fn bounded(name: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if name.len() <= NAME_BYTES_MAX { name.into() } else { blake3::hash(name).as_bytes().to_vec().into() }
}

/// How long deliveries and answers are remembered.
pub(crate) const REMEMBERED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// That something was done before, and which event did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) at: Timestamp,
    pub(crate) seq: u64,
}

impl Remembered {
    pub(super) const BYTES: usize = 16;

    pub(crate) fn encode(self) -> Vec<u8> {
        [self.at.0.to_be_bytes(), self.seq.to_be_bytes()].concat()
    }

    /// From the first bytes of a value.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (at, rest) = value.split_first_chunk()?;
        let (seq, _) = rest.split_first_chunk()?;
        Some(Self { at: Timestamp(u64::from_be_bytes(*at)), seq: u64::from_be_bytes(*seq) })
    }
}

/// The value of an answer row.
pub(crate) fn encode_answer(at: Timestamp, asked: &Idempotency, answer: &Answer) -> Vec<u8> {
    let mut value = Remembered { at, seq: answer.seq }.encode();
    value.extend_from_slice(&asked.fingerprint.to_be_bytes());
    value.extend_from_slice(answer.id.as_bytes());
    value
}

/// An answer row's value; when it was given, what was asked and what was answered.
pub(crate) fn decode_answer(key: &str, value: &[u8]) -> Option<(Timestamp, Idempotency, Answer)> {
    let remembered = Remembered::decode(value)?;
    let (fingerprint, id) = value.get(Remembered::BYTES..)?.split_first_chunk()?;
    let id = std::str::from_utf8(id).ok()?.to_owned();
    let asked = Idempotency { key: key.to_owned(), fingerprint: u64::from_be_bytes(*fingerprint) };
    Some((remembered.at, asked, Answer { id, seq: remembered.seq, repeated: false }))
}

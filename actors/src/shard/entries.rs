//! A shard by its log: what its entries brought, across accounts. The feed of whole shards reads pages of it, the sweep
//! drops what points at nothing any more.
//!
//! Each entry that brings events has one row with whose events these are; the events themselves are on the accounts'
//! feeds. `docs/decisions/0009-a-shard-is-read-by-its-log.md` tells why.
//!
//! # Invariants
//! - **N1 whole entries**: a page ends where an entry ends, so one log index says where a reader stands.
//! - **N2 all or named**: every event behind the reader's place is on a page, or its account is named as one that forgot.
//! - **N3 one state**: a page was read while nothing of the shard was forgotten or replaced, or it is read again.

use bytes::Bytes;
use parking_lot::Mutex;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::store::{Direction, KeyRange, StateStore, StoreError};

use super::lost::Lost;
use super::projection::Projection;
use super::rows::{Family, Place, damaged_row, family_range, index_of, shard_row_key};
use super::tips::Tips;
use super::wake::first_seq;
use super::{FeedEntry, ReadError, Reads};
use crate::codec::{Run, Runs, decode_feed_row};
use crate::domain::ids::AccountId;

/// Entries of one page.
const ENTRIES_MAX: usize = 256;
/// Events after which a page takes in no further entry.
const EVENTS_MAX: usize = 256;
/// Bytes of feed rows after which a page takes in no further entry.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// How often a page is read again because something was forgotten meanwhile.
const READS_MAX: usize = 8;
/// Rows looked at in one step of the sweep, and dropped in one write.
pub(crate) const STEP_ENTRIES_MAX: usize = 256;

/// Where a reader of a shard stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Everything up to this entry was read.
    pub(crate) after: LogIndex,
    /// Everything forgotten up to this entry was named.
    pub(crate) named: LogIndex,
}

/// What one entry after the other brought.
#[derive(Debug)]
pub(crate) struct EntriesRead {
    /// Accounts that forgot events behind the reader's place, each with the number of the newest one forgotten.
    pub(crate) lost: Vec<(AccountId, u64)>,
    pub(crate) events: Vec<(AccountId, FeedEntry)>,
    pub(crate) then: Standing,
}

impl Reads {
    /// The next page of a shard; none while its state is not to be relied on, as when it is being replaced.
    pub(crate) fn entries(
        &self,
        tips: &Tips,
        shard: ShardId,
        from: Standing,
    ) -> Result<Option<EntriesRead>, ReadError> {
        for _ in 0..READS_MAX {
            let Some(state) = tips.state(shard) else { return Ok(None) };
            // Before the rows: they may then go further, never less far.
            let tip = tips.of(shard);
            let forgotten = Lost::of_shard(self.store(), shard)?;
            let read = match self.read_entries(shard, from, tip, forgotten) {
                Err(ReadError::Store(StoreError::Incomplete { .. })) => return Ok(None),
                read => read,
            };
            if tips.state(shard) != Some(state) {
                return Ok(None); // Whatever was read, or could not be.
            }
            let read = read?;
            if Lost::of_shard(self.store(), shard)? == forgotten {
                return Ok(Some(read));
            }
        }
        Ok(None)
    }

    /// Reads up to `tip`, the last entry whose rows are known to be whole: the applied index, a single row, shows before
    /// the other rows of its batch do.
    fn read_entries(
        &self,
        shard: ShardId,
        from: Standing,
        tip: LogIndex,
        forgotten: Lost,
    ) -> Result<EntriesRead, ReadError> {
        let Standing { after, named } = from;
        self.applied(shard)?; // Refused while the state is not whole.
        let is_news = forgotten.newest > after && forgotten.at > named;
        let lost = if is_news { Lost::behind(self.store(), shard, after, named)? } else { vec![] };
        let rows = self.store().scan(&behind(shard, after), Direction::Forward, ENTRIES_MAX)?;
        let is_all = rows.len() < ENTRIES_MAX;
        let (mut events, mut bytes, mut through) = (vec![], 0, after);
        let mut rows = rows.into_iter();
        while events.len() < EVENTS_MAX
            && bytes < PAGE_BYTES_MAX
            && let Some((key, value)) = rows.next()
        {
            through = index_of(&key).ok_or_else(|| damaged_row(shard, Family::Entry, "its key has no log index"))?;
            for run in runs(shard, value)? {
                bytes += self.read_run(shard, run, &mut events)?;
            }
        }
        if is_all && rows.len() == 0 {
            through = through.max(tip);
        }
        Ok(EntriesRead { lost, events, then: Standing { after: through, named: named.max(forgotten.at) } })
    }

    /// Adds those events of a run that are kept; says how many bytes they have.
    fn read_run(&self, shard: ShardId, run: Run, events: &mut Vec<(AccountId, FeedEntry)>) -> Result<usize, ReadError> {
        let place = Place { shard, account: &run.account };
        let damaged = |error| place.damaged(Family::Feed, error);
        let mut bytes = 0;
        let range = place.seqs(Family::Feed, run.first_seq, run.first_seq + run.count);
        for (key, value) in self.store().scan(&range, Direction::Forward, usize::MAX)? {
            bytes += value.len();
            let seq = place.number(Family::Feed, place.rest(&key))?;
            events.push((run.account.clone(), decode_feed_row(seq, value).map_err(damaged)?));
        }
        Ok(bytes)
    }
}

/// Rows of entries that point at nothing any more, until the applier, the store's only writer, drops them. Every replica
/// drops its own: what they say is said by the feeds.
#[derive(Default)]
pub(crate) struct Bygone {
    keys: Mutex<Vec<Vec<u8>>>,
}

impl Bygone {
    /// Looks at the next rows of a shard after `place`, and says how many there were: fewer than [`STEP_ENTRIES_MAX`] at
    /// the end. Only rows as old as what was forgotten can point at nothing. Does nothing while the last ones wait.
    pub(crate) fn look(
        &self,
        store: &dyn StateStore,
        shard: ShardId,
        place: &mut LogIndex,
    ) -> Result<usize, ReadError> {
        let mut keys = self.keys.lock();
        if keys.len() >= STEP_ENTRIES_MAX {
            return Ok(STEP_ENTRIES_MAX);
        }
        let newest = Lost::of_shard(store, shard)?.newest;
        let until = shard_row_key(shard, Family::Entry, &newest.0.saturating_add(1).to_be_bytes());
        let range = KeyRange::between(behind(shard, *place).start(), &until);
        let rows = store.scan(&range, Direction::Forward, STEP_ENTRIES_MAX)?;
        let looked = rows.len();
        for (key, value) in rows {
            *place = index_of(&key).ok_or_else(|| damaged_row(shard, Family::Entry, "its key has no log index"))?;
            if points_at_nothing(store, shard, value)? {
                keys.push(key.to_vec());
            }
        }
        Ok(looked)
    }

    /// Drops what was found.
    pub(crate) fn forget_into(&self, projection: &mut Projection<'_>) {
        std::mem::take(&mut *self.keys.lock()).into_iter().for_each(|key| projection.forget(key));
    }
}

fn points_at_nothing(store: &dyn StateStore, shard: ShardId, row: Bytes) -> Result<bool, ReadError> {
    for run in runs(shard, row)? {
        if run.first_seq + run.count > first_seq(store, Place { shard, account: &run.account })? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn runs(shard: ShardId, row: Bytes) -> Result<Vec<Run>, ReadError> {
    Runs::decode(row).map_err(|error| damaged_row(shard, Family::Entry, error))
}

/// The rows of the entries after one.
fn behind(shard: ShardId, after: LogIndex) -> KeyRange {
    let start = shard_row_key(shard, Family::Entry, &after.0.saturating_add(1).to_be_bytes());
    KeyRange::between(&start, family_range(shard, Family::Entry).end())
}

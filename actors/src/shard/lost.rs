//! How much of a shard's feeds was forgotten, in terms of its log. The projection notes it, whoever reads a whole shard
//! by its log compares: what was forgotten behind its place is lost for it and named, account by account.

use bytes::Bytes;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::store::{Direction, KeyRange, StateStore};

use super::ReadError;
use super::rows::{Family, Place, account_of, damaged_row, family_behind, family_range, shard_row_key};
use crate::domain::ids::AccountId;

/// Rows read from the store at a time.
const PAGE_ROWS: usize = 512;

/// The newest of the events forgotten, of one account or of any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The entry that brought it.
    pub(crate) newest: LogIndex,
    /// The entry that forgot something last.
    pub(crate) at: LogIndex,
}

impl Lost {
    /// What any account of a shard forgot. Everything here is scanned: a single get
    /// already sees what is being written, a scan only what is whole.
    pub(crate) fn of_shard(store: &dyn StateStore, shard: ShardId) -> Result<Self, ReadError> {
        let key = shard_row_key(shard, Family::Lost, &[]);
        let range = KeyRange::between(&key, &[&key[..], &[0]].concat());
        let rows = store.scan(&range, Direction::Forward, 1)?;
        let Some((_, value)) = rows.first() else { return Ok(Self::default()) };
        Self::decode(value).ok_or_else(|| damaged_row(shard, Family::Lost, "it has 16 bytes"))
    }

    /// The accounts of a shard that forgot something brought after `place`, in an entry after `since`, each with the
    /// number of the newest event forgotten.
    pub(crate) fn behind(
        store: &dyn StateStore,
        shard: ShardId,
        place: LogIndex,
        since: LogIndex,
    ) -> Result<Vec<(AccountId, u64)>, ReadError> {
        let mut found = vec![];
        let mut range = family_range(shard, Family::Lost);
        loop {
            let rows = store.scan(&range, Direction::Forward, PAGE_ROWS)?;
            for (key, value) in &rows {
                let Some(account) = account_of(key) else { continue };
                let lost = Self::decode(value).ok_or_else(|| damaged_row(shard, Family::Lost, "it has 16 bytes"))?;
                if lost.newest > place && lost.at > since {
                    let place = Place { shard, account: &account };
                    let floors = store.scan(&place.all(Family::Floor), Direction::Forward, 1)?;
                    let Some((_, floor)) = floors.first() else { continue };
                    let first = place.number(Family::Floor, floor)?;
                    found.push((account, first.saturating_sub(1)));
                }
            }
            match rows.last() {
                Some((key, _)) if rows.len() == PAGE_ROWS => range = family_behind(shard, Family::Lost, key),
                Some(_) | None => return Ok(found),
            }
        }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        [self.newest.0.to_be_bytes(), self.at.0.to_be_bytes()].concat()
    }

    fn decode(value: &Bytes) -> Option<Self> {
        let (newest, rest) = value.split_first_chunk()?;
        let at = <[u8; 8]>::try_from(rest).ok()?;
        Some(Self { newest: LogIndex(u64::from_be_bytes(*newest)), at: LogIndex(u64::from_be_bytes(at)) })
    }
}

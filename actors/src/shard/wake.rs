//! An account from its rows: what the actor starts from, and what the gateway shows.

use bytes::Bytes;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::LogIndex;
use steward_cluster::store::{Direction, StateStore};

use super::rows::{Family, Head, Place};
use super::{ReadError, endpoint_rows};
use crate::codec::{index_of_feed_row, time_of_feed_row};
use crate::domain::account::Account;
use crate::domain::account::limits::{ENDPOINTS_MAX, KEYS_MAX, PLAYBOOKS_MAX, SCHEDULES_MAX, SOURCES_MAX};
use crate::domain::budget::Purse;
use crate::domain::ids::{JobId, of};
use crate::domain::job::Job;
use crate::domain::task::OPEN_JOBS_MAX_MAX;

/// The account as its applied events leave it, and the time of the newest one.
pub(crate) fn wake(store: &dyn StateStore, place: Place<'_>) -> Result<(Account, Timestamp), ReadError> {
    let (mut account, last_at) = outline(store, place)?;
    if account.created_at.is_none() {
        return Ok((account, last_at)); // Nothing happens to an account before it is created.
    }
    account.keys = place.read_all::<of::Key, _>(store, Family::Key, KEYS_MAX)?.into_iter().collect();
    account.sources = place.read_all::<of::Source, _>(store, Family::Source, SOURCES_MAX)?.into_iter().collect();
    account.endpoints =
        place.read_all::<of::Endpoint, _>(store, Family::Endpoint, ENDPOINTS_MAX)?.into_iter().collect();
    for (endpoint, state) in &mut account.endpoints {
        state.pending = endpoint_rows::pending(store, place, endpoint)?.into_iter().collect();
    }
    account.playbooks =
        place.read_all::<of::Playbook, _>(store, Family::Playbook, PLAYBOOKS_MAX)?.into_iter().collect();
    account.jobs = open_jobs(store, place)?.into_iter().collect();
    account.schedules =
        place.read_all::<of::Schedule, _>(store, Family::Schedule, SCHEDULES_MAX)?.into_iter().collect();
    account.task_limits = place.read(store, Family::TaskLimits, "")?.unwrap_or_default();
    account.purse = purse(store, place)?;
    Ok((account, last_at))
}

/// Its budgets and what is spent of them.
pub(crate) fn purse(store: &dyn StateStore, place: Place<'_>) -> Result<Purse, ReadError> {
    let budgets = place.read(store, Family::Budgets, "")?.unwrap_or_default();
    Ok(Purse { budgets, ledger: place.read(store, Family::Ledger, "")?.unwrap_or_default() })
}

/// The same without anything it owns.
pub(crate) fn outline(store: &dyn StateStore, place: Place<'_>) -> Result<(Account, Timestamp), ReadError> {
    let mut account = Account::absent(place.account.clone());
    let Some(head) = place.read::<Head>(store, Family::Account, "")? else { return Ok((account, Timestamp(0))) };
    account.created_at = Some(head.created_at);
    account.display_name = head.display_name;
    account.wrapped_key = head.wrapped_key;
    let mut last_at = Timestamp(0);
    if let Some((seq, value)) = newest(store, place)? {
        account.last_seq = seq;
        last_at = time_of_feed_row(value).map_err(|error| place.damaged(Family::Feed, error))?;
    }
    account.first_seq = first_seq(store, place)?;
    Ok((account, last_at))
}

/// Number of the oldest event kept.
pub(crate) fn first_seq(store: &dyn StateStore, place: Place<'_>) -> Result<u64, ReadError> {
    let value = store.get(&place.key(Family::Floor, &[]))?;
    value.map_or(Ok(1), |value| place.number(Family::Floor, &value))
}

/// The newest row of the feed.
pub(crate) fn newest(store: &dyn StateStore, place: Place<'_>) -> Result<Option<(u64, Bytes)>, ReadError> {
    let rows = store.scan(&place.all(Family::Feed), Direction::Backward, 1)?;
    let row = |(key, value): (Bytes, Bytes)| Ok((place.number(Family::Feed, place.rest(&key))?, value));
    rows.into_iter().next().map(row).transpose()
}

/// When an event happened; none when it is not kept.
pub(crate) fn time_of(store: &dyn StateStore, place: Place<'_>, seq: u64) -> Result<Option<Timestamp>, ReadError> {
    let row = store.get(&place.seq_key(Family::Feed, seq))?;
    row.map(time_of_feed_row).transpose().map_err(|error| place.damaged(Family::Feed, error))
}

/// The entry that brought an event; none when the event is not kept.
pub(crate) fn index_of_event(
    store: &dyn StateStore,
    place: Place<'_>,
    seq: u64,
) -> Result<Option<LogIndex>, ReadError> {
    let row = store.get(&place.seq_key(Family::Feed, seq))?;
    row.map(index_of_feed_row).transpose().map_err(|error| place.damaged(Family::Feed, error))
}

fn open_jobs(store: &dyn StateStore, place: Place<'_>) -> Result<Vec<(JobId, Job)>, ReadError> {
    let open_max = usize::try_from(OPEN_JOBS_MAX_MAX).unwrap_or(usize::MAX); // The limit may have been higher once.
    let rows = store.scan(&place.all(Family::OpenJob), Direction::Forward, open_max)?;
    let open = |(key, _): (Bytes, Bytes)| {
        let job: JobId = place.id(Family::OpenJob, place.rest(&key))?;
        let state = place.read::<Job>(store, Family::Job, job.as_str())?;
        let state = state.ok_or_else(|| place.damaged(Family::Job, format!("open job {job} has no row")))?;
        Ok((job, state))
    };
    rows.into_iter().map(open).collect()
}

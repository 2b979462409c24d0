//! The rows of an endpoint beside its own: what is pending, what was given up, and which attempts were made.

use bytes::Bytes;
use steward_cluster::clock::Timestamp;
use steward_cluster::store::{Direction, StateStore};

use super::ReadError;
use super::rows::{Family, Place};
use crate::domain::account::Pending;
use crate::domain::ids::EndpointId;

/// The families of rows that go with an endpoint.
pub(super) const FAMILIES: [Family; 3] = [Family::Pending, Family::Dead, Family::Attempt];

pub(super) fn encode_pending(pending: Pending) -> Vec<u8> {
    [&pending.failed_attempts.to_be_bytes()[..], &pending.retry_at.0.to_be_bytes()].concat()
}

/// All that is pending at an endpoint: as a rule [`PENDING_MAX`](crate::domain::account::limits::PENDING_MAX) at most, and
/// what a sender had read ahead when others were requeued.
pub(crate) fn pending(
    store: &dyn StateStore,
    place: Place<'_>,
    endpoint: &EndpointId,
) -> Result<Vec<(u64, Pending)>, ReadError> {
    let rows = store.scan(&place.owned_seqs(Family::Pending, endpoint, 0, u64::MAX), Direction::Forward, usize::MAX)?;
    let row = |(key, value): (Bytes, Bytes)| Ok((place.last_number(Family::Pending, &key)?, decode(place, &value)?));
    rows.into_iter().map(row).collect()
}

/// One event pending at an endpoint.
pub(crate) fn one_pending(
    store: &dyn StateStore,
    place: Place<'_>,
    endpoint: &EndpointId,
    seq: u64,
) -> Result<Option<Pending>, ReadError> {
    let value = store.get(&place.owned_key(Family::Pending, endpoint, seq))?;
    value.map(|value| decode(place, &value)).transpose()
}

fn decode(place: Place<'_>, value: &[u8]) -> Result<Pending, ReadError> {
    let cut = || place.damaged(Family::Pending, "it has 12 bytes");
    let (attempts, due) = value.split_first_chunk::<4>().ok_or_else(cut)?;
    let due = <[u8; 8]>::try_from(due).map_err(|_| cut())?;
    Ok(Pending { failed_attempts: u32::from_be_bytes(*attempts), retry_at: Timestamp(u64::from_be_bytes(due)) })
}

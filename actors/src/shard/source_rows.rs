//! The rows of a source beside its own: the requests it refused, and those too large for the feed.

use bytes::Bytes;
use steward_cluster::clock::Timestamp;
use steward_cluster::store::{Direction, StateStore};

use super::ReadError;
use super::rows::{Family, Place, REMEMBERED_FOR, Remembered};
use crate::domain::account::limits::REFUSED_MAX;
use crate::domain::account::{RefusedFor, RefusedRequest, Source};
use crate::domain::ids::SourceId;

/// A request that a source refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub number: u64,
    pub at: Timestamp,
    pub refused_for: RefusedFor,
    pub sealed_request: Bytes,
}

/// As the sweep reads it: [`Remembered`] first, then the number of the refusal (1 byte) and the sealed request.
pub(super) fn encode(refused: &RefusedRequest) -> Vec<u8> {
    let remembered = Remembered { at: refused.at, seq: refused.number }.encode();
    [&remembered, &[refused.refused_for.number()][..], &refused.sealed_request].concat()
}

fn decode(place: Place<'_>, value: &Bytes) -> Result<Refused, ReadError> {
    let damaged = || place.damaged(Family::Refused, "it is cut short or of no known kind");
    let Remembered { at, seq: number } = Remembered::decode(value).ok_or_else(damaged)?;
    let refused_for = value.get(Remembered::BYTES).copied().and_then(RefusedFor::of_number).ok_or_else(damaged)?;
    let sealed_request = value.slice(Remembered::BYTES + 1..);
    Ok(Refused { number, at, refused_for, sealed_request })
}

/// The requests a source refused, oldest first, from a number on. Those too old to count are left out, whether the sweep has
/// been there or not: their delivery ids are forgotten too.
pub(super) fn refused(
    store: &dyn StateStore,
    place: Place<'_>,
    (id, source): (&SourceId, &Source),
    from: u64,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Refused>, ReadError> {
    let oldest = source.next_refused.saturating_sub(REFUSED_MAX);
    let range = place.owned_seqs(Family::Refused, id, from.max(oldest), u64::MAX);
    // As many as there are places.
    let rows = store.scan(&range, Direction::Forward, usize::MAX)?;
    let refused = rows.iter().map(|(_, value)| decode(place, value));
    let counts = |refused: &Result<Refused, _>| refused.as_ref().map_or(true, |one| now.since(one.at) < REMEMBERED_FOR);
    refused.filter(counts).take(limit).collect()
}

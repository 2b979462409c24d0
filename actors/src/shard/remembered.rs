//! Forgets deliveries, answers and refused requests that are too old to count.
//!
//! The rows mean nothing once they are older than the window, so dropping them is no change of state and needs no entry
//! in the log: the sweep finds them, the applier, the store's only writer, drops them.

use parking_lot::Mutex;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;
use steward_cluster::store::{Direction, StateStore};

use super::ReadError;
use super::node::Node;
use super::projection::Projection;
use super::rows::{self, Family, REMEMBERED_FOR, Remembered, family_behind, family_range};

/// Rows looked at in one step of the sweep, and forgotten in one write.
pub(crate) const STEP_ROWS_MAX: usize = 256;

/// The event that a delivery's row remembers, unless that is too long ago.
pub(crate) fn remembered_seq(
    store: &dyn StateStore,
    place: rows::Place<'_>,
    key: &[u8],
    now: Timestamp,
) -> Result<Option<u64>, ReadError> {
    let Some(value) = store.get(key)? else { return Ok(None) };
    let damaged = || place.damaged(Family::Delivery, "it is cut short");
    let remembered = Remembered::decode(&value).ok_or_else(damaged)?;
    Ok((now.since(remembered.at) < REMEMBERED_FOR).then_some(remembered.seq))
}

/// Rows that wait to be forgotten, and where the sweep stands.
#[derive(Default)]
pub(crate) struct Forgetting {
    old: Mutex<Vec<Vec<u8>>>,
}

/// Where a sweep over one shard's remembered rows stands.
#[derive(Debug, Default)]
pub(crate) struct Place {
    after: Option<Vec<u8>>,
}

impl Forgetting {
    /// Looks at the next rows of a family and says how many there were: fewer than [`STEP_ROWS_MAX`] at its end. Does
    /// nothing while the last ones wait to be forgotten.
    pub(crate) fn look(
        &self,
        store: &dyn StateStore,
        (shard, family): (ShardId, Family),
        place: &mut Place,
        now: Timestamp,
    ) -> Result<usize, ReadError> {
        let mut old = self.old.lock();
        if old.len() >= STEP_ROWS_MAX {
            return Ok(STEP_ROWS_MAX);
        }
        let range =
            place.after.as_ref().map_or_else(|| family_range(shard, family), |key| family_behind(shard, family, key));
        let rows = store.scan(&range, Direction::Forward, STEP_ROWS_MAX)?;
        let looked = rows.len();
        place.after = rows.last().map(|(key, _)| key.to_vec());
        let is_old = |value: &[u8]| Remembered::decode(value).is_some_and(|row| now.since(row.at) >= REMEMBERED_FOR);
        old.extend(rows.into_iter().filter(|(_, value)| is_old(value)).map(|(key, _)| key.to_vec()));
        Ok(looked)
    }

    /// Drops what was found. Looks again, since a row may have been written anew meanwhile.
    pub(crate) fn forget_into(&self, projection: &mut Projection<'_>, node: &Node) -> Result<(), ReadError> {
        let old = std::mem::take(&mut *self.old.lock());
        let now = node.clock.now();
        for key in old {
            let row = node.store.get(&key)?.and_then(|value| Remembered::decode(&value));
            if row.is_some_and(|row| now.since(row.at) >= REMEMBERED_FOR) {
                projection.forget(key);
            }
        }
        Ok(())
    }
}

//! Events and marks of endpoints into rows.

use steward_cluster::store::Direction;

use super::{Moment, Projection};
use crate::domain::account::limits::ENDPOINTS_MAX;
use crate::domain::account::{Account, Endpoint, Event, Mark, Pending};
use crate::domain::ids::{EndpointId, Id};
use crate::shard::ReadError;
use crate::shard::endpoint_rows::{FAMILIES, encode_pending};
use crate::shard::rows::{Family, Place};

impl Projection<'_> {
    pub(super) fn change_endpoint(
        &mut self,
        moment: &Moment<'_>,
        id: &EndpointId,
        event: &Event,
    ) -> Result<(), ReadError> {
        let mut scratch = self.scratch(moment.place, id)?;
        scratch.evolve(moment.seq, moment.at, moment.cause_seq, event);
        self.keep_endpoint(moment.place, id, scratch);
        Ok(())
    }

    pub(super) fn mark_endpoint(
        &mut self,
        place: Place<'_>,
        endpoint: &EndpointId,
        mark: &Mark,
    ) -> Result<(), ReadError> {
        let mut scratch = self.scratch(place, endpoint)?;
        scratch.mark(mark);
        self.keep_endpoint(place, endpoint, scratch);
        Ok(())
    }

    /// An attempt leaves a row to find it by, and what is pending or dead after it.
    pub(super) fn attempted(
        &mut self,
        moment: &Moment<'_>,
        endpoint: &EndpointId,
        seq: u64,
        event: &Event,
    ) -> Result<(), ReadError> {
        let place = moment.place;
        let scratch = self.scratch(place, endpoint)?;
        let found = scratch.endpoints.get(endpoint).map(|endpoint| (endpoint.cursor, endpoint.counts.dead));
        self.keep_endpoint(place, endpoint, scratch);
        let Some((cursor, dead)) = found else { return Ok(()) };
        // No part of the digest: it says nothing that the feed row does not say, and goes when that is gone.
        let found_by = place.owned_key(Family::Attempt, endpoint, moment.seq);
        self.owned.push(found_by.clone());
        self.batch.put(found_by, seq.to_be_bytes().to_vec());
        if seq > cursor {
            return Ok(()); // Deliveries do not overtake each other, and the endpoint's own row says all.
        }
        if let Event::DeliveryFailed { attempt, retry_at: Some(retry_at), .. } = event {
            self.pending(place, endpoint, seq, Pending { failed_attempts: *attempt, retry_at: *retry_at });
            return Ok(());
        }
        self.drop_row(place.owned_key(Family::Pending, endpoint, seq));
        let key = place.owned_key(Family::Dead, endpoint, seq);
        if matches!(event, Event::DeliveryFailed { .. }) {
            self.owned.push(key.clone());
            self.put(key, moment.at.0.to_be_bytes().to_vec());
        } else if dead > 0 {
            self.drop_row(key); // Sent with a window that was recovered.
        }
        Ok(())
    }

    pub(super) fn requeued(&mut self, place: Place<'_>, endpoint: &EndpointId, seqs: &[u64]) {
        for seq in seqs {
            self.drop_row(place.owned_key(Family::Dead, endpoint, *seq));
            self.pending(place, endpoint, *seq, Pending::default());
        }
    }

    pub(super) fn pending(&mut self, place: Place<'_>, endpoint: &EndpointId, seq: u64, pending: Pending) {
        let key = place.owned_key(Family::Pending, endpoint, seq);
        self.owned.push(key.clone());
        self.put(key, encode_pending(pending));
    }

    pub(super) fn drop_row(&mut self, key: Vec<u8>) {
        self.digests.delete(&key);
        self.batch.delete(key);
    }

    /// Removes what tells of attempts before an event, and of older events that were given up.
    pub(super) fn forget_attempts(&mut self, place: Place<'_>, to: u64) -> Result<(), ReadError> {
        for (key, _) in self.store.scan(&place.all(Family::Endpoint), Direction::Forward, ENDPOINTS_MAX)? {
            let endpoint: EndpointId = place.id(Family::Endpoint, place.rest(&key))?;
            for family in [Family::Attempt, Family::Dead] {
                let range = place.owned_seqs(family, &endpoint, 0, to);
                for (key, _) in self.store.scan(&range, Direction::Forward, usize::MAX)? {
                    self.batch.delete(key.to_vec());
                }
            }
        }
        Ok(())
    }

    /// Removes what goes with an endpoint.
    pub(super) fn forget_endpoint(&mut self, place: Place<'_>, endpoint: &EndpointId) -> Result<(), ReadError> {
        FAMILIES.into_iter().try_for_each(|family| self.forget_owned(place, family, endpoint))
    }

    /// Removes numbered rows of an endpoint or a source, of this batch too.
    pub(super) fn forget_owned<Of>(
        &mut self,
        place: Place<'_>,
        family: Family,
        owner: &Id<Of>,
    ) -> Result<(), ReadError> {
        let range = place.owned_seqs(family, owner, 0, u64::MAX);
        for (key, _) in self.store.scan(&range, Direction::Forward, usize::MAX)? {
            self.batch.delete(key.to_vec());
        }
        let prefix = place.owned_prefix(family, owner);
        let own = self.owned.iter().filter(|key| key.starts_with(&prefix));
        own.for_each(|key| self.batch.delete(key.clone()));
        Ok(())
    }

    /// An account that has only this endpoint, if it is there.
    fn scratch(&mut self, place: Place<'_>, id: &EndpointId) -> Result<Account, ReadError> {
        let state = match self.endpoints.remove(&(place.account.clone(), id.clone())) {
            Some((_, state)) => state,
            None => place.read::<Endpoint>(self.store, Family::Endpoint, id.as_str())?,
        };
        let mut scratch = Account::absent(place.account.clone());
        scratch.endpoints.extend(state.map(|state| (id.clone(), state)));
        Ok(scratch)
    }

    fn keep_endpoint(&mut self, place: Place<'_>, id: &EndpointId, mut scratch: Account) {
        let state = scratch.endpoints.remove(id);
        self.digests.put_json(&place.key(Family::Endpoint, id.as_str().as_bytes()), &state);
        self.endpoints.insert((place.account.clone(), id.clone()), (place.shard, state));
    }
}

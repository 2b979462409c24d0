//! Changes of sources, and requests that are kept, into rows.

use steward_cluster::store::Direction;

use super::{Moment, Projection};
use crate::domain::account::limits::{REFUSED_MAX, REQUEST_INLINE_BYTES_MAX};
use crate::domain::account::{Account, Event, KeptRequest, Mark, RefusedRequest, Source, WebhookAccepted};
use crate::domain::ids::SourceId;
use crate::shard::ReadError;
use crate::shard::rows::{Family, Place};
use crate::shard::source_rows;

impl Projection<'_> {
    /// What later events of this batch find; none when the source is gone.
    pub(super) fn keep_source(&mut self, place: Place<'_>, source: &SourceId, state: Option<Source>) {
        self.sources.insert((place.account.clone(), source.clone()), state);
    }

    pub(super) fn change_source(
        &mut self,
        moment: &Moment<'_>,
        source: &SourceId,
        event: &Event,
    ) -> Result<(), ReadError> {
        self.evolve_source(moment.place, source, |scratch| {
            scratch.evolve(moment.seq, moment.at, moment.cause_seq, event);
        })
    }

    /// A refused request comes, and those that are too far behind it go.
    pub(super) fn refused(&mut self, place: Place<'_>, refused: &RefusedRequest, mark: &Mark) -> Result<(), ReadError> {
        let RefusedRequest { source, number, places, .. } = refused;
        let next = number + u64::from(*places);
        for old in number.saturating_sub(REFUSED_MAX)..next.saturating_sub(REFUSED_MAX) {
            self.drop_row(place.owned_key(Family::Refused, source, old));
        }
        let key = place.owned_key(Family::Refused, source, *number);
        self.owned.push(key.clone());
        self.put(key, source_rows::encode(refused));
        self.evolve_source(place, source, |scratch| scratch.mark(mark))
    }

    pub(super) fn forget_refused(&mut self, place: Place<'_>, source: &SourceId, numbers: &[u64]) {
        for number in numbers {
            self.drop_row(place.owned_key(Family::Refused, source, *number));
        }
    }

    /// Removes what goes with a source.
    pub(super) fn forget_source(&mut self, place: Place<'_>, source: &SourceId) -> Result<(), ReadError> {
        self.forget_owned(place, Family::Refused, source)
    }

    /// Puts a request that is too large for the feed beside it, and gives the event as it then stands there.
    pub(super) fn beside(&mut self, place: Place<'_>, seq: u64, event: &Event) -> Option<Event> {
        let Event::WebhookAccepted(webhook) = event else { return None };
        let KeptRequest::Here(sealed) = &webhook.kept else { return None };
        if sealed.len() <= REQUEST_INLINE_BYTES_MAX {
            return None;
        }
        let key = place.seq_key(Family::Request, seq);
        self.owned.push(key.clone());
        self.put(key, sealed.to_vec());
        Some(Event::WebhookAccepted(WebhookAccepted { kept: KeptRequest::Beside, ..webhook.clone() }))
    }

    /// Removes the requests beside events from one to before another, of this batch too. No part of the digest: the feed's beginning says it.
    pub(super) fn forget_requests(&mut self, place: Place<'_>, from: u64, to: u64) -> Result<(), ReadError> {
        for (key, _) in self.store.scan(&place.seqs(Family::Request, from, to), Direction::Forward, usize::MAX)? {
            self.batch.delete(key.to_vec());
        }
        let (first, end) = (place.seq_key(Family::Request, from), place.seq_key(Family::Request, to));
        let own = self.owned.iter().filter(|key| (&first..&end).contains(key));
        own.for_each(|key| self.batch.delete(key.clone()));
        Ok(())
    }

    fn evolve_source(
        &mut self,
        place: Place<'_>,
        source: &SourceId,
        evolve: impl FnOnce(&mut Account),
    ) -> Result<(), ReadError> {
        let in_hand = self.sources.get(&(place.account.clone(), source.clone()));
        let state = match in_hand {
            Some(state) => state.clone(),
            None => place.read::<Source>(self.store, Family::Source, source.as_str())?,
        };
        let Some(state) = state else { return Ok(()) };
        let mut scratch = Account::absent(place.account.clone());
        scratch.sources.insert(source.clone(), state);
        evolve(&mut scratch);
        if let Some(state) = scratch.sources.remove(source) {
            self.put_json(place, Family::Source, source.as_str(), &state);
            self.keep_source(place, source, Some(state));
        }
        Ok(())
    }
}

//! Changes of sources into rows.

use super::{Moment, Projection};
use crate::domain::account::{Account, Event, Source};
use crate::domain::ids::SourceId;
use crate::shard::ReadError;
use crate::shard::rows::{Family, Place};

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
        let place = moment.place;
        let in_hand = self.sources.get(&(place.account.clone(), source.clone()));
        let state = match in_hand {
            Some(state) => state.clone(),
            None => place.read::<Source>(self.store, Family::Source, source.as_str())?,
        };
        let Some(state) = state else { return Ok(()) };
        let mut scratch = Account::absent(place.account.clone());
        scratch.sources.insert(source.clone(), state);
        scratch.evolve(moment.seq, moment.at, moment.cause_seq, event);
        if let Some(state) = scratch.sources.remove(source) {
            self.put_json(place, Family::Source, source.as_str(), &state);
            self.keep_source(place, source, Some(state));
        }
        Ok(())
    }
}

//! Changes of schedules into rows.

use super::{Moment, Projection};
use crate::domain::ids::ScheduleId;
use crate::domain::schedule::{Schedule, ScheduleChange};
use crate::shard::ReadError;
use crate::shard::rows::Family;

impl Projection<'_> {
    pub(super) fn change_schedule(
        &mut self,
        moment: &Moment<'_>,
        schedule: &ScheduleId,
        change: &ScheduleChange,
    ) -> Result<(), ReadError> {
        let place = moment.place;
        let name = (place.account.clone(), schedule.clone());
        let before = match self.schedules.remove(&name) {
            Some(in_hand) => in_hand,
            None => place.read::<Schedule>(self.store, Family::Schedule, schedule.as_str())?,
        };
        let was_there = before.is_some();
        let after = Schedule::changed(before, moment.at, change);
        match &after {
            Some(state) => self.put_json(place, Family::Schedule, schedule.as_str(), state),
            None if was_there => self.delete(place, Family::Schedule, schedule.as_str()),
            None => {}
        }
        self.schedules.insert(name, after);
        Ok(())
    }
}

//! Schedules: what clients ask of them, and the ticks that are due.

use std::time::Duration;

use steward_cluster::clock::Timestamp;

use super::job::check_input;
use super::{Decided, Decision, Rejection, check_room, job_id};
use crate::domain::account::event::Event;
use crate::domain::account::limits::{
    CATCH_UP_TICKS_MAX, JOB_AHEAD_MS_MAX, SCHEDULES_MAX, SMOOTHING_MS_MAX, TICK_LATE_MS_MAX, TICKS_AT_ONCE_MAX,
};
use crate::domain::account::state::Account;
use crate::domain::ids::{JobId, ScheduleId};
use crate::domain::job::JobOptions;
use crate::domain::schedule::{
    Missed, Overlap, Planned, Rhythm, Schedule, ScheduleChange, ScheduleSettings, SkipReason, Skipped, Taken, Ticked,
    due_ticks,
};

/// When a tick is looked at again whose schedule this release cannot read.
const UNREADABLE_WAIT: Duration = Duration::from_secs(60 * 60);

pub(super) fn create(account: &Account, id: ScheduleId, settings: ScheduleSettings, now: Timestamp) -> Decision {
    if account.schedules.contains_key(&id) {
        return Err(Rejection::AlreadyExists { what: "schedule", id: id.to_string() });
    }
    check_room(account.schedules.len(), SCHEDULES_MAX, "schedules")?;
    let (settings, rhythm) = check(settings)?;
    let next = Some(first(account, &id, &settings, &rhythm, now)?);
    Ok(changed(id, ScheduleChange::Created { settings, next }))
}

/// While its ticks stay what they are, one that is not decided yet is not lost.
pub(super) fn update(account: &Account, id: ScheduleId, settings: ScheduleSettings, now: Timestamp) -> Decision {
    let found = find(account, &id)?;
    let (settings, rhythm) = check(settings)?;
    let of = |settings: &ScheduleSettings| (settings.expression.clone(), settings.time_zone.clone());
    let next = match found.next {
        Some(next) if of(&settings) == of(&found.settings) => planned(account, &id, &settings, next.tick),
        Some(_) | None => first(account, &id, &settings, &rhythm, now)?,
    };
    Ok(changed(id, ScheduleChange::Updated { settings, next: Some(next) }))
}

pub(super) fn pause(account: &Account, id: ScheduleId) -> Decision {
    if find(account, &id)?.is_paused {
        return Ok(Decided::done_before(id.as_str(), account.last_seq));
    }
    Ok(changed(id, ScheduleChange::Paused))
}

/// The tick it stood at is due at once when it has passed: those of the pause were missed.
pub(super) fn resume(account: &Account, id: ScheduleId) -> Decision {
    let found = find(account, &id)?;
    if !found.is_paused {
        return Ok(Decided::done_before(id.as_str(), account.last_seq));
    }
    let next = found.next;
    Ok(changed(id, ScheduleChange::Resumed { next }))
}

pub(super) fn delete(account: &Account, id: ScheduleId) -> Decision {
    find(account, &id)?;
    Ok(changed(id, ScheduleChange::Deleted))
}

/// Decides the ticks that are due, once: whoever asks for another tick than the next one is late.
pub(super) fn fire(account: &Account, id: ScheduleId, tick: Timestamp, now: Timestamp) -> Decision {
    let waiting = account.schedules.get(&id).filter(|schedule| !schedule.is_paused);
    let Some(schedule) = waiting else { return Ok(Decided::default()) };
    let Some(next) = schedule.next.filter(|next| next.tick == tick) else { return Ok(Decided::default()) };
    // That it was asked for says that it is due: the timer may know better than a wall clock that was set back.
    let now = now.max(next.due);
    let mut firing = Firing { account, id: &id, schedule, now, ticked: Ticked::default(), jobs: vec![] };
    let settings = &schedule.settings;
    match Rhythm::parse(&settings.expression, &settings.time_zone) {
        Ok(rhythm) => firing.decide(&rhythm, next),
        Err(_) => {
            // A node of another release may know the zone: the tick stays undecided, and is looked at again.
            firing.skip(SkipReason::Unreadable, (0, tick, tick));
            firing.ticked.next = Some(Planned { tick, due: now.plus(UNREADABLE_WAIT) });
        }
    }
    let Firing { ticked, jobs, .. } = firing;
    let mut decided = changed(id, ScheduleChange::Ticked(ticked));
    decided.events.extend(jobs);
    Ok(decided)
}

/// The ticks of one decision.
struct Firing<'a> {
    account: &'a Account,
    id: &'a ScheduleId,
    schedule: &'a Schedule,
    now: Timestamp,
    ticked: Ticked,
    jobs: Vec<Event>,
}

impl Firing<'_> {
    fn decide(&mut self, rhythm: &Rhythm, next: Planned) {
        let settings = &self.schedule.settings;
        let offset_ms = settings.offset_ms(&self.account.id, self.id);
        // After an update of the window the next one may stand at another place in it.
        let through = Timestamp(self.now.0.saturating_sub(offset_ms)).max(next.tick);
        let wanted = match settings.missed {
            Missed::All => CATCH_UP_TICKS_MAX,
            Missed::Latest | Missed::None => 1,
        };
        let due = due_ticks(rhythm, next.tick, through, wanted);
        if let Some(before) = due.before {
            self.skip(SkipReason::Missed, before);
        }
        let (now, later) = due.newest.split_at(due.newest.len().min(TICKS_AT_ONCE_MAX));
        for tick in now {
            let is_missed = through.0.saturating_sub(tick.0) > TICK_LATE_MS_MAX;
            if is_missed && settings.missed == Missed::None {
                self.skip(SkipReason::Missed, (1, *tick, *tick));
            } else if settings.overlap == Overlap::Skip && self.overlaps() {
                self.skip(SkipReason::Overlap, (1, *tick, *tick));
            } else if self.account.jobs.len() + self.jobs.len() >= self.account.task_limits.open_jobs() {
                self.skip(SkipReason::OpenJobs, (1, *tick, *tick));
            } else {
                self.take(*tick);
            }
        }
        let following = later.first().copied().or_else(|| rhythm.next_after(*now.last().unwrap_or(&next.tick)));
        self.ticked.next = following.map(|tick| planned(self.account, self.id, settings, tick));
    }

    /// Whether the job of the tick before is open.
    fn overlaps(&self) -> bool {
        let is_open = |job: &JobId| self.account.jobs.contains_key(job);
        !self.jobs.is_empty() || self.schedule.last_job.as_ref().is_some_and(is_open)
    }

    fn take(&mut self, tick: Timestamp) {
        let settings = &self.schedule.settings;
        // Behind the event about the ticks, which is its cause.
        let place = u64::try_from(self.jobs.len()).expect("jobs of a decision are few");
        let job = job_id(settings.job, self.account.last_seq + 2 + place);
        let deadline_at = (settings.within_ms > 0).then(|| Timestamp(self.now.0.saturating_add(settings.within_ms)));
        let options = JobOptions { priority: settings.priority, start_at: None, deadline_at };
        let (kind, input) = (settings.job, settings.input.clone());
        self.jobs.push(Event::JobRequested { job: job.clone(), kind, input, playbook: None, options });
        self.ticked.taken.push(Taken { tick, job });
    }

    /// Neighbours with the same reason are told as one.
    fn skip(&mut self, reason: SkipReason, (count, first, last): (u64, Timestamp, Timestamp)) {
        match self.ticked.skipped.iter_mut().find(|skipped| skipped.reason == reason) {
            Some(skipped) => (skipped.count, skipped.last) = (skipped.count + count, last),
            None => self.ticked.skipped.push(Skipped { reason, count, first, last }),
        }
    }
}

fn find<'a>(account: &'a Account, id: &ScheduleId) -> Result<&'a Schedule, Rejection> {
    account.schedules.get(id).ok_or_else(|| Rejection::NotFound { what: "schedule", id: id.to_string() })
}

fn changed(schedule: ScheduleId, change: ScheduleChange) -> Decided {
    let id = schedule.to_string();
    Decided::one(Event::ScheduleChanged { schedule, change }, &id)
}

fn planned(account: &Account, id: &ScheduleId, settings: &ScheduleSettings, tick: Timestamp) -> Planned {
    let due = Timestamp(tick.0.saturating_add(settings.offset_ms(&account.id, id)));
    Planned { tick, due }
}

fn first(
    account: &Account,
    id: &ScheduleId,
    settings: &ScheduleSettings,
    rhythm: &Rhythm,
    now: Timestamp,
) -> Result<Planned, Rejection> {
    let never = || Rejection::Invalid { field: "expression", rule: "must tick: this one never does".to_owned() };
    Ok(planned(account, id, settings, rhythm.next_after(now).ok_or_else(never)?))
}

/// The settings with the zone as it is written, and their rhythm.
fn check(mut settings: ScheduleSettings) -> Result<(ScheduleSettings, Rhythm), Rejection> {
    let invalid = |field, rule| Err(Rejection::Invalid { field, rule });
    let rhythm = match Rhythm::parse(&settings.expression, &settings.time_zone) {
        Ok(rhythm) => rhythm,
        Err(wrong) => return invalid(wrong.field, wrong.rule),
    };
    rhythm.zone_name().clone_into(&mut settings.time_zone);
    check_input(settings.job, &settings.input)?;
    if settings.within_ms > JOB_AHEAD_MS_MAX {
        return invalid("within_ms", "must be at most 366 days".to_owned());
    }
    if settings.smoothing_ms > SMOOTHING_MS_MAX {
        return invalid("smoothing_ms", format!("must be at most {SMOOTHING_MS_MAX}, a day"));
    }
    Ok((settings, rhythm))
}

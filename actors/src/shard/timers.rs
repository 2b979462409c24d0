//! Durable timers: back-offs and delays of tasks, deadlines of jobs, and ticks of schedules. They are rows of open jobs and
//! schedules; this is the order they fall due in, and [`super::due`] says what then.
//!
//! Here they go by monotonic time, so that a wall clock that is set neither holds nor hurries them. Only a node that
//! begins to lead finds out by wall time how long is left, and takes the account's own time when that is later.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steward_cluster::clock::{Clock, Timestamp};
use steward_cluster::ids::ShardId;
use tokio::sync::Notify;

use super::due::{Due, Owner};
use super::{ReadError, Reads};
use crate::domain::account::{Command, Event};
use crate::domain::ids::AccountId;

/// Timers handed out at a time.
const DUE_MAX: usize = 256;

/// What falls due at a time of this node's monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) due: Duration,
    pub(crate) shard: ShardId,
    pub(crate) account: AccountId,
    what: Due,
}

impl Timer {
    fn owner(&self) -> (AccountId, Owner) {
        (self.account.clone(), self.what.owner())
    }

    /// What is asked of the account when it falls due.
    pub(crate) fn command(&self) -> Command {
        self.what.command()
    }

    /// Who asks.
    pub(crate) fn actor(&self) -> String {
        self.what.actor()
    }
}

/// The timers of the shards this node leads. A timer whose task or schedule has moved on does nothing when it falls due;
/// those of a job that ended go with it, since a deadline may be a year ahead.
#[derive(Default)]
pub(crate) struct Timers {
    waiting: Mutex<Waiting>,
    /// Told of each timer that comes before all others.
    set: Arc<Notify>,
}

#[derive(Default)]
struct Waiting {
    by_due: BTreeSet<Timer>,
    by_owner: HashMap<(AccountId, Owner), Vec<Timer>>,
}

impl Waiting {
    fn insert(&mut self, timer: Timer) {
        if self.by_due.insert(timer.clone()) {
            self.by_owner.entry(timer.owner()).or_default().push(timer);
        }
    }

    /// Takes out the first one that is due.
    fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        self.by_due.first().filter(|first| first.due <= now)?;
        let first = self.by_due.pop_first()?;
        let owner = first.owner();
        if let Some(owned) = self.by_owner.get_mut(&owner) {
            owned.retain(|timer| *timer != first);
            if owned.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
        Some(first)
    }

    fn drop_owner(&mut self, owner: &(AccountId, Owner)) {
        for timer in self.by_owner.remove(owner).unwrap_or_default() {
            self.by_due.remove(&timer);
        }
    }

    fn drop_shard(&mut self, shard: ShardId) {
        self.by_due.retain(|timer| timer.shard != shard);
        self.by_owner.retain(|_, timers| timers.first().is_some_and(|timer| timer.shard != shard));
    }
}

impl Timers {
    /// Notes the timers that an event of this time sets or ends, if it does.
    pub(crate) fn note(&self, shard: ShardId, account: &AccountId, at: Timestamp, event: &Event, clock: &dyn Clock) {
        if let Some(owner) = Due::ended_by(event) {
            self.waiting.lock().drop_owner(&(account.clone(), owner));
        }
        for (what, ends_at) in Due::set_by(event, at) {
            let due = clock.monotonic() + ends_at.since(at);
            self.add(Timer { due, shard, account: account.clone(), what });
        }
    }

    pub(crate) fn add(&self, timer: Timer) {
        let mut waiting = self.waiting.lock();
        if waiting.by_due.first().is_none_or(|first| timer < *first) {
            self.set.notify_one();
        }
        waiting.insert(timer);
    }

    /// What is told of each timer that comes before all others.
    pub(crate) fn set(&self) -> Arc<Notify> {
        Arc::clone(&self.set)
    }

    /// When the first one is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.waiting.lock().by_due.first().map(|timer| timer.due)
    }

    /// Finds the timers of a shard in its rows.
    pub(crate) fn load(&self, shard: ShardId, reads: &Reads, clock: &dyn Clock) -> Result<(), ReadError> {
        for (account, what, ends_at) in Due::of_shard(shard, reads)? {
            let now = clock.now().max(reads.newest_at(&account)?);
            let due = clock.monotonic() + ends_at.since(now);
            self.add(Timer { due, shard, account, what });
        }
        Ok(())
    }

    /// Forgets the timers of a shard.
    pub(crate) fn drop_shard(&self, shard: ShardId) {
        self.waiting.lock().drop_shard(shard);
    }

    /// Takes out what is due, a bounded number at a time.
    pub(crate) fn due(&self, now: Duration) -> Vec<Timer> {
        let mut waiting = self.waiting.lock();
        std::iter::from_fn(|| waiting.pop_due(now)).take(DUE_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use steward_cluster::clock::ManualClock;

    use super::*;
    use crate::domain::ids::{JobId, ScheduleId};
    use crate::domain::job::{JobKind, JobOptions};
    use crate::domain::schedule::{Planned, ScheduleChange, Ticked};
    use crate::domain::task::TaskKind;

    const NOW: Timestamp = Timestamp(1_000);
    const LONG: Duration = Duration::from_secs(1 << 30);

    #[test]
    fn what_a_job_waits_for_goes_with_its_end() {
        let (timers, clock) = (Timers::default(), ManualClock::new(NOW));
        let acme = AccountId::parse("acme").unwrap();
        let job = |n: u32| JobId::parse(&format!("search-{n}")).unwrap();
        let at = |ms: u64| Some(Timestamp(NOW.0 + ms));
        let requested = |n: u32| Event::JobRequested {
            job: job(n),
            kind: JobKind::Single(TaskKind::Search),
            input: json!({}),
            playbook: None,
            options: JobOptions { start_at: at(5_000), deadline_at: at(9_000), ..JobOptions::default() },
        };
        let note = |event: &Event| timers.note(ShardId(1), &acme, NOW, event, &clock);
        (1..=3).for_each(|n| note(&requested(n)));
        let due = |ms: u64| timers.due(clock.monotonic() + Duration::from_millis(ms)).len();
        assert_eq!((due(4_999), due(5_000), due(5_000)), (0, 3, 0), "each falls due once");
        note(&Event::JobCancelled { job: job(1) });
        note(&Event::JobSucceeded { job: job(2) });
        let left = timers.due(LONG);
        assert_eq!(left.iter().map(Timer::command).collect::<Vec<_>>(), [Command::ExpireJob { job: job(3) }]);
        let waiting = timers.waiting.lock();
        assert!(waiting.by_due.is_empty() && waiting.by_owner.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_schedule_has_one_timer_that_follows_its_changes() {
        let (timers, clock) = (Timers::default(), ManualClock::new(NOW));
        let acme = AccountId::parse("acme").unwrap();
        let schedule = ScheduleId::parse("nightly").unwrap();
        let at = |ms: u64| Timestamp(NOW.0 + ms);
        let next = |ms: u64| Some(Planned { tick: at(ms), due: at(ms + 500) });
        let note = |change: ScheduleChange| {
            let event = Event::ScheduleChanged { schedule: schedule.clone(), change };
            timers.note(ShardId(1), &acme, NOW, &event, &clock);
        };
        let due = |ms: u64| {
            let due = timers.due(clock.monotonic() + Duration::from_millis(ms));
            due.iter().map(|timer| (timer.command(), timer.actor())).collect::<Vec<_>>()
        };
        let fires = |ms: u64| {
            vec![(Command::FireSchedule { schedule: schedule.clone(), tick: at(ms) }, "schedule:nightly".to_owned())]
        };
        note(ScheduleChange::Resumed { next: next(1_000) });
        note(ScheduleChange::Resumed { next: next(2_000) });
        assert_eq!((due(2_499), due(2_500), due(9_000)), (vec![], fires(2_000), vec![]));
        note(ScheduleChange::Ticked(Ticked { next: next(3_000), ..Ticked::default() }));
        note(ScheduleChange::Paused);
        assert_eq!(due(9_000), []);
        note(ScheduleChange::Resumed { next: next(3_000) });
        assert_eq!(due(9_000), fires(3_000));
        note(ScheduleChange::Deleted);
        assert!(timers.waiting.lock().by_owner.is_empty(), "nothing is left behind");
    }

    #[test]
    fn the_timers_of_a_shard_go_with_its_lead() {
        let (timers, clock) = (Timers::default(), ManualClock::new(NOW));
        for (shard, account) in [(1, "acme"), (2, "globex")] {
            let (job, account) = (JobId::parse("search-1").unwrap(), AccountId::parse(account).unwrap());
            let what = Due::Deadline { job };
            timers.add(Timer { due: clock.monotonic(), shard: ShardId(shard), account, what });
        }
        timers.drop_shard(ShardId(1));
        assert_eq!(timers.due(LONG).iter().map(|timer| timer.shard.0).collect::<Vec<_>>(), [2]);
        assert!(timers.waiting.lock().by_owner.is_empty());
    }
}

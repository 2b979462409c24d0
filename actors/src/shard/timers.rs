//! Durable timers: back-offs and delays of tasks, and deadlines of jobs. They are rows of open jobs; this is the order they
//! fall due in.
//!
//! Here they go by monotonic time, so that a wall clock that is set neither holds nor hurries them. Only a node that
//! begins to lead finds out by wall time how long is left, and takes the account's own time when that is later.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use steward_cluster::clock::{Clock, Timestamp};
use steward_cluster::ids::ShardId;
use tokio::sync::Notify;

use super::{ReadError, Reads};
use crate::domain::account::{Command, Event, ReleaseReason, TaskRef};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{Job, Task, TaskState};
use crate::domain::task::TaskId;

/// Timers handed out at a time.
const DUE_MAX: usize = 256;

/// What falls due at a time of this node's monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) due: Duration,
    pub(crate) shard: ShardId,
    pub(crate) account: AccountId,
    job: JobId,
    /// None: the job's deadline.
    wait: Option<Wait>,
}

/// What an attempt at a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wait {
    task: TaskId,
    attempt: u32,
    /// For the start of its job; otherwise for the end of its back-off.
    is_delay: bool,
}

impl Timer {
    fn of_job(&self) -> (AccountId, JobId) {
        (self.account.clone(), self.job.clone())
    }

    /// What is asked of the account when it falls due.
    pub(crate) fn command(&self) -> Command {
        let job = self.job.clone();
        let Some(Wait { task, attempt, is_delay }) = self.wait else { return Command::ExpireJob { job } };
        let reason = if is_delay { ReleaseReason::DelayOver } else { ReleaseReason::BackOffOver };
        Command::ReleaseTask { task: TaskRef { job, task, attempt }, reason }
    }
}

/// The timers of the shards this node leads. A timer whose task has moved on does nothing when it falls due; those of a job
/// that ended go with it, since a deadline may be a year ahead.
#[derive(Default)]
pub(crate) struct Timers {
    waiting: Mutex<Waiting>,
    /// Told of each timer that comes before all others.
    set: Arc<Notify>,
}

#[derive(Default)]
struct Waiting {
    by_due: BTreeSet<Timer>,
    by_job: HashMap<(AccountId, JobId), Vec<Timer>>,
}

impl Waiting {
    fn insert(&mut self, timer: Timer) {
        if self.by_due.insert(timer.clone()) {
            self.by_job.entry(timer.of_job()).or_default().push(timer);
        }
    }

    /// Takes out the first one that is due.
    fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        self.by_due.first().filter(|first| first.due <= now)?;
        let first = self.by_due.pop_first()?;
        let job = first.of_job();
        if let Some(of_job) = self.by_job.get_mut(&job) {
            of_job.retain(|timer| *timer != first);
            if of_job.is_empty() {
                self.by_job.remove(&job);
            }
        }
        Some(first)
    }

    fn drop_job(&mut self, account: &AccountId, job: &JobId) {
        for timer in self.by_job.remove(&(account.clone(), job.clone())).unwrap_or_default() {
            self.by_due.remove(&timer);
        }
    }

    fn drop_shard(&mut self, shard: ShardId) {
        self.by_due.retain(|timer| timer.shard != shard);
        self.by_job.retain(|_, timers| timers.first().is_some_and(|timer| timer.shard != shard));
    }
}

impl Timers {
    /// Notes the timers that an event of this time sets, if it does.
    pub(crate) fn note(&self, shard: ShardId, account: &AccountId, at: Timestamp, event: &Event, clock: &dyn Clock) {
        let set = |job: &JobId, wait: Option<Wait>, ends_at: Timestamp| {
            let (account, job, due) = (account.clone(), job.clone(), clock.monotonic() + ends_at.since(at));
            self.add(Timer { due, shard, account, job, wait });
        };
        if let Event::TaskFailed { job, task, attempt, retry_at: Some(retry_at), .. } = event {
            set(job, Some(Wait { task: *task, attempt: *attempt, is_delay: false }), *retry_at);
        } else if let Event::JobRequested { job, kind, options, .. } = event
            && !options.is_usual()
        {
            let requested = Job::requested(*kind, Value::Null, 0, 0, at).with_options(*options);
            waits_of(&requested).for_each(|(wait, ends_at)| set(job, wait, ends_at));
        } else if let Event::JobSucceeded { job } | Event::JobFailed { job, .. } | Event::JobCancelled { job } = event {
            self.waiting.lock().drop_job(account, job);
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

    /// Finds the timers of a shard in its open jobs.
    pub(crate) fn load(&self, shard: ShardId, reads: &Reads, clock: &dyn Clock) -> Result<(), ReadError> {
        for (account, job, state) in reads.open_jobs(shard)? {
            let now = clock.now().max(reads.newest_at(&account)?);
            for (wait, ends_at) in waits_of(&state) {
                let (account, job) = (account.clone(), job.clone());
                let due = clock.monotonic() + ends_at.since(now);
                self.add(Timer { due, shard, account, job, wait });
            }
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

/// What an open job waits for, each with the time that ends it.
fn waits_of(job: &Job) -> impl Iterator<Item = (Option<Wait>, Timestamp)> + '_ {
    let wait = |(kind, task): (&TaskId, &Task)| {
        let is_delay = task.state == TaskState::Delayed;
        let waits = is_delay || task.state == TaskState::BackingOff;
        let wait = Wait { task: *kind, attempt: task.attempt, is_delay };
        waits.then(|| (Some(wait), task.retry_at.unwrap_or_default()))
    };
    let deadline = job.options.deadline_at.map(|deadline_at| (None, deadline_at));
    job.tasks.iter().filter_map(wait).chain(deadline)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use steward_cluster::clock::ManualClock;

    use super::*;
    use crate::domain::job::{JobKind, JobOptions};
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
        assert!(waiting.by_due.is_empty() && waiting.by_job.is_empty(), "nothing is left behind");
    }

    #[test]
    fn the_timers_of_a_shard_go_with_its_lead() {
        let (timers, clock) = (Timers::default(), ManualClock::new(NOW));
        for (shard, account) in [(1, "acme"), (2, "globex")] {
            let (job, account) = (JobId::parse("search-1").unwrap(), AccountId::parse(account).unwrap());
            timers.add(Timer { due: clock.monotonic(), shard: ShardId(shard), account, job, wait: None });
        }
        timers.drop_shard(ShardId(1));
        assert_eq!(timers.due(LONG).iter().map(|timer| timer.shard.0).collect::<Vec<_>>(), [2]);
        assert!(timers.waiting.lock().by_job.is_empty());
    }
}

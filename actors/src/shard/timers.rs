//! Durable timers: back-offs and delays of tasks, and deadlines of jobs. They are rows of open jobs; this is the order they
//! fall due in.
//!
//! Here they go by monotonic time, so that a wall clock that is set neither holds nor hurries them. Only a node that
//! begins to lead finds out by wall time how long is left, and takes the account's own time when that is later.

use std::collections::BTreeSet;
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
use crate::domain::task::TaskKind;

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
    task: TaskKind,
    attempt: u32,
    /// For the start of its job; otherwise for the end of its back-off.
    is_delay: bool,
}

impl Timer {
    /// What is asked of the account when it falls due.
    pub(crate) fn command(&self) -> Command {
        let job = self.job.clone();
        let Some(Wait { task, attempt, is_delay }) = self.wait else { return Command::ExpireJob { job } };
        let reason = if is_delay { ReleaseReason::DelayOver } else { ReleaseReason::BackOffOver };
        Command::ReleaseTask { task: TaskRef { job, task, attempt }, reason }
    }
}

/// The timers of the shards this node leads. A timer whose task has moved on does nothing when it falls due.
#[derive(Default)]
pub(crate) struct Timers {
    waiting: Mutex<BTreeSet<Timer>>,
    /// Told of each timer that comes before all others.
    set: Arc<Notify>,
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
        }
    }

    pub(crate) fn add(&self, timer: Timer) {
        let mut waiting = self.waiting.lock();
        if waiting.first().is_none_or(|first| timer < *first) {
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
        self.waiting.lock().first().map(|timer| timer.due)
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
        self.waiting.lock().retain(|timer| timer.shard != shard);
    }

    /// Takes out what is due, a bounded number at a time.
    pub(crate) fn due(&self, now: Duration) -> Vec<Timer> {
        let mut waiting = self.waiting.lock();
        let mut due = vec![];
        while due.len() < DUE_MAX
            && let Some(first) = waiting.first()
            && first.due <= now
        {
            due.extend(waiting.pop_first());
        }
        due
    }
}

/// What an open job waits for, each with the time that ends it.
fn waits_of(job: &Job) -> impl Iterator<Item = (Option<Wait>, Timestamp)> + '_ {
    let wait = |(kind, task): (&TaskKind, &Task)| {
        let is_delay = task.state == TaskState::Delayed;
        let waits = is_delay || task.state == TaskState::BackingOff;
        let wait = Wait { task: *kind, attempt: task.attempt, is_delay };
        waits.then(|| (Some(wait), task.retry_at.unwrap_or_default()))
    };
    let deadline = job.options.deadline_at.map(|deadline_at| (None, deadline_at));
    job.tasks.iter().filter_map(wait).chain(deadline)
}

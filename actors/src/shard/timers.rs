//! Durable timers: tasks whose back-off ends. They are rows of open jobs; this is the order they fall due in.
//!
//! Here they go by monotonic time, so that a wall clock that is set neither holds nor hurries them. Only a node that
//! begins to lead finds out by wall time how long is left, and takes the account's own time when that is later.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steward_cluster::clock::{Clock, Timestamp};
use steward_cluster::ids::ShardId;
use tokio::sync::Notify;

use super::{ReadError, Reads};
use crate::domain::account::{Event, TaskRef};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::TaskState;
use crate::domain::task::TaskKind;

/// Timers handed out at a time.
const DUE_MAX: usize = 256;

/// A task that is ready again at a time of this node's monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) due: Duration,
    pub(crate) shard: ShardId,
    pub(crate) account: AccountId,
    job: JobId,
    task: TaskKind,
    attempt: u32,
}

impl Timer {
    pub(crate) fn task(&self) -> TaskRef {
        TaskRef { job: self.job.clone(), task: self.task, attempt: self.attempt }
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
    /// Notes the timer that an event of this time sets, if it does.
    pub(crate) fn note(&self, shard: ShardId, account: &AccountId, at: Timestamp, event: &Event, clock: &dyn Clock) {
        if let Event::TaskFailed { job, task, attempt, retry_at: Some(retry_at), .. } = event {
            let (account, job, due) = (account.clone(), job.clone(), clock.monotonic() + retry_at.since(at));
            self.add(Timer { due, shard, account, job, task: *task, attempt: *attempt });
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
            let backing_off = state.tasks.iter().filter(|(_, task)| task.state == TaskState::BackingOff);
            for (kind, task) in backing_off {
                let (account, job) = (account.clone(), job.clone());
                let due = clock.monotonic() + task.retry_at.unwrap_or_default().since(now);
                self.add(Timer { due, shard, account, job, task: *kind, attempt: task.attempt });
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

//! What falls due at the time of a timer: which events set it, which end it, and where it is found when a lead begins.

use serde_json::Value;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;

use super::{ReadError, Reads};
use crate::domain::account::{Command, Event, ReleaseReason, TaskRef};
use crate::domain::ids::{AccountId, JobId, ScheduleId};
use crate::domain::job::{Job, Task, TaskState};
use crate::domain::task::TaskId;

/// Whose timers go together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Job(JobId),
    Schedule(ScheduleId),
}

/// What falls due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Wait {
        job: JobId,
        wait: Wait,
    },
    /// The deadline of a job.
    Deadline {
        job: JobId,
    },
    /// A tick of a schedule.
    Tick {
        schedule: ScheduleId,
        tick: Timestamp,
    },
}

/// What an attempt at a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wait {
    task: TaskId,
    attempt: u32,
    /// For the start of its job; otherwise for the end of its back-off.
    is_delay: bool,
}

impl Due {
    pub(super) fn owner(&self) -> Owner {
        match self {
            Self::Wait { job, .. } | Self::Deadline { job } => Owner::Job(job.clone()),
            Self::Tick { schedule, .. } => Owner::Schedule(schedule.clone()),
        }
    }

    /// What is asked of the account then.
    pub(super) fn command(&self) -> Command {
        match self.clone() {
            Self::Wait { job, wait: Wait { task, attempt, is_delay } } => {
                let reason = if is_delay { ReleaseReason::DelayOver } else { ReleaseReason::BackOffOver };
                Command::ReleaseTask { task: TaskRef { job, task, attempt }, reason }
            }
            Self::Deadline { job } => Command::ExpireJob { job },
            Self::Tick { schedule, tick } => Command::FireSchedule { schedule, tick },
        }
    }

    /// Who asks.
    pub(super) fn actor(&self) -> String {
        match self {
            Self::Wait { .. } | Self::Deadline { .. } => "system".to_owned(),
            Self::Tick { schedule, .. } => format!("schedule:{schedule}"),
        }
    }

    /// What an event sets, each with its time.
    pub(super) fn set_by(event: &Event, at: Timestamp) -> Vec<(Self, Timestamp)> {
        if let Event::TaskFailed { job, task, attempt, retry_at: Some(retry_at), .. } = event {
            let wait = Wait { task: *task, attempt: *attempt, is_delay: false };
            return vec![(Self::Wait { job: job.clone(), wait }, *retry_at)];
        }
        if let Event::JobRequested { job, kind, options, .. } = event
            && !options.is_usual()
        {
            let requested = Job::requested(*kind, Value::Null, 0, 0, at).with_options(*options);
            return waits_of(job, &requested).collect();
        }
        if let Event::ScheduleChanged { schedule, change } = event {
            let tick = change.next().map(|next| (Self::Tick { schedule: schedule.clone(), tick: next.tick }, next.due));
            return tick.into_iter().collect();
        }
        vec![]
    }

    /// Whose timers an event ends, before it sets others.
    pub(super) fn ended_by(event: &Event) -> Option<Owner> {
        if let Event::JobSucceeded { job } | Event::JobFailed { job, .. } | Event::JobCancelled { job } = event {
            return Some(Owner::Job(job.clone()));
        }
        if let Event::ScheduleChanged { schedule, .. } = event {
            return Some(Owner::Schedule(schedule.clone()));
        }
        None
    }

    /// All of a shard, as its rows have them.
    pub(super) fn of_shard(shard: ShardId, reads: &Reads) -> Result<Vec<(AccountId, Self, Timestamp)>, ReadError> {
        let mut found = vec![];
        for (account, job, state) in reads.open_jobs(shard)? {
            found.extend(waits_of(&job, &state).map(|(due, ends_at)| (account.clone(), due, ends_at)));
        }
        for (account, schedule, state) in reads.schedules(shard)? {
            let next = state.next.filter(|_| !state.is_paused);
            found.extend(next.map(|next| (account, Self::Tick { schedule, tick: next.tick }, next.due)));
        }
        Ok(found)
    }
}

/// What an open job waits for, each with the time that ends it.
fn waits_of<'j>(job: &'j JobId, state: &'j Job) -> impl Iterator<Item = (Due, Timestamp)> + 'j {
    let wait = |(id, task): (&TaskId, &Task)| {
        let is_delay = task.state == TaskState::Delayed;
        let waits = is_delay || task.state == TaskState::BackingOff;
        let wait = Wait { task: *id, attempt: task.attempt, is_delay };
        waits.then(|| (Due::Wait { job: job.clone(), wait }, task.retry_at.unwrap_or_default()))
    };
    let deadline = state.options.deadline_at.map(|deadline_at| (Due::Deadline { job: job.clone() }, deadline_at));
    state.tasks.iter().filter_map(wait).chain(deadline)
}

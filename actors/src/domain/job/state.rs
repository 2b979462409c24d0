//! A job and its tasks, as their events leave them.

use std::collections::BTreeMap;

use serde_json::Value;
use steward_cluster::clock::Timestamp;

use super::options::JobOptions;
use super::plan::JobKind;
use crate::domain::task::TaskKind;

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for other tasks of its job.
    Blocked,
    /// Waits for the time its job starts at, which is its `retry_at`.
    Delayed,
    /// Waits for a worker.
    Ready,
    /// A worker holds its lease.
    Running,
    /// Failed; ready again at `retry_at`.
    BackingOff,
    Succeeded,
    Failed,
}

/// Why a task or a job failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    pub code: String,
    pub message: String,
}

/// A leased unit of a job.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Task {
    pub state: TaskState,
    /// How many attempts were started. The fence: a report of an older attempt is refused.
    pub attempt: u32,
    /// How many of them failed; lost leases do not count.
    pub failures: u32,
    pub permille: u32,
    pub note: String,
    pub checkpoint: Option<Value>,
    pub result: Option<Value>,
    pub failure: Option<Failure>,
    pub retry_at: Option<Timestamp>,
    /// Who holds the lease.
    pub worker: Option<String>,
    pub after: Vec<TaskKind>,
}

/// Work a client or a playbook asked for.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Job {
    pub kind: JobKind,
    pub state: JobState,
    pub input: Value,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Number of the event that recorded the request; orders jobs.
    pub seq: u64,
    pub cause_seq: u64,
    pub tasks: BTreeMap<TaskKind, Task>,
    pub failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "JobOptions::is_usual")]
    pub options: JobOptions,
    /// None of its tasks starts until it is resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_paused: bool,
}

impl Job {
    /// A job as its request leaves it.
    #[must_use]
    pub fn requested(kind: JobKind, input: Value, seq: u64, cause_seq: u64, at: Timestamp) -> Self {
        let fresh = |after: &[TaskKind]| Task {
            state: if after.is_empty() { TaskState::Ready } else { TaskState::Blocked },
            attempt: 0,
            failures: 0,
            permille: 0,
            note: String::new(),
            checkpoint: None,
            result: None,
            failure: None,
            retry_at: None,
            worker: None,
            after: after.to_vec(),
        };
        let tasks = kind.plan().iter().map(|step| (step.task, fresh(step.after))).collect();
        let state = JobState::Running;
        Self {
            kind,
            state,
            input,
            created_at: at,
            ended_at: None,
            seq,
            cause_seq,
            tasks,
            failure: None,
            options: JobOptions::default(),
            is_paused: false,
        }
    }

    /// The same with what its request says about when it runs.
    #[must_use]
    pub fn with_options(mut self, options: JobOptions) -> Self {
        self.options = options;
        if let Some(start_at) = options.start_at.filter(|start_at| *start_at > self.created_at) {
            for task in self.tasks.values_mut().filter(|task| task.state == TaskState::Ready) {
                (task.state, task.retry_at) = (TaskState::Delayed, Some(start_at));
            }
        }
        self
    }

    /// Makes tasks ready whose wait is over.
    pub(crate) fn unblock(&mut self) {
        let done = |task: &Task| task.state == TaskState::Succeeded;
        let finished: Vec<TaskKind> = self.tasks.iter().filter(|(_, task)| done(task)).map(|(kind, _)| *kind).collect();
        for task in self.tasks.values_mut().filter(|task| task.state == TaskState::Blocked) {
            if task.after.iter().all(|kind| finished.contains(kind)) {
                task.state = TaskState::Ready;
            }
        }
    }

    /// Gives back the leases of what runs: nobody's report counts any more.
    pub(crate) fn pause(&mut self) {
        self.is_paused = true;
        for task in self.tasks.values_mut().filter(|task| task.state == TaskState::Running) {
            (task.state, task.worker) = (TaskState::Ready, None);
        }
    }

    /// Opens an ended job again. From a task on everything is done anew; without one, what has not succeeded goes on where
    /// it stopped. Attempts count on, so that late reports of those before are refused.
    pub(crate) fn restart(&mut self, from: Option<TaskKind>) {
        let again = from.map(|from| self.with_dependents(from));
        for (kind, task) in &mut self.tasks {
            match &again {
                Some(again) if again.contains(kind) => (task.result, task.checkpoint) = (None, None),
                None | Some(_) if task.state == TaskState::Succeeded => continue,
                None | Some(_) => {}
            }
            (task.state, task.failures, task.permille) = (TaskState::Blocked, 0, 0);
            (task.failure, task.retry_at, task.worker) = (None, None, None);
            task.note.clear();
        }
        (self.state, self.ended_at, self.failure, self.is_paused) = (JobState::Running, None, None, false);
        (self.options.start_at, self.options.deadline_at) = (None, None);
        self.unblock();
    }

    /// A task and all that wait for it, directly or not.
    fn with_dependents(&self, from: TaskKind) -> Vec<TaskKind> {
        let mut found = vec![from];
        // A plan lists a task after what it waits for, and there are as many rounds as tasks at most.
        for _ in 0..self.tasks.len() {
            let waits = |(kind, task): (&TaskKind, &Task)| {
                (!found.contains(kind) && task.after.iter().any(|before| found.contains(before))).then_some(*kind)
            };
            let more: Vec<TaskKind> = self.tasks.iter().filter_map(waits).collect();
            found.extend(more);
        }
        found
    }

    /// Ends the job.
    pub(crate) fn end(&mut self, state: JobState, at: Timestamp) {
        self.state = state;
        self.ended_at = Some(at);
    }

    /// What the finished tasks brought.
    #[must_use]
    pub fn results(&self) -> BTreeMap<TaskKind, Value> {
        let result = |(kind, task): (&TaskKind, &Task)| Some((*kind, task.result.clone()?));
        self.tasks.iter().filter_map(result).collect()
    }
}

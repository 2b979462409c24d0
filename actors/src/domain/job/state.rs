//! A job and its tasks, as their events leave them.

use std::collections::BTreeMap;

use serde_json::Value;
use steward_cluster::clock::Timestamp;

use super::options::JobOptions;
use super::plan::{JobKind, Split};
use crate::domain::budget::Amounts;
use crate::domain::task::{TaskId, TaskKind};

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
    pub after: Vec<TaskId>,
    /// What its attempt may still use of the account's budgets.
    #[serde(default, skip_serializing_if = "Amounts::is_none")]
    pub reserved: Amounts,
    /// The last call of a model that its attempt reported.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub calls: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
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
    pub tasks: BTreeMap<TaskId, Task>,
    pub failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "JobOptions::is_usual")]
    pub options: JobOptions,
    /// None of its tasks starts until it is resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_paused: bool,
}

impl Task {
    /// A task nobody has tried.
    fn fresh(after: Vec<TaskId>) -> Self {
        Self {
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
            after,
            reserved: Amounts::NONE,
            calls: 0,
        }
    }
}

impl Job {
    /// A job as its request leaves it.
    #[must_use]
    pub fn requested(kind: JobKind, input: Value, seq: u64, cause_seq: u64, at: Timestamp) -> Self {
        let fresh = |after: &[TaskKind]| Task::fresh(after.iter().map(|kind| kind.whole()).collect());
        let tasks = kind.plan().iter().map(|step| (step.task.whole(), fresh(step.after))).collect();
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

    /// Spreads the work of `normalize` over tasks of its own, in the place of an earlier split. Their attempts count on, so
    /// that late reports of those before are refused.
    pub(crate) fn split(&mut self, split: Split) {
        let before = self.tasks.iter().filter(|(task, _)| task.kind.is_piece());
        let attempt = before.map(|(_, task)| task.attempt).max().unwrap_or_default();
        self.tasks.retain(|task, _| !task.kind.is_piece());
        let Some(normalize) = self.tasks.get_mut(&TaskKind::Normalize.whole()) else { return };
        normalize.state = TaskState::Blocked;
        normalize.after.retain(|task| !task.kind.is_piece());
        normalize.after.extend(split.tasks());
        let part = Task { attempt, ..Task::fresh(vec![TaskKind::Probe.whole()]) };
        self.tasks.extend(split.tasks().map(|task| (task, part.clone())));
        self.unblock();
    }

    /// Makes tasks ready whose wait is over.
    pub(crate) fn unblock(&mut self) {
        let done = |task: &Task| task.state == TaskState::Succeeded;
        let finished: Vec<TaskId> = self.tasks.iter().filter(|(_, task)| done(task)).map(|(kind, _)| *kind).collect();
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
            (task.state, task.worker, task.reserved) = (TaskState::Ready, None, Amounts::NONE);
        }
    }

    /// Opens an ended job again. From a task on everything is done anew; without one, what has not succeeded goes on where
    /// it stopped. Attempts count on, so that late reports of those before are refused.
    pub(crate) fn restart(&mut self, from: Option<TaskId>) {
        let again = from.map(|from| self.with_dependents(from));
        for (kind, task) in &mut self.tasks {
            match &again {
                Some(again) if again.contains(kind) => (task.result, task.checkpoint) = (None, None),
                None | Some(_) if task.state == TaskState::Succeeded => continue,
                None | Some(_) => {}
            }
            (task.state, task.failures, task.permille) = (TaskState::Blocked, 0, 0);
            (task.failure, task.retry_at, task.worker) = (None, None, None);
            (task.reserved, task.calls) = (Amounts::NONE, 0);
            task.note.clear();
        }
        (self.state, self.ended_at, self.failure, self.is_paused) = (JobState::Running, None, None, false);
        (self.options.start_at, self.options.deadline_at) = (None, None);
        self.unblock();
    }

    /// A task and all that wait for it, directly or not.
    fn with_dependents(&self, from: TaskId) -> Vec<TaskId> {
        let mut found = vec![from];
        // A plan lists a task after what it waits for, and there are as many rounds as tasks at most.
        for _ in 0..self.tasks.len() {
            let waits = |(kind, task): (&TaskId, &Task)| {
                (!found.contains(kind) && task.after.iter().any(|before| found.contains(before))).then_some(*kind)
            };
            let more: Vec<TaskId> = self.tasks.iter().filter_map(waits).collect();
            found.extend(more);
        }
        found
    }

    /// Ends the job.
    pub(crate) fn end(&mut self, state: JobState, at: Timestamp) {
        self.state = state;
        self.ended_at = Some(at);
    }

    /// What the finished tasks brought that a task waits for, directly or not. Pieces are for the task that joins them.
    #[must_use]
    pub fn results_for(&self, task: TaskId) -> BTreeMap<TaskId, Value> {
        let mut found = BTreeMap::new();
        let mut open = vec![task];
        while let Some(next) = open.pop() {
            for before in self.tasks.get(&next).into_iter().flat_map(|task| &task.after) {
                let is_wanted = !found.contains_key(before) && (next == task || !before.kind.is_piece());
                let result = self.tasks.get(before).and_then(|task| task.result.clone());
                if let Some(result) = result.filter(|_| is_wanted) {
                    found.insert(*before, result);
                    open.push(*before);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1);

    fn states(job: &Job) -> Vec<(String, TaskState, u32)> {
        job.tasks.iter().map(|(id, task)| (id.to_string(), task.state, task.attempt)).collect()
    }

    /// A job whose probe has succeeded.
    fn probed(kind: &str) -> Job {
        let mut job = Job::requested(JobKind::parse(kind).unwrap(), json!({}), 1, 0, NOW);
        for task in [TaskKind::Fetch, TaskKind::Probe] {
            let task = job.tasks.get_mut(&task.whole()).unwrap();
            (task.state, task.attempt, task.result) = (TaskState::Succeeded, 1, Some(json!({})));
        }
        job.unblock();
        job
    }

    #[test]
    fn a_split_puts_its_tasks_between_probe_and_normalize() {
        let mut job = probed("normalize");
        job.split(Split { chunks: 2, has_sound: true });
        let (ready, blocked, done) = (TaskState::Ready, TaskState::Blocked, TaskState::Succeeded);
        let named = |state, attempt, name: &str| (name.to_owned(), state, attempt);
        let want = [named(done, 1, "fetch"), named(done, 1, "probe"), named(blocked, 0, "normalize")];
        let parts = ["encode-1", "encode-2", "sound"].map(|name| named(ready, 0, name));
        assert_eq!(states(&job), [want.as_slice(), &parts].concat());
        for part in ["encode-1", "encode-2", "sound"] {
            assert_eq!(job.tasks[&TaskKind::Normalize.whole()].state, blocked, "before {part}");
            let task = job.tasks.get_mut(&TaskId::parse(part).unwrap()).unwrap();
            (task.state, task.attempt, task.result) = (done, 3, Some(json!(part)));
            job.unblock();
        }
        assert_eq!(job.tasks[&TaskKind::Normalize.whole()].state, ready);
        assert_eq!(job.results_for(TaskKind::Normalize.whole()).len(), 5);
        assert_eq!(job.results_for(TaskKind::Encode.part(2)).len(), 2, "fetch and probe, not the other pieces");
        // What comes behind the joined recording has no use for its pieces.
        let hls = Task { state: ready, ..Task::fresh(vec![TaskKind::Normalize.whole()]) };
        job.tasks.insert(TaskKind::Hls.whole(), hls);
        job.tasks.get_mut(&TaskKind::Normalize.whole()).unwrap().result = Some(json!({}));
        let behind = job.results_for(TaskKind::Hls.whole()).into_keys().map(|task| task.to_string());
        assert_eq!(behind.collect::<Vec<_>>(), ["fetch", "probe", "normalize"]);
        job.tasks.remove(&TaskKind::Hls.whole());
        // Done anew, it may be cut elsewhere; attempts count on, also of a piece that there was none of before.
        job.end(JobState::Succeeded, NOW);
        job.restart(Some(TaskKind::Probe.whole()));
        assert_eq!(job.tasks[&TaskKind::Encode.part(1)].state, blocked);
        job.tasks.get_mut(&TaskKind::Probe.whole()).unwrap().state = done;
        job.split(Split { chunks: 3, has_sound: false });
        let parts = ["encode-1", "encode-2", "encode-3"].map(|name| named(ready, 3, name));
        assert_eq!(states(&job)[3..], parts);
    }

    #[test]
    fn a_job_that_makes_no_recording_is_not_split() {
        let mut job = probed("thumbnail");
        let before = job.clone();
        job.split(Split { chunks: 2, has_sound: true });
        assert_eq!(job, before);
    }
}

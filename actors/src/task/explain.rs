//! Why a task is not running: the gate it stands at, since when, and what opens it.
//!
//! A task stands at one gate at a time, the first of those that are closed: its job has ended, it is paused, other tasks
//! come first, a time has not come, its account may not run more or has no budget for it, no slot is free.

use std::fmt;

use steward_cluster::clock::Timestamp;

use super::board::TaskBoard;
use super::in_hand::{InHand, Slots, TaskKey};
use crate::domain::budget::Short;
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{Job, JobState, Task, TaskState};
use crate::domain::task::{Reached, TaskClass, TaskId};

/// Tasks that are named of those that come first.
const NAMED_MAX: usize = 8;

/// What keeps a task from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It has succeeded or failed, or its job has ended.
    Ended(&'static str),
    /// These tasks of its job come first.
    Tasks(Vec<TaskId>),
    /// Its job starts later.
    Start,
    /// An attempt failed.
    BackOff { failures: u32, code: String },
    /// Its job is paused.
    Paused,
    /// All slots of its class are in use here, or others are before it in turn.
    Slot { class: TaskClass, slots: usize, running: usize, waiting: usize, before: usize },
    /// The account runs as many tasks as it may, of all kinds or of this one.
    Limit(Reached),
    /// A budget of the account has no room for it.
    Budget(Short),
    /// A worker has it and is taking its lease.
    Lease,
    /// None: it runs.
    Running { worker: String, attempt: u32 },
}

/// A gate, with the times that are known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    pub gate: Gate,
    /// Of a task that waits for a slot: since this node has seen it ready.
    pub since: Option<Timestamp>,
    /// When it opens by itself.
    pub opens_at: Option<Timestamp>,
}

impl Gate {
    /// The name clients know it by.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ended(_) => "ended",
            Self::Tasks(_) => "tasks",
            Self::Start => "start",
            Self::BackOff { .. } => "back_off",
            Self::Paused => "paused",
            Self::Slot { .. } => "slot",
            Self::Limit(_) => "limit",
            Self::Budget(_) => "budget",
            Self::Lease => "lease",
            Self::Running { .. } => "running",
        }
    }
}

/// What the gate is, and what opens it.
impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(how) => write!(f, "{how}; restarting the job opens it again"),
            Self::Tasks(tasks) => {
                let names: Vec<String> = tasks.iter().take(NAMED_MAX).map(ToString::to_string).collect();
                let more = if tasks.len() > NAMED_MAX {
                    format!(" and {} more", tasks.len() - NAMED_MAX)
                } else {
                    String::new()
                };
                write!(f, "waits until {}{more} of its job succeeded", names.join(", "))
            }
            Self::Start => f.write_str("waits for the time its job starts at"),
            Self::BackOff { failures, code } => {
                write!(f, "failed {failures} times, last with {code}; it is tried again")
            }
            Self::Paused => f.write_str("its job is paused; resuming it lets it run"),
            Self::Slot { class, slots, running, waiting, before } => write!(
                f,
                "waits for one of {slots} {} slots, of which {running} are in use; {waiting} tasks wait for them, {before} of \
                 this account before this one",
                class.as_str(),
            ),
            Self::Limit(Reached { kind: None, max }) => {
                write!(f, "the account may run {max} tasks at a time; it is next when one of them ends")
            }
            Self::Limit(Reached { kind: Some(kind), max }) => {
                write!(
                    f,
                    "the account may run {max} {} tasks at a time; it is next when one of them ends",
                    kind.as_str()
                )
            }
            Self::Budget(short) => short.fmt(f),
            Self::Lease => f.write_str("a worker is taking its lease"),
            Self::Running { worker, attempt } => write!(f, "attempt {attempt} runs at {worker}"),
        }
    }
}

impl TaskBoard {
    /// Why a task of a job is not running, as the node that leads its account sees it. None: the job has no such task.
    #[must_use]
    pub fn explain(&self, account: &AccountId, id: &JobId, job: &Job, task: TaskId, slots: Slots) -> Option<Explained> {
        let key = TaskKey { account: account.clone(), job: id.clone(), task };
        let task = job.tasks.get(&task)?;
        let state = self.state.lock();
        let (gate, since) = gate(&state.in_hand, job, &key, task, slots);
        let opens_at = match gate {
            Gate::Start | Gate::BackOff { .. } => task.retry_at,
            Gate::Budget(short) => short.opens_at,
            Gate::Ended(_)
            | Gate::Tasks(_)
            | Gate::Paused
            | Gate::Slot { .. }
            | Gate::Limit(_)
            | Gate::Lease
            | Gate::Running { .. } => None,
        };
        Some(Explained { gate, since, opens_at })
    }
}

fn gate(in_hand: &InHand, job: &Job, key: &TaskKey, task: &Task, slots: Slots) -> (Gate, Option<Timestamp>) {
    match (job.state, task.state) {
        (_, TaskState::Succeeded) => return (Gate::Ended("it succeeded"), None),
        (JobState::Succeeded, _) => return (Gate::Ended("its job succeeded"), job.ended_at),
        (_, TaskState::Failed) => return (Gate::Ended("it failed for good"), job.ended_at),
        (JobState::Failed, _) => return (Gate::Ended("its job failed"), job.ended_at),
        (JobState::Cancelled, _) => return (Gate::Ended("its job was cancelled"), job.ended_at),
        (JobState::Running, _) => {}
    }
    if job.is_paused {
        return (Gate::Paused, None);
    }
    match task.state {
        TaskState::Running => {
            let since = in_hand.running.get(key).map(|running| running.since);
            (Gate::Running { worker: task.worker.clone().unwrap_or_default(), attempt: task.attempt }, since)
        }
        TaskState::Delayed => (Gate::Start, Some(job.created_at)),
        TaskState::BackingOff => {
            let code = task.failure.as_ref().map(|failure| failure.code.clone()).unwrap_or_default();
            (Gate::BackOff { failures: task.failures, code }, None)
        }
        TaskState::Blocked => {
            let is_done = |before: &TaskId| job.tasks.get(before).is_some_and(|t| t.state == TaskState::Succeeded);
            let tasks = task.after.iter().copied().filter(|before| !is_done(before)).collect();
            (Gate::Tasks(tasks), None)
        }
        TaskState::Ready | TaskState::Succeeded | TaskState::Failed => ready(in_hand, job, key, slots),
    }
}

fn ready(in_hand: &InHand, job: &Job, key: &TaskKey, slots: Slots) -> (Gate, Option<Timestamp>) {
    if in_hand.is_taken(key) {
        return (Gate::Lease, in_hand.running.get(key).map(|running| running.since));
    }
    let class = key.task.kind.class();
    let queue = in_hand.waiting(class);
    let mut before = 0;
    let mut since = None;
    for waiting in queue.line(&key.account, job.options.priority) {
        if waiting.key == *key {
            since = Some(waiting.since);
            break;
        }
        before += 1;
    }
    if let Some(reached) = in_hand.reached(key) {
        return (Gate::Limit(reached), since);
    }
    if let Some(short) = in_hand.short(key) {
        return (Gate::Budget(short), since);
    }
    let running = in_hand.running_of(class);
    (Gate::Slot { class, slots: slots.of(class), running, waiting: queue.len(), before }, since)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::domain::account::{Event, JobChange};
    use crate::domain::budget::Amounts;
    use crate::domain::job::{Failure, JobKind, JobOptions};
    use crate::domain::task::{TaskKind, TaskLimits};

    const NOW: Timestamp = Timestamp(1_000);
    const LATER: Timestamp = Timestamp(9_000);
    const ONE: Slots = Slots { cpu: 1, net: 1 };

    fn id(name: &str) -> JobId {
        JobId::parse(name).unwrap()
    }

    fn call(options: JobOptions) -> Job {
        Job::requested(JobKind::Call, json!({}), 1, 0, NOW).with_options(options)
    }

    /// What a board says that has heard of the job.
    fn told(board: &TaskBoard, job: &Job, kind: TaskKind) -> Explained {
        let acme = AccountId::parse("acme").unwrap();
        board.reconcile(&acme, &id("call-1"), Some(job), TaskLimits::default(), NOW);
        board.explain(&acme, &id("call-1"), job, kind.whole(), ONE).unwrap()
    }

    fn board() -> TaskBoard {
        TaskBoard::new(PathBuf::from("scratch"))
    }

    #[test]
    fn each_gate_is_named_with_what_opens_it() {
        let (task, worker, reserved) = (TaskKind::Fetch, "node-2/b".to_owned(), Amounts::NONE);
        let started = Event::TaskStarted { job: id("call-1"), task: task.whole(), attempt: 1, worker, reserved };
        let failure = Failure { code: "egress_timeout".to_owned(), message: String::new() };
        let failed =
            Event::TaskFailed { job: id("call-1"), task: task.whole(), attempt: 1, failure, retry_at: Some(LATER) };
        let changed = |change| Event::JobChanged { job: id("call-1"), change };
        let delayed = JobOptions { start_at: Some(LATER), ..JobOptions::default() };
        let usual = JobOptions::default();
        let slot = "waits for one of 1 net slots, of which 0 are in use; 1 tasks wait for them, 0 of this account before \
                    this one";
        let table = [
            ("a slot", usual, vec![], TaskKind::Fetch, slot, Some(NOW), None),
            (
                "a task",
                usual,
                vec![],
                TaskKind::Index,
                "waits until transcript, summarize of its job succeeded",
                None,
                None,
            ),
            (
                "a time",
                delayed,
                vec![],
                TaskKind::Fetch,
                "waits for the time its job starts at",
                Some(NOW),
                Some(LATER),
            ),
            ("nothing", usual, vec![started.clone()], TaskKind::Fetch, "attempt 1 runs at node-2/b", None, None),
            (
                "a back-off",
                usual,
                vec![started.clone(), failed],
                TaskKind::Fetch,
                "failed 1 times, last with egress_timeout; it is tried again",
                None,
                Some(LATER),
            ),
            (
                "a resume",
                delayed,
                vec![changed(JobChange::Paused)],
                TaskKind::Fetch,
                "its job is paused; resuming it lets it run",
                None,
                None,
            ),
            (
                "a restart",
                usual,
                vec![Event::JobCancelled { job: id("call-1") }],
                TaskKind::Fetch,
                "its job was cancelled; restarting the job opens it again",
                Some(NOW),
                None,
            ),
        ];
        for (what, options, events, kind, want, since, opens_at) in table {
            let mut job = call(options);
            events.iter().for_each(|event| job.evolve(NOW, event));
            let explained = told(&board(), &job, kind);
            assert_eq!(explained.gate.to_string(), want, "{what}");
            assert_eq!((explained.since, explained.opens_at), (since, opens_at), "{what}");
        }
        assert_eq!(
            board().explain(&AccountId::parse("a").unwrap(), &id("call-1"), &call(usual), TaskKind::Chat.whole(), ONE),
            None
        );
    }

    #[test]
    fn a_task_knows_what_of_its_account_comes_before_it() {
        let (board, job) = (board(), call(JobOptions::default()));
        let (acme, other) = (AccountId::parse("acme").unwrap(), AccountId::parse("other").unwrap());
        for (account, name) in [(&acme, "call-1"), (&other, "call-1"), (&acme, "call-2"), (&acme, "call-3")] {
            board.reconcile(account, &id(name), Some(&job), TaskLimits::default(), NOW);
        }
        let gate = |name: &str| board.explain(&acme, &id(name), &job, TaskKind::Fetch.whole(), ONE).unwrap().gate;
        assert!(matches!(gate("call-3"), Gate::Slot { running: 0, waiting: 4, before: 2, .. }), "{:?}", gate("call-3"));
        board.take(TaskClass::Net, ONE, NOW).unwrap();
        assert_eq!(gate("call-1"), Gate::Lease);
        assert!(matches!(gate("call-3"), Gate::Slot { running: 1, waiting: 3, before: 1, .. }), "{:?}", gate("call-3"));
    }
}

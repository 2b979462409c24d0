//! The tasks of a board as the operator sees them. The gateway asks for them.

use steward_cluster::clock::Timestamp;

use super::board::TaskBoard;
use super::in_hand::{ReadyTask, Running, TaskKey};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::task::{TASK_CLASSES, TaskClass, TaskId};
use crate::metrics;

/// A task as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    pub account: AccountId,
    pub job: JobId,
    pub task: TaskId,
    pub attempt: u32,
    pub running: bool,
    pub since: Timestamp,
    /// What keeps it from running; empty when it runs.
    pub waiting_for: &'static str,
}

impl TaskRow {
    fn of_running((key, running): (&TaskKey, &Running)) -> Self {
        let TaskKey { account, job, task } = key.clone();
        let Running { attempt, since, .. } = *running;
        Self { account, job, task, attempt, running: true, since, waiting_for: "" }
    }

    fn of_waiting(ready: &ReadyTask, waiting_for: &'static str) -> Self {
        let TaskKey { account, job, task } = ready.key.clone();
        Self { account, job, task, attempt: ready.attempt, running: false, since: ready.since, waiting_for }
    }
}

impl TaskBoard {
    /// Tells how many tasks stand at each gate, and how long the oldest one has waited for a slot.
    pub(super) fn measure(&self, now: Timestamp) {
        let state = self.state.lock();
        for (gate, count) in state.census.counts() {
            metrics::tasks_waiting(gate, "").set(f64::from(count));
        }
        for class in TASK_CLASSES {
            let queue = state.in_hand.waiting(class);
            let is_short = |ready: &&ReadyTask| state.in_hand.short(&ready.key).is_some();
            let short = queue.iter().filter(is_short).count();
            for (gate, waiting) in [("budget", short), ("slot", queue.len() - short)] {
                let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
                metrics::tasks_waiting(gate, class.as_str()).set(f64::from(waiting));
            }
            let at_slot = queue.iter().filter(|ready| !is_short(ready));
            let oldest = at_slot.map(|ready| now.since(ready.since)).max().unwrap_or_default();
            metrics::task_oldest_wait(class.as_str()).set(oldest.as_secs_f64());
        }
    }

    /// The running tasks, then the waiting ones in turn, at most `limit`; and how many there are beyond.
    #[must_use]
    pub fn rows(&self, limit: usize) -> (Vec<TaskRow>, usize) {
        let state = self.state.lock();
        let in_hand = &state.in_hand;
        let running = in_hand.running.iter().map(TaskRow::of_running);
        let waiting = |ready: &ReadyTask| {
            let slot =
                if ready.key.task.kind.class() == TaskClass::Cpu { "a free cpu slot" } else { "a free net slot" };
            let limit = || in_hand.reached(&ready.key).map(|_| "the limit of its account");
            let budget = || in_hand.short(&ready.key).map(|_| "the budget of its account");
            TaskRow::of_waiting(ready, limit().or_else(budget).unwrap_or(slot))
        };
        let cpu = in_hand.cpu.iter().map(waiting);
        let net = in_hand.net.iter().map(waiting);
        let total = in_hand.running.len() + in_hand.cpu.len() + in_hand.net.len();
        let rows: Vec<TaskRow> = running.chain(cpu).chain(net).take(limit).collect();
        let more = total - rows.len();
        (rows, more)
    }
}

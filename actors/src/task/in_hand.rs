//! What a board has in hand: tasks that wait, in turn over accounts, and tasks that run. The board keeps it under its lock.

use std::collections::{HashMap, HashSet};

use steward_cluster::clock::Timestamp;
use tokio_util::sync::CancellationToken;

use super::fair::FairQueue;
use super::leases::Lease;
use crate::domain::ids::{AccountId, JobId};
use crate::domain::task::{TaskClass, TaskKind};

/// One task of one job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TaskKey {
    pub(super) account: AccountId,
    pub(super) job: JobId,
    pub(super) task: TaskKind,
}

/// A task that waits for a worker.
#[derive(Clone, Debug)]
pub(super) struct ReadyTask {
    pub(super) key: TaskKey,
    /// The attempt its lease will start.
    pub(super) attempt: u32,
    pub(super) since: Timestamp,
}

/// An attempt at work.
pub(super) struct Running {
    pub(super) attempt: u32,
    /// The account knows of it.
    pub(super) is_leased: bool,
    pub(super) since: Timestamp,
    pub(super) cancel: CancellationToken,
}

/// Tasks that wait and tasks that run.
pub(super) struct InHand {
    pub(super) cpu: FairQueue<ReadyTask>,
    pub(super) net: FairQueue<ReadyTask>,
    queued: HashSet<TaskKey>,
    pub(super) running: HashMap<TaskKey, Running>,
}

impl InHand {
    pub(super) fn nothing() -> Self {
        Self { cpu: FairQueue::new(), net: FairQueue::new(), queued: HashSet::new(), running: HashMap::new() }
    }

    fn queue(&mut self, class: TaskClass) -> &mut FairQueue<ReadyTask> {
        match class {
            TaskClass::Cpu => &mut self.cpu,
            TaskClass::Net => &mut self.net,
        }
    }

    pub(super) fn enqueue(&mut self, ready: ReadyTask) {
        if self.queued.insert(ready.key.clone()) {
            let account = ready.key.account.clone();
            self.queue(ready.key.task.class()).push(&account, ready);
        }
    }

    /// Takes the next task of a class and counts it as running.
    pub(super) fn take(&mut self, class: TaskClass, now: Timestamp) -> Option<(ReadyTask, CancellationToken)> {
        let ready = self.queue(class).pop()?;
        self.queued.remove(&ready.key);
        let cancel = CancellationToken::new();
        let running = Running { attempt: ready.attempt, is_leased: false, since: now, cancel: cancel.clone() };
        self.running.insert(ready.key.clone(), running);
        Some((ready, cancel))
    }

    /// The leases of what runs.
    pub(super) fn held(&self) -> Vec<Lease> {
        let leased = self.running.iter().filter(|(_, running)| running.is_leased);
        let lease = |(key, running): (&TaskKey, &Running)| {
            let TaskKey { account, job, task } = key.clone();
            Lease { account, job, task, attempt: running.attempt }
        };
        leased.map(lease).collect()
    }

    pub(super) fn running_of(&self, class: TaskClass) -> usize {
        self.running.keys().filter(|key| key.task.class() == class).count()
    }

    /// Drops queued tasks of the job that are not ready any more.
    pub(super) fn forget(&mut self, account: &AccountId, job: &JobId, ready: &HashSet<TaskKind>) {
        let stays = |key: &TaskKey| key.account != *account || key.job != *job || ready.contains(&key.task);
        if self.queued.iter().all(stays) {
            return;
        }
        self.queued.retain(stays);
        self.cpu.retain(account, |ready| stays(&ready.key));
        self.net.retain(account, |ready| stays(&ready.key));
    }

    /// Drops all queued tasks of these accounts.
    pub(super) fn forget_all(&mut self, is_gone: &dyn Fn(&AccountId) -> bool) {
        let gone: Vec<TaskKey> = self.queued.iter().filter(|key| is_gone(&key.account)).cloned().collect();
        for key in gone {
            self.forget(&key.account, &key.job, &HashSet::new());
        }
    }

    pub(super) fn cancel(&self, account: &AccountId, job: &JobId) {
        let of_job = |key: &&TaskKey| key.account == *account && key.job == *job;
        for key in self.running.keys().filter(of_job) {
            self.running[key].cancel.cancel();
        }
    }
}

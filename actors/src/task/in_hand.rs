//! What a board has in hand: tasks that wait, in turn over accounts, tasks that run, and the slots they take. The board
//! keeps it under its lock.

use std::collections::{BTreeSet, HashMap, HashSet};

use steward_cluster::clock::Timestamp;
use tokio_util::sync::CancellationToken;

use super::fair::FairQueue;
use super::leases::Lease;
use crate::domain::ids::{AccountId, JobId};
use crate::domain::task::{TASK_CLASSES, TaskClass, TaskKind};

/// One task of one job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TaskKey {
    pub(super) account: AccountId,
    pub(super) job: JobId,
    pub(super) task: TaskKind,
}

/// How many tasks of each class run here at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    pub(super) cpu: usize,
    pub(super) net: usize,
}

impl Slots {
    fn of(self, class: TaskClass) -> usize {
        match class {
            TaskClass::Cpu => self.cpu,
            TaskClass::Net => self.net,
        }
    }
}

/// A task that waits for a worker.
#[derive(Clone, Debug)]
pub(super) struct ReadyTask {
    pub(super) key: TaskKey,
    /// The attempt its lease will start.
    pub(super) attempt: u32,
    pub(super) since: Timestamp,
}

impl ReadyTask {
    /// The lease that is to be taken.
    pub(super) fn lease(&self) -> Lease {
        let TaskKey { account, job, task } = self.key.clone();
        Lease { account, job, task, attempt: self.attempt }
    }
}

/// An attempt at work.
pub(super) struct Running {
    pub(super) attempt: u32,
    /// The account knows of it.
    pub(super) is_leased: bool,
    pub(super) since: Timestamp,
    pub(super) cancel: CancellationToken,
}

/// Tasks that wait, tasks that run, and tasks that are just given to workers of other nodes.
pub(super) struct InHand {
    pub(super) cpu: FairQueue<ReadyTask>,
    pub(super) net: FairQueue<ReadyTask>,
    queued: HashSet<TaskKey>,
    pub(super) running: HashMap<TaskKey, Running>,
    /// Taken for a worker of another node, whose lease is not in the store yet.
    lent: HashSet<TaskKey>,
    /// The slot kept for a task that another node was asked for.
    reserved: Option<TaskClass>,
}

impl InHand {
    pub(super) fn nothing() -> Self {
        Self {
            cpu: FairQueue::new(),
            net: FairQueue::new(),
            queued: HashSet::new(),
            running: HashMap::new(),
            lent: HashSet::new(),
            reserved: None,
        }
    }

    fn waiting(&self, class: TaskClass) -> &FairQueue<ReadyTask> {
        match class {
            TaskClass::Cpu => &self.cpu,
            TaskClass::Net => &self.net,
        }
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

    /// Whether the task is in somebody's hands already.
    pub(super) fn is_taken(&self, key: &TaskKey) -> bool {
        self.running.contains_key(key) || self.lent.contains(key)
    }

    fn has_free_slot(&self, class: TaskClass, slots: Slots) -> bool {
        self.running_of(class) + usize::from(self.reserved == Some(class)) < slots.of(class)
    }

    /// Takes the next task of a class when there is a slot for it, and counts it as running.
    pub(super) fn take(
        &mut self,
        class: TaskClass,
        slots: Slots,
        now: Timestamp,
    ) -> Option<(ReadyTask, CancellationToken)> {
        if !self.has_free_slot(class, slots) {
            return None;
        }
        let ready = self.queue(class).pop()?;
        self.queued.remove(&ready.key);
        let cancel = self.run(ready.key.clone(), ready.attempt, false, now);
        Some((ready, cancel))
    }

    fn run(&mut self, key: TaskKey, attempt: u32, is_leased: bool, now: Timestamp) -> CancellationToken {
        let cancel = CancellationToken::new();
        self.running.insert(key, Running { attempt, is_leased, since: now, cancel: cancel.clone() });
        cancel
    }

    /// Counts a task as running whose lease another node gave. None: an older attempt at it has not stopped yet.
    pub(super) fn take_in(&mut self, lease: &Lease, now: Timestamp) -> Option<CancellationToken> {
        let key = lease.key();
        (!self.is_taken(&key)).then(|| self.run(key, lease.attempt, true, now))
    }

    /// Keeps a slot free that nothing here wants.
    pub(super) fn reserve(&mut self, class: TaskClass, slots: Slots) -> bool {
        let is_spare = self.reserved.is_none() && self.waiting(class).is_empty() && self.has_free_slot(class, slots);
        if is_spare {
            self.reserved = Some(class);
        }
        is_spare
    }

    pub(super) fn end_reservation(&mut self) {
        self.reserved = None;
    }

    /// The kinds of task that wait and find no slot here.
    pub(super) fn spare_kinds(&self, slots: Slots) -> BTreeSet<TaskKind> {
        let full = TASK_CLASSES.into_iter().filter(|class| !self.has_free_slot(*class, slots));
        full.flat_map(|class| self.waiting(class).iter()).map(|ready| ready.key.task).collect()
    }

    /// Takes the next task of these kinds that would find no slot here.
    pub(super) fn lend(&mut self, kinds: &[TaskKind], slots: Slots) -> Option<ReadyTask> {
        let fits = |ready: &ReadyTask| kinds.contains(&ready.key.task);
        let next = |class| (!self.has_free_slot(class, slots)).then(|| self.queue(class).pop_where(fits)).flatten();
        let ready = TASK_CLASSES.into_iter().find_map(next)?;
        self.queued.remove(&ready.key);
        self.lent.insert(ready.key.clone());
        Some(ready)
    }

    pub(super) fn end_lending(&mut self, key: &TaskKey) {
        self.lent.remove(key);
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

//! What a board has in hand: tasks that wait, in turn over accounts, tasks that run, and the slots they take. The board
//! keeps it under its lock.

use std::collections::{BTreeSet, HashMap, HashSet};

use steward_cluster::clock::Timestamp;
use tokio_util::sync::CancellationToken;

use super::fair::{FairQueue, Rules};
use super::funds::Funds;
use super::leases::Lease;
use crate::domain::budget::{Amounts, Short};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::Priority;
use crate::domain::task::{Reached, TASK_CLASSES, TaskClass, TaskId, TaskKind, TaskLimits};
use crate::metrics;

/// One task of one job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TaskKey {
    pub(super) account: AccountId,
    pub(super) job: JobId,
    pub(super) task: TaskId,
}

impl TaskKey {
    /// The lease of an attempt at it.
    pub(super) fn lease(self, attempt: u32) -> Lease {
        let Self { account, job, task } = self;
        Lease { account, job, task, attempt }
    }
}

/// How many tasks of each class run here at a time.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    pub cpu: usize,
    pub net: usize,
}

impl Slots {
    pub(super) fn of(self, class: TaskClass) -> usize {
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
    pub(super) priority: Priority,
    pub(super) since: Timestamp,
}

impl ReadyTask {
    /// The lease that is to be taken.
    pub(super) fn lease(&self) -> Lease {
        self.key.clone().lease(self.attempt)
    }
}

/// Turns of accounts, within their limits.
struct Turns<'a> {
    in_hand: &'a InHand,
    wants: &'a dyn Fn(TaskKind) -> bool,
}

impl Rules<ReadyTask> for Turns<'_> {
    fn weight(&self, account: &AccountId) -> u32 {
        self.in_hand.limits.get(account).map_or(1, |limits| limits.weight)
    }

    fn may(&self, account: &AccountId) -> bool {
        let Some(max) = self.in_hand.limits.get(account).and_then(|limits| limits.running_max) else { return true };
        let (running, _) = self.in_hand.running_for(account, |_| false);
        u32::try_from(running).is_ok_and(|running| running < max)
    }

    fn fits(&self, _: &AccountId, ready: &ReadyTask) -> bool {
        (self.wants)(ready.key.task.kind)
            && self.in_hand.reached(&ready.key).is_none()
            && self.in_hand.short(&ready.key).is_none()
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
    /// The tasks of each job that are in the queues.
    queued: HashMap<(AccountId, JobId), BTreeSet<TaskId>>,
    pub(super) running: HashMap<TaskKey, Running>,
    /// Taken for a worker of another node, whose lease is not in the store yet.
    lent: HashSet<TaskKey>,
    /// Of accounts led here, what workers of other nodes run.
    abroad: HashMap<(AccountId, JobId), BTreeSet<TaskId>>,
    /// Of accounts led here, those the operator set.
    limits: HashMap<AccountId, TaskLimits>,
    pub(super) funds: Funds,
    /// The slot kept for a task that another node was asked for.
    reserved: Option<TaskClass>,
}

impl InHand {
    pub(super) fn nothing() -> Self {
        Self {
            cpu: FairQueue::new(),
            net: FairQueue::new(),
            queued: HashMap::new(),
            running: HashMap::new(),
            lent: HashSet::new(),
            abroad: HashMap::new(),
            limits: HashMap::new(),
            funds: Funds::default(),
            reserved: None,
        }
    }

    pub(super) fn waiting(&self, class: TaskClass) -> &FairQueue<ReadyTask> {
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
        let TaskKey { account, job, task } = ready.key.clone();
        if self.queued.entry((account.clone(), job)).or_default().insert(task) {
            self.queue(task.kind.class()).push(&account, ready.priority, ready);
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
        self.funds.look_at(now);
        if !self.has_free_slot(class, slots) {
            return None;
        }
        let ready = self.pop(class, &|_| true)?;
        self.dequeued(&ready.key);
        metrics::task_waited(class.as_str(), now.since(ready.since));
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
        let waiting = full.flat_map(|class| self.waiting(class).iter());
        let may_run = |ready: &&ReadyTask| self.reached(&ready.key).is_none() && self.short(&ready.key).is_none();
        waiting.filter(may_run).map(|ready| ready.key.task.kind).collect()
    }

    /// Takes the next task of these kinds that would find no slot here.
    pub(super) fn lend(&mut self, kinds: &[TaskKind], slots: Slots) -> Option<ReadyTask> {
        let fits = |kind: TaskKind| kinds.contains(&kind);
        let next = |class| (!self.has_free_slot(class, slots)).then(|| self.pop(class, &fits)).flatten();
        let ready = TASK_CLASSES.into_iter().find_map(next)?;
        self.dequeued(&ready.key);
        self.lent.insert(ready.key.clone());
        Some(ready)
    }

    /// The next task of a class that its account may run, of kinds that are wanted.
    fn pop(&mut self, class: TaskClass, wants: &dyn Fn(TaskKind) -> bool) -> Option<ReadyTask> {
        let mut queue = std::mem::replace(self.queue(class), FairQueue::new());
        let next = queue.pop(&Turns { in_hand: self, wants });
        *self.queue(class) = queue;
        next
    }

    /// The limit of its account that a task meets, if it does. The account itself has the last word.
    pub(super) fn reached(&self, key: &TaskKey) -> Option<Reached> {
        let limits = self.limits.get(&key.account)?;
        let counted = limits.counted_as(key.task.kind);
        let (running, of_kind) = self.running_for(&key.account, |kind| limits.counted_as(kind) == counted);
        limits.reached(counted, running, of_kind)
    }

    /// The budget of its account that a task waits for, if it does. The account itself has the last word.
    pub(super) fn short(&self, key: &TaskKey) -> Option<Short> {
        if !self.funds.has(&key.account) {
            return None;
        }
        let here = self.running.keys().chain(&self.lent).filter(|other| other.account == key.account);
        let here = here.map(|other| self.funds.of(&other.account, &other.job, other.task));
        let abroad = self.abroad.iter().filter(|((of, _), _)| *of == key.account);
        let abroad = abroad.flat_map(|((of, job), tasks)| tasks.iter().map(|task| self.funds.of(of, job, *task)));
        self.funds.short(key, Amounts::sum(here.chain(abroad)))
    }

    /// How many tasks of an account run here and elsewhere, and how many of them are of certain kinds.
    fn running_for(&self, account: &AccountId, is_counted: impl Fn(TaskKind) -> bool) -> (usize, usize) {
        let here = self.running.keys().chain(&self.lent).filter(|key| key.account == *account).map(|key| key.task);
        let abroad = self.abroad.iter().filter(|((of, _), _)| of == account).flat_map(|(_, tasks)| tasks).copied();
        here.chain(abroad).fold((0, 0), |(all, same), one| (all + 1, same + usize::from(is_counted(one.kind))))
    }

    /// The operator's limits of an account led here.
    pub(super) fn limit(&mut self, account: &AccountId, limits: TaskLimits) {
        if limits.is_usual() {
            self.limits.remove(account);
        } else {
            self.limits.insert(account.clone(), limits);
        }
    }

    /// What workers of other nodes run of a job.
    pub(super) fn runs_abroad(&mut self, account: &AccountId, job: &JobId, tasks: BTreeSet<TaskId>) {
        let name = (account.clone(), job.clone());
        if tasks.is_empty() {
            self.abroad.remove(&name);
        } else {
            self.abroad.insert(name, tasks);
        }
    }

    fn dequeued(&mut self, key: &TaskKey) {
        let job = (key.account.clone(), key.job.clone());
        if let Some(tasks) = self.queued.get_mut(&job) {
            tasks.remove(&key.task);
            if tasks.is_empty() {
                self.queued.remove(&job);
            }
        }
    }

    pub(super) fn end_lending(&mut self, key: &TaskKey) {
        self.lent.remove(key);
    }

    /// The leases of what runs.
    pub(super) fn held(&self) -> Vec<Lease> {
        let leased = self.running.iter().filter(|(_, running)| running.is_leased);
        leased.map(|(key, running)| key.clone().lease(running.attempt)).collect()
    }

    pub(super) fn running_of(&self, class: TaskClass) -> usize {
        self.running.keys().filter(|key| key.task.kind.class() == class).count()
    }

    /// Drops queued tasks of the job that are not ready any more.
    pub(super) fn forget(&mut self, account: &AccountId, job: &JobId, ready: &HashSet<TaskId>) {
        let name = (account.clone(), job.clone());
        let Some(tasks) = self.queued.get_mut(&name) else { return };
        let before = tasks.len();
        tasks.retain(|task| ready.contains(task));
        if tasks.len() == before {
            return;
        }
        if tasks.is_empty() {
            self.queued.remove(&name);
        }
        let stays = |waiting: &ReadyTask| waiting.key.job != *job || ready.contains(&waiting.key.task);
        self.cpu.retain(account, stays);
        self.net.retain(account, stays);
    }

    /// Drops all queued tasks of these accounts.
    pub(super) fn forget_all(&mut self, is_gone: &dyn Fn(&AccountId) -> bool) {
        let gone: Vec<_> = self.queued.keys().filter(|(account, _)| is_gone(account)).cloned().collect();
        for (account, job) in gone {
            self.forget(&account, &job, &HashSet::new());
        }
        self.abroad.retain(|(account, _), _| !is_gone(account));
        self.limits.retain(|account, _| !is_gone(account));
        self.funds.forget(is_gone);
    }

    pub(super) fn cancel(&self, account: &AccountId, job: &JobId) {
        let of_job = |key: &&TaskKey| key.account == *account && key.job == *job;
        for key in self.running.keys().filter(of_job) {
            self.running[key].cancel.cancel();
        }
    }
}

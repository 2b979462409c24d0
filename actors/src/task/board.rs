//! Which tasks are ready and which run, as the shards this node leads say.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use parking_lot::Mutex;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::fair::FairQueue;
use super::leases::{Lease, Leases};
use crate::domain::account::{Event, Mark};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{Job, JobState, TaskState};
use crate::domain::task::{TaskClass, TaskKind};
use crate::shard::Observer;

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
    since: Timestamp,
}

/// A lease in the store whose holder does not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignLease {
    pub(super) lease: Lease,
    pub(super) worker: String,
}

/// A task as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    pub account: AccountId,
    pub job: JobId,
    pub task: TaskKind,
    pub attempt: u32,
    pub running: bool,
    pub since: Timestamp,
    /// What keeps it from running; empty when it runs.
    pub waiting_for: &'static str,
}

/// What the board was told and has not looked at yet.
#[derive(Default)]
pub(super) struct News {
    pub(super) shards: Vec<ShardId>,
    pub(super) jobs: HashSet<(AccountId, JobId)>,
}

struct Running {
    attempt: u32,
    /// The account knows of it.
    is_leased: bool,
    since: Timestamp,
    cancel: CancellationToken,
}

struct State {
    news: News,
    cpu: FairQueue<ReadyTask>,
    net: FairQueue<ReadyTask>,
    queued: HashSet<TaskKey>,
    running: HashMap<TaskKey, Running>,
}

/// The tasks of the shards this node leads. An [`Observer`]; the workers read it.
pub struct TaskBoard {
    state: Mutex<State>,
    changed: Notify,
    scratch: PathBuf,
    /// Those of other nodes' workers.
    pub(super) leases: Leases,
}

impl TaskBoard {
    /// An empty board. Jobs get their scratch folders below `scratch`.
    #[must_use]
    pub fn new(scratch: PathBuf) -> Self {
        let state = State {
            news: News::default(),
            cpu: FairQueue::new(),
            net: FairQueue::new(),
            queued: HashSet::new(),
            running: HashMap::new(),
        };
        Self { state: Mutex::new(state), changed: Notify::new(), scratch, leases: Leases::default() }
    }

    /// The running tasks, then the waiting ones in turn, at most `limit`; and how many there are beyond.
    #[must_use]
    pub fn rows(&self, limit: usize) -> (Vec<TaskRow>, usize) {
        let state = self.state.lock();
        let running = state.running.iter().map(|(key, running)| {
            let TaskKey { account, job, task } = key.clone();
            TaskRow {
                account,
                job,
                task,
                attempt: running.attempt,
                running: true,
                since: running.since,
                waiting_for: "",
            }
        });
        let waiting = |ready: &ReadyTask, waiting_for| {
            let TaskKey { account, job, task } = ready.key.clone();
            TaskRow { account, job, task, attempt: ready.attempt, running: false, since: ready.since, waiting_for }
        };
        let cpu = state.cpu.iter().map(|ready| waiting(ready, "a free cpu slot"));
        let net = state.net.iter().map(|ready| waiting(ready, "a free net slot"));
        let total = state.running.len() + state.cpu.len() + state.net.len();
        let rows: Vec<TaskRow> = running.chain(cpu).chain(net).take(limit).collect();
        let more = total - rows.len();
        (rows, more)
    }

    /// Where a job's attempts keep their files.
    pub(super) fn scratch(&self, account: &AccountId, job: &JobId) -> PathBuf {
        self.scratch.join(account.as_str()).join(job.as_str())
    }

    pub(super) fn scratch_root(&self) -> &std::path::Path {
        &self.scratch
    }

    /// Waits until something may have changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn take_news(&self) -> News {
        std::mem::take(&mut self.state.lock().news)
    }

    /// Brings the board in line with a job as the store has it. Returns leases that nobody here holds.
    pub(super) fn reconcile(
        &self,
        account: &AccountId,
        id: &JobId,
        job: Option<&Job>,
        now: Timestamp,
    ) -> Vec<ForeignLease> {
        let mut state = self.state.lock();
        let open = job.filter(|job| job.state == JobState::Running);
        let key = |task: TaskKind| TaskKey { account: account.clone(), job: id.clone(), task };
        let mut foreign = vec![];
        let mut ready = HashSet::new();
        for (kind, task) in open.into_iter().flat_map(|job| &job.tasks) {
            let key = key(*kind);
            let runs_here = state.running.contains_key(&key);
            match task.state {
                TaskState::Ready if !runs_here => {
                    ready.insert(*kind);
                    state.enqueue(ReadyTask { key, attempt: task.attempt + 1, since: now });
                }
                TaskState::Running if !runs_here => {
                    let worker = task.worker.clone().unwrap_or_default();
                    let TaskKey { account, job, task: kind } = key;
                    foreign.push(ForeignLease {
                        lease: Lease { account, job, task: kind, attempt: task.attempt },
                        worker,
                    });
                }
                TaskState::Ready
                | TaskState::Running
                | TaskState::Blocked
                | TaskState::BackingOff
                | TaskState::Succeeded
                | TaskState::Failed => {}
            }
        }
        state.forget(account, id, &ready);
        if open.is_none() {
            state.cancel(account, id);
        }
        foreign
    }

    /// Takes the next ready task of a class and counts it as running.
    pub(super) fn take(&self, class: TaskClass, now: Timestamp) -> Option<(ReadyTask, CancellationToken)> {
        let mut state = self.state.lock();
        let ready = state.queue(class).pop()?;
        state.queued.remove(&ready.key);
        let cancel = CancellationToken::new();
        let running = Running { attempt: ready.attempt, is_leased: false, since: now, cancel: cancel.clone() };
        state.running.insert(ready.key.clone(), running);
        Some((ready, cancel))
    }

    /// The account has given the lease of what runs.
    pub(super) fn leased(&self, key: &TaskKey) {
        if let Some(running) = self.state.lock().running.get_mut(key) {
            running.is_leased = true;
        }
    }

    /// The leases of what runs.
    pub(super) fn held(&self) -> Vec<Lease> {
        let state = self.state.lock();
        let leased = state.running.iter().filter(|(_, running)| running.is_leased);
        let lease = |(key, running): (&TaskKey, &Running)| {
            let TaskKey { account, job, task } = key.clone();
            Lease { account, job, task, attempt: running.attempt }
        };
        leased.map(lease).collect()
    }

    /// Tells an attempt to stop, if it still runs.
    pub(super) fn cancel_attempt(&self, lease: &Lease) {
        let key = TaskKey { account: lease.account.clone(), job: lease.job.clone(), task: lease.task };
        let state = self.state.lock();
        if let Some(running) = state.running.get(&key).filter(|running| running.attempt == lease.attempt) {
            running.cancel.cancel();
        }
    }

    /// An attempt is over, however it ended: look at its job again.
    pub(super) fn ended(&self, key: &TaskKey) {
        let mut state = self.state.lock();
        state.running.remove(key);
        state.news.jobs.insert((key.account.clone(), key.job.clone()));
        drop(state);
        self.changed.notify_one();
    }

    /// Cancels everything that runs.
    pub(super) fn cancel_all(&self) {
        self.state.lock().running.values().for_each(|running| running.cancel.cancel());
    }

    pub(super) fn running_of(&self, class: TaskClass) -> usize {
        self.state.lock().running.keys().filter(|key| key.task.class() == class).count()
    }

    pub(super) fn job_runs(&self, account: &AccountId, job: &JobId) -> bool {
        self.state.lock().running.keys().any(|key| key.account == *account && key.job == *job)
    }

    fn runs(&self, account: &AccountId, job: &JobId, task: TaskKind) -> bool {
        self.state.lock().running.contains_key(&TaskKey { account: account.clone(), job: job.clone(), task })
    }

    fn look_at(&self, account: &AccountId, job: &JobId, cancel: bool) {
        let mut state = self.state.lock();
        state.news.jobs.insert((account.clone(), job.clone()));
        if cancel {
            state.cancel(account, job);
        }
        drop(state);
        self.changed.notify_one();
    }
}

impl State {
    fn queue(&mut self, class: TaskClass) -> &mut FairQueue<ReadyTask> {
        match class {
            TaskClass::Cpu => &mut self.cpu,
            TaskClass::Net => &mut self.net,
        }
    }

    fn enqueue(&mut self, ready: ReadyTask) {
        if self.queued.insert(ready.key.clone()) {
            let account = ready.key.account.clone();
            self.queue(ready.key.task.class()).push(&account, ready);
        }
    }

    /// Drops queued tasks of the job that are not ready any more.
    fn forget(&mut self, account: &AccountId, job: &JobId, ready: &HashSet<TaskKind>) {
        let stays = |key: &TaskKey| key.account != *account || key.job != *job || ready.contains(&key.task);
        if self.queued.iter().all(stays) {
            return;
        }
        self.queued.retain(stays);
        self.cpu.retain(account, |ready| stays(&ready.key));
        self.net.retain(account, |ready| stays(&ready.key));
    }

    fn cancel(&self, account: &AccountId, job: &JobId) {
        let of_job = |key: &&TaskKey| key.account == *account && key.job == *job;
        for key in self.running.keys().filter(of_job) {
            self.running[key].cancel.cancel();
        }
    }
}

impl Observer for TaskBoard {
    fn applied(&self, account: &AccountId, _seq: u64, _at: Timestamp, event: &Event) {
        match event {
            Event::JobRequested { job, .. }
            | Event::JobSucceeded { job }
            | Event::TaskSucceeded { job, .. }
            | Event::TaskReleased { job, .. } => self.look_at(account, job, false),
            // By a worker of another node: its lease wants watching.
            Event::TaskStarted { job, task, .. } if !self.runs(account, job, *task) => {
                self.look_at(account, job, false);
            }
            Event::JobFailed { job, .. } | Event::JobCancelled { job } => self.look_at(account, job, true),
            Event::AccountCreated { .. }
            | Event::ApiKeyCreated(_)
            | Event::ApiKeyRevoked { .. }
            | Event::PlaybookPut { .. }
            | Event::PlaybookDeleted { .. }
            | Event::PlaybookFailed { .. }
            | Event::SourceCreated(_)
            | Event::SourceDeleted { .. }
            | Event::WebhookAccepted(_)
            | Event::EndpointCreated(_)
            | Event::EndpointDeleted { .. }
            | Event::EndpointDisabled { .. }
            | Event::DeliverySucceeded { .. }
            | Event::DeliveryFailed { .. }
            | Event::TaskProgressed { .. }
            | Event::TaskCheckpointed { .. }
            | Event::TaskFailed { .. }
            | Event::TaskStarted { .. }
            | Event::AiCalled { .. }
            | Event::DocumentIndexed { .. } => {}
        }
    }

    /// A job that another node leads may run here, and its files lie here.
    fn followed(&self, account: &AccountId, event: &Event) {
        if let Event::JobSucceeded { job } | Event::JobFailed { job, .. } | Event::JobCancelled { job } = event {
            self.look_at(account, job, !matches!(event, Event::JobSucceeded { .. }));
        }
    }

    fn marked(&self, _account: &AccountId, _mark: &Mark) {}

    fn led(&self, shard: ShardId) {
        self.state.lock().news.shards.push(shard);
        self.changed.notify_one();
    }

    /// What waits is the next leader's to give out. What runs goes on, and reports to it.
    fn yielded(&self, is_of_shard: &dyn Fn(&AccountId) -> bool) {
        let mut state = self.state.lock();
        let gone: Vec<TaskKey> = state.queued.iter().filter(|key| is_of_shard(&key.account)).cloned().collect();
        for key in gone {
            state.forget(&key.account, &key.job, &HashSet::new());
        }
        drop(state);
        self.leases.forget(is_of_shard);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::job::JobKind;

    const NOW: Timestamp = Timestamp(1_000);

    fn call() -> (AccountId, JobId, Job) {
        let job = Job::requested(JobKind::Call, json!({}), 1, 0, NOW);
        (AccountId::parse("acme").unwrap(), JobId::parse("call-1").unwrap(), job)
    }

    fn board() -> TaskBoard {
        TaskBoard::new(PathBuf::from("scratch"))
    }

    #[test]
    fn a_ready_task_is_queued_once_and_taken_once() {
        let (account, id, job) = call();
        let board = board();
        assert_eq!(board.reconcile(&account, &id, Some(&job), NOW), []);
        board.reconcile(&account, &id, Some(&job), NOW);
        let (ready, _) = board.take(TaskClass::Net, NOW).unwrap();
        assert_eq!((ready.key.task, ready.attempt), (TaskKind::Fetch, 1));
        board.reconcile(&account, &id, Some(&job), NOW); // The store does not know of the lease yet.
        assert!(board.take(TaskClass::Net, NOW).is_none());
    }

    #[test]
    fn a_lease_nobody_holds_is_reported() {
        let (account, id, mut job) = call();
        let fetch = job.tasks.get_mut(&TaskKind::Fetch).unwrap();
        (fetch.state, fetch.attempt, fetch.worker) = (TaskState::Running, 2, Some("node-9/old".to_owned()));
        let foreign = board().reconcile(&account, &id, Some(&job), NOW);
        assert_eq!((foreign[0].lease.attempt, foreign[0].worker.as_str()), (2, "node-9/old"));
    }

    #[test]
    fn only_what_is_leased_is_renewed_and_only_its_own_attempt_is_stopped() {
        let (account, id, job) = call();
        let board = board();
        board.reconcile(&account, &id, Some(&job), NOW);
        let (ready, cancel) = board.take(TaskClass::Net, NOW).unwrap();
        assert_eq!(board.held(), [], "the account may not know of it yet");
        board.leased(&ready.key);
        let held = board.held();
        let [lease] = held.as_slice() else { panic!("one attempt runs") };
        board.cancel_attempt(&Lease { attempt: 2, ..lease.clone() });
        assert!(!cancel.is_cancelled());
        board.cancel_attempt(lease);
        assert!(cancel.is_cancelled());
    }

    #[test]
    fn a_job_that_is_cancelled_elsewhere_stops_what_runs_here() {
        let (account, id, job) = call();
        let board = board();
        board.reconcile(&account, &id, Some(&job), NOW);
        let (_, cancel) = board.take(TaskClass::Net, NOW).unwrap();
        board.followed(&account, &Event::JobSucceeded { job: id.clone() });
        assert!(!cancel.is_cancelled(), "an attempt of a job that succeeded has reported");
        board.followed(&account, &Event::JobCancelled { job: id });
        assert!(cancel.is_cancelled());
    }

    #[test]
    fn an_ended_job_is_cancelled_and_leaves_the_queue() {
        let (account, id, job) = call();
        let board = board();
        board.reconcile(&account, &id, Some(&job), NOW);
        let (ready, cancel) = board.take(TaskClass::Net, NOW).unwrap();
        board.applied(&account, 2, NOW, &Event::JobCancelled { job: id.clone() });
        assert!(cancel.is_cancelled());
        board.ended(&ready.key);
        board.reconcile(&account, &id, None, NOW);
        assert_eq!(board.rows(10), (vec![], 0));
    }
}

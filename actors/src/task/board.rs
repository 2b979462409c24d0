//! Which tasks are ready and which run, as the shards this node leads say, and what was taken in from other nodes.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::census::Census;
use super::in_hand::{InHand, ReadyTask, Slots, TaskKey};
use super::leases::{Lease, Leases};
use crate::domain::budget::{Purse, Tariff};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{Job, JobState, Task, TaskState};
use crate::domain::task::{TaskClass, TaskId, TaskLimits};

/// A lease in the store whose holder does not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignLease {
    pub(super) lease: Lease,
    pub(super) worker: String,
}

/// What the board was told and has not looked at yet.
#[derive(Default)]
pub(super) struct News {
    pub(super) shards: Vec<ShardId>,
    pub(super) jobs: HashSet<(AccountId, JobId)>,
    /// Whose limits have changed.
    pub(super) accounts: HashSet<AccountId>,
}

pub(super) struct State {
    news: News,
    pub(super) in_hand: InHand,
    pub(super) census: Census,
}

/// The tasks of the shards this node leads. An [`Observer`](crate::shard::Observer); the workers read it.
pub struct TaskBoard {
    pub(super) state: Mutex<State>,
    changed: Notify,
    settled: Notify,
    scratch: PathBuf,
    /// Those of other nodes' workers.
    pub(super) leases: Leases,
}

impl TaskBoard {
    /// An empty board. Jobs get their scratch folders below `scratch`.
    #[must_use]
    pub fn new(scratch: PathBuf) -> Self {
        let state = State { news: News::default(), in_hand: InHand::nothing(), census: Census::default() };
        let (changed, settled, leases) = (Notify::new(), Notify::new(), Leases::default());
        Self { state: Mutex::new(state), changed, settled, scratch, leases }
    }

    /// The same board, which knows what models cost.
    #[must_use]
    pub fn with_tariff(self, tariff: Arc<Tariff>) -> Self {
        self.state.lock().in_hand.funds.tariff = tariff;
        self
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

    /// Something may have changed.
    pub(super) fn look(&self) {
        self.changed.notify_one();
    }

    /// What could be started has been.
    pub(super) fn settle(&self) {
        self.settled.notify_one();
    }

    /// Waits until what could be started has been: what waits now is left over.
    pub(super) async fn settled(&self) {
        self.settled.notified().await;
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
        limits: TaskLimits,
        now: Timestamp,
    ) -> Vec<ForeignLease> {
        let State { in_hand, census, .. } = &mut *self.state.lock();
        let open = job.filter(|job| job.state == JobState::Running);
        census.note(account, id, open);
        in_hand.limit(account, limits);
        in_hand.funds.note(account, id, open);
        let priority = open.map(|job| job.options.priority).unwrap_or_default();
        let may_start = open.is_some_and(|job| !job.is_paused);
        let key = |task: TaskId| TaskKey { account: account.clone(), job: id.clone(), task };
        let mut foreign = vec![];
        let mut ready = HashSet::new();
        let mut abroad = BTreeSet::new();
        for (name, task) in open.into_iter().flat_map(longest_first) {
            let key = key(*name);
            let runs_here = in_hand.running.contains_key(&key);
            match task.state {
                TaskState::Ready if may_start && !in_hand.is_taken(&key) => {
                    ready.insert(*name);
                    in_hand.enqueue(ReadyTask { key, attempt: task.attempt + 1, priority, since: now });
                }
                TaskState::Running if !runs_here => {
                    abroad.insert(*name);
                    let worker = task.worker.clone().unwrap_or_default();
                    foreign.push(ForeignLease { lease: key.lease(task.attempt), worker });
                }
                TaskState::Ready
                | TaskState::Running
                | TaskState::Blocked
                | TaskState::Delayed
                | TaskState::BackingOff
                | TaskState::Succeeded
                | TaskState::Failed => {}
            }
        }
        in_hand.forget(account, id, &ready);
        in_hand.runs_abroad(account, id, abroad);
        if !may_start {
            in_hand.cancel(account, id);
        }
        foreign
    }

    /// Takes the next ready task of a class when there is a slot for it, and counts it as running.
    pub(super) fn take(
        &self,
        class: TaskClass,
        slots: Slots,
        now: Timestamp,
    ) -> Option<(ReadyTask, CancellationToken)> {
        self.state.lock().in_hand.take(class, slots, now)
    }

    /// Counts a task as running whose lease another node gave. None: an older attempt at it has not stopped yet.
    pub(super) fn take_in(&self, lease: &Lease, now: Timestamp) -> Option<CancellationToken> {
        self.state.lock().in_hand.take_in(lease, now)
    }

    /// The account has given the lease of what runs.
    pub(super) fn leased(&self, key: &TaskKey) {
        if let Some(running) = self.state.lock().in_hand.running.get_mut(key) {
            running.is_leased = true;
        }
    }

    /// The leases of what runs.
    pub(super) fn held(&self) -> Vec<Lease> {
        self.state.lock().in_hand.held()
    }

    /// Tells an attempt to stop, if it still runs.
    pub(super) fn cancel_attempt(&self, lease: &Lease) {
        let key = TaskKey { account: lease.account.clone(), job: lease.job.clone(), task: lease.task };
        let state = self.state.lock();
        if let Some(running) = state.in_hand.running.get(&key).filter(|running| running.attempt == lease.attempt) {
            running.cancel.cancel();
        }
    }

    /// An attempt is over, however it ended: look at its job again.
    pub(super) fn ended(&self, key: &TaskKey) {
        let mut state = self.state.lock();
        state.in_hand.running.remove(key);
        state.news.jobs.insert((key.account.clone(), key.job.clone()));
        drop(state);
        self.look();
    }

    /// Cancels everything that runs.
    pub(super) fn cancel_all(&self) {
        self.state.lock().in_hand.running.values().for_each(|running| running.cancel.cancel());
    }

    pub(super) fn running_of(&self, class: TaskClass) -> usize {
        self.state.lock().in_hand.running_of(class)
    }

    pub(super) fn job_runs(&self, account: &AccountId, job: &JobId) -> bool {
        self.state.lock().in_hand.running.keys().any(|key| key.account == *account && key.job == *job)
    }

    pub(super) fn runs(&self, account: &AccountId, job: &JobId, task: TaskId) -> bool {
        self.state.lock().in_hand.running.contains_key(&TaskKey { account: account.clone(), job: job.clone(), task })
    }

    pub(super) fn look_at(&self, account: &AccountId, job: &JobId, cancel: bool) {
        let mut state = self.state.lock();
        state.news.jobs.insert((account.clone(), job.clone()));
        if cancel {
            state.in_hand.cancel(account, job);
        }
        drop(state);
        self.look();
    }

    /// The limits of an account have changed.
    pub(super) fn limits_changed(&self, account: &AccountId) {
        self.state.lock().news.accounts.insert(account.clone());
        self.look();
    }

    /// Keeps to the limits of an account from now on.
    pub(super) fn limit(&self, account: &AccountId, limits: TaskLimits) {
        self.state.lock().in_hand.limit(account, limits);
    }

    /// Keeps to the budgets of an account from now on. Says whether it had none before: then its jobs are to be looked at.
    pub(super) fn fund(&self, account: &AccountId, purse: Purse) -> bool {
        self.state.lock().in_hand.funds.set(account, purse)
    }

    /// Whether the budgets of an account are to be read again: it has some, or nobody knows that it has none.
    pub(super) fn may_have_budgets(&self, account: &AccountId) -> bool {
        self.state.lock().in_hand.funds.may_have(account)
    }

    pub(super) fn look_at_shard(&self, shard: ShardId) {
        self.state.lock().news.shards.push(shard);
        self.look();
    }
}

/// The tasks of a job in the order they are queued in. What is done whole takes longer than parts of the same recording:
/// queued behind them, one node would be at it while all others have nothing left to do.
fn longest_first(job: &Job) -> impl Iterator<Item = (&TaskId, &Task)> {
    let whole = job.tasks.iter().filter(|(name, _)| name.part == 0);
    whole.chain(job.tasks.iter().filter(|(name, _)| name.part > 0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::account::Event;
    use crate::domain::job::{JobKind, Split};
    use crate::domain::task::TaskKind;
    use crate::shard::Observer as _;

    const NOW: Timestamp = Timestamp(1_000);
    const ONE_EACH: Slots = Slots { cpu: 1, net: 1 };

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
        assert_eq!(board.reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW), []);
        board.reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW);
        let (ready, _) = board.take(TaskClass::Net, ONE_EACH, NOW).unwrap();
        assert_eq!((ready.key.task, ready.attempt), (TaskKind::Fetch.whole(), 1));
        board.reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW); // The store does not know of the lease yet.
        assert!(board.take(TaskClass::Net, ONE_EACH, NOW).is_none());
    }

    #[test]
    fn the_whole_sound_is_queued_before_the_chunks_beside_it() {
        let mut job = Job::requested(JobKind::Media(TaskKind::Normalize), json!({}), 1, 0, NOW);
        for done in [TaskKind::Fetch, TaskKind::Probe] {
            job.tasks.get_mut(&done.whole()).unwrap().state = TaskState::Succeeded;
        }
        job.split(Split { chunks: 3, has_sound: true });
        let (account, id) = (AccountId::parse("acme").unwrap(), JobId::parse("normalize-1").unwrap());
        let board = board();
        board.reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW);
        let take = || board.take(TaskClass::Cpu, Slots { cpu: 9, net: 0 }, NOW);
        let order: Vec<String> = std::iter::from_fn(take).map(|(ready, _)| ready.key.task.to_string()).collect();
        assert_eq!(order, ["sound", "encode-1", "encode-2", "encode-3"]);
    }

    #[test]
    fn a_lease_nobody_holds_is_reported() {
        let (account, id, mut job) = call();
        let fetch = job.tasks.get_mut(&TaskKind::Fetch.whole()).unwrap();
        (fetch.state, fetch.attempt, fetch.worker) = (TaskState::Running, 2, Some("node-9/old".to_owned()));
        let foreign = board().reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW);
        assert_eq!((foreign[0].lease.attempt, foreign[0].worker.as_str()), (2, "node-9/old"));
    }

    #[test]
    fn only_what_is_leased_is_renewed_and_only_its_own_attempt_is_stopped() {
        let (account, id, job) = call();
        let board = board();
        board.reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW);
        let (ready, cancel) = board.take(TaskClass::Net, ONE_EACH, NOW).unwrap();
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
        board.reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW);
        let (_, cancel) = board.take(TaskClass::Net, ONE_EACH, NOW).unwrap();
        board.followed(&account, &Event::JobSucceeded { job: id.clone() });
        assert!(!cancel.is_cancelled(), "an attempt of a job that succeeded has reported");
        board.followed(&account, &Event::JobCancelled { job: id });
        assert!(cancel.is_cancelled());
    }

    #[test]
    fn an_ended_job_is_cancelled_and_leaves_the_queue() {
        let (account, id, job) = call();
        let board = board();
        board.reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW);
        let (ready, cancel) = board.take(TaskClass::Net, ONE_EACH, NOW).unwrap();
        board.applied(&account, 2, NOW, &Event::JobCancelled { job: id.clone() });
        assert!(cancel.is_cancelled());
        board.ended(&ready.key);
        board.reconcile(&account, &id, None, TaskLimits::default(), NOW);
        assert_eq!(board.rows(10), (vec![], 0));
    }

    #[test]
    fn an_account_at_its_limit_waits_for_its_own_and_no_other_waits_for_it() {
        let limits = TaskLimits { running_max: Some(2), ..TaskLimits::default() };
        let (board, job) = (board(), call().2);
        let [acme, other] = ["acme", "other"].map(|name| AccountId::parse(name).unwrap());
        let id = |n: u32| JobId::parse(&format!("call-{n}")).unwrap();
        let slots = Slots { cpu: 1, net: 9 };
        // One of the account's tasks runs on another node.
        let mut abroad = job.clone();
        let fetch = abroad.tasks.get_mut(&TaskKind::Fetch.whole()).unwrap();
        (fetch.state, fetch.attempt, fetch.worker) = (TaskState::Running, 1, Some("node-9/b".to_owned()));
        board.reconcile(&acme, &id(1), Some(&abroad), limits.clone(), NOW);
        for n in [2, 3, 4] {
            board.reconcile(&acme, &id(n), Some(&job), limits.clone(), NOW);
        }
        board.reconcile(&other, &id(1), Some(&job), TaskLimits::default(), NOW);
        let take = || board.take(TaskClass::Net, slots, NOW).map(|(ready, _)| (ready.key.account, ready.key.job));
        assert_eq!([take(), take(), take()], [Some((acme.clone(), id(2))), Some((other, id(1))), None]);
        let gate = |n| board.explain(&acme, &id(n), &job, TaskKind::Fetch.whole(), slots).unwrap().gate.as_str();
        assert_eq!((gate(2), gate(3)), ("lease", "limit"));
        assert!(board.spare_kinds(Slots { cpu: 0, net: 0 }).is_empty(), "nothing another node may run");
        // The one on the other node ends.
        board.reconcile(&acme, &id(1), None, limits.clone(), NOW);
        assert_eq!([take(), take()], [Some((acme.clone(), id(3))), None]);
        board.limit(&acme, TaskLimits::default());
        assert_eq!(take(), Some((acme, id(4))));
    }
}

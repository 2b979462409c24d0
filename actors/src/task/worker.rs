//! The workers of a node: fill free slots with ready tasks, in turn over accounts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use steward_cluster::clock::Clock;
use steward_cluster::ids::ShardId;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::attempt::{self, Bench};
use super::board::{ForeignLease, TaskBoard};
use super::hints::Hints;
use super::in_hand::Slots;
use super::leases::{Lease, Standing, standing};
use super::lessor::Lessor;
use super::runner::Runner;
use super::{announce, pull, renewals, scratch};
use crate::blob::BlobStore;
use crate::domain::account::ReleaseReason;
use crate::domain::budget::Purse;
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::Job;
use crate::domain::task::{TASK_CLASSES, TASK_KINDS, TaskLimits};
use crate::elsewhere::Commands;
use crate::supervisor;

/// How often the leases of other nodes' workers are looked at, and what waits is announced to them.
const LEASES_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long attempts get to stop when the node drains.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What a node's workers are started with.
#[derive(Debug, Clone)]
pub struct WorkersConfig {
    pub slots: Slots,
    /// How long a runner may say nothing before it is stopped and its task tried again.
    pub silence_max: Duration,
    /// Names this node in leases, such as `node-1`.
    pub node: String,
    /// Names this process: another start of the same node holds none of its leases.
    pub boot: String,
}

/// A kind of task has no runner.
#[derive(Debug, thiserror::Error)]
#[error("no runner serves tasks of kind {0}")]
pub struct MissingRunner(&'static str);

/// The workers of a node.
pub struct Workers {
    bench: Arc<Bench>,
    dispatcher: tokio::task::JoinHandle<()>,
    /// What passes between this node's workers and other nodes; empty on a node that is alone.
    _between: Vec<AbortOnDropHandle<()>>,
    pulling: Option<AbortOnDropHandle<()>>,
}

struct Dispatcher {
    bench: Arc<Bench>,
    /// Names this node in leases.
    node: String,
}

impl Workers {
    /// Starts dispatching. There must be a runner for every kind of task: one that nobody serves would wait for ever.
    pub fn start(
        config: WorkersConfig,
        commands: Commands,
        board: Arc<TaskBoard>,
        blobs: BlobStore,
        clock: Arc<dyn Clock>,
        runners: Vec<Arc<dyn Runner>>,
    ) -> Result<Self, MissingRunner> {
        let worker = format!("{}/{}", config.node, config.boot);
        let by_kind = |runner: Arc<dyn Runner>| {
            let kinds: Vec<_> = runner.kinds().iter().map(|kind| (*kind, Arc::clone(&runner))).collect();
            kinds
        };
        let runners: HashMap<_, _> = runners.into_iter().flat_map(by_kind).collect();
        if let Some(kind) = TASK_KINDS.into_iter().find(|kind| !runners.contains_key(kind)) {
            return Err(MissingRunner(kind.as_str()));
        }
        let bench = Arc::new(Bench {
            commands,
            board,
            hints: Arc::new(Hints::new(Arc::clone(&clock))),
            blobs,
            clock,
            runners,
            slots: config.slots,
            silence_max: config.silence_max,
            worker,
            draining: CancellationToken::new(),
        });
        let dispatcher = Dispatcher { bench: Arc::clone(&bench), node: config.node };
        let (mut between, mut pulling) = (vec![], None);
        if let Some(elsewhere) = bench.commands.elsewhere() {
            let renew = renewals::renew(Arc::clone(&bench), Arc::clone(elsewhere));
            between.push(AbortOnDropHandle::new(supervisor::spawn("renewals", renew)));
            let announce = announce::announce(Arc::clone(&bench), Arc::clone(elsewhere));
            between.push(AbortOnDropHandle::new(supervisor::spawn("announcing", announce)));
            let pull = pull::pull(Arc::clone(&bench), Arc::clone(elsewhere));
            pulling = Some(AbortOnDropHandle::new(supervisor::spawn("pulling", pull)));
        }
        let dispatcher = supervisor::spawn("dispatcher", dispatcher.run());
        Ok(Self { bench, dispatcher, _between: between, pulling })
    }

    /// The leader's side, for workers of other nodes.
    #[must_use]
    pub fn lessor(&self) -> Lessor {
        Lessor::new(Arc::clone(&self.bench))
    }

    /// Where it is noted what other nodes have to spare.
    #[must_use]
    pub fn hints(&self) -> Arc<Hints> {
        Arc::clone(&self.bench.hints)
    }

    /// Takes no more tasks from other nodes: this one is about to stop.
    pub fn pull_no_more(&mut self) {
        self.pulling = None;
    }

    /// Starts no more attempts, lets those in hand leave their checkpoint, and gives their leases back.
    pub async fn stop(mut self) {
        self.pull_no_more();
        self.bench.draining.cancel();
        self.bench.board.cancel_all();
        if tokio::time::timeout(DRAIN_MAX, self.dispatcher).await.is_err() {
            tracing::warn!("some attempts did not stop in time; their leases run out");
        }
    }
}

impl Dispatcher {
    async fn run(self) {
        self.sweep_scratch();
        let at_work = self.bench.commands.shards().driver().progress().part("tasks");
        let mut looks = interval(LEASES_LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            at_work.begins(None);
            self.look_at_news();
            if self.bench.draining.is_cancelled() {
                if self.running() == 0 {
                    return;
                }
            } else {
                self.fill_slots();
            }
            at_work.rests();
            tokio::select! {
                () = self.bench.board.changed() => {}
                _ = looks.tick() => {
                    self.take_back();
                    self.bench.board.measure(self.bench.clock.now());
                }
                () = self.bench.draining.cancelled(), if !self.bench.draining.is_cancelled() => {}
            }
        }
    }

    fn running(&self) -> usize {
        TASK_CLASSES.into_iter().map(|class| self.bench.board.running_of(class)).sum()
    }

    /// Removes what a crash left of jobs that have ended.
    fn sweep_scratch(&self) {
        let shards = self.bench.commands.shards().status();
        let jobs = shards.iter().flat_map(|row| self.open_jobs(row.shard));
        let open: HashSet<_> = jobs.map(|(account, job, _)| (account.to_string(), job.to_string())).collect();
        if let Err(error) = scratch::sweep(self.bench.board.scratch_root(), &open) {
            tracing::warn!(%error, "old scratch folders cannot be removed");
        }
    }

    fn open_jobs(&self, shard: ShardId) -> Vec<(AccountId, JobId, Job)> {
        self.bench.commands.reads().open_jobs(shard).unwrap_or_else(|error| {
            tracing::error!(%shard, %error, "the open jobs of a shard cannot be read");
            vec![]
        })
    }

    fn look_at_news(&self) {
        let news = self.bench.board.take_news();
        let reads = self.bench.commands.reads();
        for shard in news.shards {
            for (account, id, job) in self.open_jobs(shard) {
                self.reconcile(&account, &id, Some(&job));
            }
        }
        for account in news.accounts.iter().filter(|account| self.bench.commands.leads(account)) {
            self.bench.board.limit(account, self.limits(account));
            if self.bench.board.fund(account, self.purse(account)) {
                self.look_at_jobs(account);
            }
        }
        for (account, id) in news.jobs {
            match reads.job(&account, &id) {
                Ok(job) => self.reconcile(&account, &id, job.as_ref()),
                Err(error) => tracing::error!(%account, job = %id, %error, "a job cannot be read"),
            }
        }
    }

    /// Without those that cannot be read: the account itself refuses what goes beyond them.
    fn limits(&self, account: &AccountId) -> TaskLimits {
        self.bench.commands.reads().task_limits(account).unwrap_or_else(|error| {
            tracing::error!(%account, %error, "the limits of an account cannot be read");
            TaskLimits::default()
        })
    }

    /// Without those that cannot be read, as above.
    fn purse(&self, account: &AccountId) -> Purse {
        self.bench.commands.reads().purse(account).unwrap_or_else(|error| {
            tracing::error!(%account, %error, "the budgets of an account cannot be read");
            Purse::default()
        })
    }

    /// An account has budgets that had none: what its tasks need is found out.
    fn look_at_jobs(&self, account: &AccountId) {
        match self.bench.commands.reads().account(account) {
            Ok(found) => found.iter().flat_map(|found| &found.jobs).for_each(|(id, job)| {
                self.reconcile(account, id, Some(job));
            }),
            Err(error) => tracing::error!(%account, %error, "an account cannot be read"),
        }
    }

    /// Brings the board in line with a job. What is led elsewhere is given out elsewhere.
    fn reconcile(&self, account: &AccountId, id: &JobId, job: Option<&Job>) {
        let board = &self.bench.board;
        if self.bench.commands.leads(account) {
            if board.may_have_budgets(account) {
                board.fund(account, self.purse(account));
            }
            let foreign = board.reconcile(account, id, job, self.limits(account), self.bench.clock.now());
            foreign.into_iter().for_each(|lease| self.judge(lease));
        }
        let ended = job.is_none_or(|job| job.ended_at.is_some());
        if ended && !board.job_runs(account, id) {
            scratch::remove(&board.scratch(account, id));
        }
    }

    /// A lease of this very process that no attempt holds lost its attempt to a report whose outcome stayed unknown, and
    /// one of an earlier start of this node has no holder. Whoever works on another node says so.
    fn judge(&self, foreign: ForeignLease) {
        let ForeignLease { lease, worker } = foreign;
        if worker.strip_prefix(&self.node).is_some_and(|rest| rest.starts_with('/')) {
            self.release(lease);
        } else {
            self.bench.board.leases.found(lease, self.bench.clock.monotonic());
        }
    }

    /// Takes back the leases whose workers fell silent, where the account still says that they have them.
    fn take_back(&self) {
        let reads = self.bench.commands.reads();
        for lease in self.bench.board.leases.take_run_out(self.bench.clock.monotonic()) {
            let worker = |job: &Job| job.tasks.get(&lease.task).and_then(|task| task.worker.clone());
            match reads.job(&lease.account, &lease.job) {
                Ok(Some(job)) => {
                    let is_held = |worker: String| standing(Some(&job), &lease, &worker) == Standing::Held;
                    if worker(&job).is_some_and(is_held) {
                        tracing::info!(account = %lease.account, job = %lease.job, "a worker fell silent");
                        self.release(lease);
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(account = %lease.account, job = %lease.job, %error, "a job cannot be read")
                }
            }
        }
    }

    fn release(&self, lease: Lease) {
        let bench = Arc::clone(&self.bench);
        let release = async move { bench.release(&lease, ReleaseReason::LeaseLost).await };
        drop(supervisor::spawn("release", release));
    }

    fn fill_slots(&self) {
        let Bench { board, clock, slots, hints, .. } = &*self.bench;
        for class in TASK_CLASSES {
            while let Some((ready, cancel)) = board.take(class, *slots, clock.now()) {
                attempt::start(&self.bench, ready.lease(), None, cancel);
            }
        }
        // What is left over is for other nodes, and what is free for what they have left over.
        board.settle();
        hints.look();
    }
}

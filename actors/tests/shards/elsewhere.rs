//! Workers of a node that leads nothing: they take tasks from another node, renew its leases, and report to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use steward_actors::blob::BlobStore;
use steward_actors::domain::account::{Answer, Asked, Command, Rejection, ReleaseReason};
use steward_actors::domain::ids::{AccountId, JobId};
use steward_actors::domain::task::{TASK_KINDS, TaskKind};
use steward_actors::elsewhere::{Commands, Elsewhere, decode_work};
use steward_actors::shard::{ExecuteError, Seat, Shards};
use steward_actors::task::runner::{Reporter, Retry, Runner, TaskError, TaskRun};
use steward_actors::task::{Granted, Lease, Slots, TaskBoard, Workers, WorkersConfig};
use steward_cluster::clock::SystemClock;
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::raft::{PeerMessage, Transport};
use tokio_util::sync::CancellationToken;

use crate::harness::{Setup, Started, until};

const BUSY: NodeId = NodeId(1);
const WORKER: &str = "node-2/now";
/// How often a command is tried at most.
const TRIES_MAX: usize = 8;

/// The way to nobody.
struct Mute;

impl Transport for Mute {
    fn send(&mut self, _to: NodeId, _messages: Vec<PeerMessage>) {}

    fn alive(&mut self) {}

    fn fetch(&mut self, _message: PeerMessage) {}
}

/// The other node: gives what is laid out, and does as it is told.
#[derive(Default)]
struct Other {
    laid_out: Mutex<Vec<Granted>>,
    asked_for: Mutex<Vec<Vec<TaskKind>>>,
    renewed: Mutex<Vec<(String, Vec<Lease>)>>,
    /// Whether it says of every lease that its attempt is over.
    is_over: AtomicBool,
    /// Whether it refuses commands for good.
    is_stale: AtomicBool,
    /// How many commands it does not take.
    refusals: AtomicUsize,
    tried: AtomicUsize,
    done: Mutex<Vec<Asked>>,
}

impl Elsewhere for Other {
    fn execute<'a>(&'a self, _account: &'a AccountId, asked: Asked) -> BoxFuture<'a, Result<Answer, ExecuteError>> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        if self.is_stale.load(Ordering::SeqCst) {
            let stale =
                Rejection::StaleAttempt { job: "summarize-1".to_owned(), task: "summarize".to_owned(), attempt: 1 };
            return std::future::ready(Err(stale.into())).boxed();
        }
        let left = self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let outcome = match left {
            Ok(left) if left % 2 == 0 => Err(ExecuteError::NotLed { shard: ShardId(0) }),
            Ok(_) => Err(ExecuteError::OutcomeUnknown { shard: ShardId(0) }),
            Err(_) => {
                self.done.lock().push(asked);
                Ok(Answer { id: "job".to_owned(), seq: 1, repeated: false })
            }
        };
        std::future::ready(outcome).boxed()
    }

    fn renew<'a>(&'a self, worker: &'a str, leases: Vec<Lease>) -> BoxFuture<'a, Vec<Lease>> {
        self.renewed.lock().push((worker.to_owned(), leases.clone()));
        let over = if self.is_over.load(Ordering::SeqCst) { leases } else { vec![] };
        std::future::ready(over).boxed()
    }

    fn announce(&self, _waiting: Vec<TaskKind>) -> BoxFuture<'_, ()> {
        unreachable!("nothing waits on a node that leads nothing")
    }

    fn take<'a>(&'a self, node: NodeId, worker: &'a str, kinds: Vec<TaskKind>) -> BoxFuture<'a, Option<Granted>> {
        assert_eq!((node, worker), (BUSY, WORKER));
        self.asked_for.lock().push(kinds);
        std::future::ready(self.laid_out.lock().pop()).boxed()
    }
}

/// Summarises once it may, or stops when it is told to. It takes nothing else.
#[derive(Default)]
struct Steered {
    may_end: CancellationToken,
    began: AtomicUsize,
    stopped: AtomicUsize,
}

impl Runner for Steered {
    fn kinds(&self) -> &'static [TaskKind] {
        &TASK_KINDS
    }

    fn takes(&self) -> &'static [TaskKind] {
        &[TaskKind::Summarize]
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        async {
            self.began.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                biased;
                () = self.may_end.cancelled() => Ok(json!({"of": run.input, "attempt": run.attempt})),
                () = reporter.cancelled() => {
                    self.stopped.fetch_add(1, Ordering::SeqCst);
                    Err(TaskError { code: "cancelled", message: "c".to_owned(), retry: Retry::Cancelled })
                }
            }
        }
        .boxed()
    }
}

struct World {
    shards: Started,
    other: Arc<Other>,
    runner: Arc<Steered>,
    workers: Workers,
}

/// A node with one slot, which was told that the other has tasks.
async fn idle(folder: &Path) -> World {
    let board = Arc::new(TaskBoard::new(folder.join("scratch")));
    let seat = Seat { node: NodeId(2), founders: vec![], transport: Some(Box::new(Mute)) };
    let setup = Setup { observers: vec![board.clone()], seat, ..Setup::default() };
    let shards = setup.start(&folder.join("data")).await;
    let (other, runner) = (Arc::new(Other::default()), Arc::new(Steered::default()));
    let config = WorkersConfig {
        slots: Slots { cpu: 1, net: 1 },
        silence_max: Duration::from_secs(900),
        node: "node-2".to_owned(),
        boot: "now".to_owned(),
    };
    let here: &Shards = &shards;
    let commands = Commands::new(here.clone(), Some(other.clone()));
    let blobs = BlobStore::open(folder.join("blobs")).unwrap();
    let clock = Arc::new(SystemClock::new());
    let workers = Workers::start(config, commands, board, blobs, clock, vec![runner.clone()]).unwrap();
    World { shards, other, runner, workers }
}

impl World {
    fn lay_out(&self, attempt: u32) -> Lease {
        let (account, job) = (AccountId::parse("acme").unwrap(), JobId::parse("summarize-1").unwrap());
        let lease = Lease { account, job, task: TaskKind::Summarize.whole(), attempt };
        let work = decode_work(br#"{"input": {"text": "t"}, "results": {}, "checkpoint": null}"#).unwrap();
        self.other.laid_out.lock().push(Granted { lease: lease.clone(), work });
        lease
    }

    fn hear(&self) {
        self.workers.hints().heard(BUSY, TASK_KINDS.to_vec());
    }

    fn commands(&self) -> Vec<Command> {
        self.other.done.lock().iter().map(|asked| asked.command.clone()).collect()
    }

    async fn stop(self) {
        self.workers.stop().await;
        self.shards.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_nothing_here_wants_is_filled_with_what_another_node_spares() {
    let folder = tempfile::tempdir().unwrap();
    let world = idle(folder.path()).await;
    let lease = world.lay_out(3);
    world.lay_out(3);
    world.hear();
    until("the task runs", || world.runner.began.load(Ordering::SeqCst) == 1).await;
    assert_eq!(*world.other.asked_for.lock(), [[TaskKind::Summarize]], "one slot, and one kind it can run");
    world.runner.may_end.cancel();
    until("the result is reported", || !world.other.done.lock().is_empty()).await;
    let asked = world.other.done.lock()[0].clone();
    assert_eq!(asked.actor, format!("worker:{WORKER}"));
    let Command::ReportSuccess { task, result } = asked.command else { panic!("{asked:?}") };
    assert_eq!((task.job, task.attempt), (lease.job, 3));
    assert_eq!(result, json!({"of": {"text": "t"}, "attempt": 3}));
    until("the free slot is filled again", || world.runner.began.load(Ordering::SeqCst) == 2).await;
    until("it had nothing more", || world.other.asked_for.lock().len() == 3).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_its_attempt_runs_and_the_attempt_stops_when_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let world = idle(folder.path()).await;
    let lease = world.lay_out(1);
    world.hear();
    let renewals = || world.other.renewed.lock().len();
    until("the lease is renewed", || renewals() == 1).await;
    until("and again", || renewals() == 2).await;
    let renewed = (WORKER.to_owned(), vec![lease]);
    assert_eq!(*world.other.renewed.lock(), [renewed.clone(), renewed]);
    assert_eq!(world.runner.stopped.load(Ordering::SeqCst), 0);
    world.other.is_over.store(true, Ordering::SeqCst);
    until("the attempt stops", || world.runner.stopped.load(Ordering::SeqCst) == 1).await;
    assert_eq!(world.commands(), [], "nobody waits for a result");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_finds_no_leader_is_made_again_a_limited_number_of_times_and_a_refused_one_is_not() {
    for (is_stale, refusals, tries, is_done) in
        [(false, 3, 4, true), (false, TRIES_MAX, TRIES_MAX, false), (true, 0, 1, false)]
    {
        let folder = tempfile::tempdir().unwrap();
        let world = idle(folder.path()).await;
        world.runner.may_end.cancel();
        world.other.refusals.store(refusals, Ordering::SeqCst);
        world.other.is_stale.store(is_stale, Ordering::SeqCst);
        world.lay_out(1);
        world.hear();
        until("it is tried so often", || world.other.tried.load(Ordering::SeqCst) == tries).await;
        let is_asked_again = || world.other.asked_for.lock().len() >= 2;
        until("the slot is free", || {
            world.hear();
            is_asked_again()
        })
        .await;
        assert_eq!(world.other.tried.load(Ordering::SeqCst), tries, "{refusals} refusals");
        assert_eq!(!world.other.done.lock().is_empty(), is_done, "{refusals} refusals");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_takes_nothing_more_and_gives_back_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = idle(folder.path()).await;
    world.lay_out(1);
    world.hear();
    until("the task runs", || world.runner.began.load(Ordering::SeqCst) == 1).await;
    world.workers.pull_no_more();
    world.lay_out(1);
    let other = world.other.clone();
    let World { workers, shards, .. } = world;
    workers.hints().heard(BUSY, TASK_KINDS.to_vec());
    workers.stop().await;
    shards.stop().await;
    assert_eq!(other.laid_out.lock().len(), 1, "the second one stays where it is");
    let [Asked { command: Command::ReleaseTask { reason, .. }, .. }] = &other.done.lock()[..] else {
        panic!("the lease is given back")
    };
    assert_eq!(*reason, ReleaseReason::Drained);
}

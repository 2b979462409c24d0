//! Workers over real shards: leases, and runners that break.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use steward_actors::blob::BlobStore;
use steward_actors::domain::account::{Command, Event};
use steward_actors::domain::ids::{AccountId, JobId};
use steward_actors::domain::job::{JobKind, JobOptions, TaskState};
use steward_actors::domain::task::{TASK_KINDS, TaskKind};
use steward_actors::elsewhere::Commands;
use steward_actors::shard::{Observer as _, Shards};
use steward_actors::task::runner::{Reporter, Retry, Runner, TaskError, TaskRun};
use steward_actors::task::{Slots, TaskBoard, Workers, WorkersConfig};
use steward_cluster::clock::{Clock as _, SystemClock, Timestamp};
use steward_cluster::format::Format;
use tokio::sync::mpsc;

use crate::harness::{Setup, Started, asked, founded, until};

/// How long an attempt may take to begin.
const BEGINS_MAX: Duration = Duration::from_secs(30);
/// How long a runner may be silent here.
const SILENCE_MAX: Duration = Duration::from_millis(800);
/// Attempts that nobody has looked at yet.
const ATTEMPTS: usize = 8;

/// Serves every kind of task, and breaks.
struct Breaks;

impl Runner for Breaks {
    fn kinds(&self) -> &'static [TaskKind] {
        &TASK_KINDS
    }

    fn takes(&self) -> &'static [TaskKind] {
        &[]
    }

    fn run<'a>(&'a self, _run: &'a TaskRun, _reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        async { panic!("a runner with a bug") }.boxed()
    }
}

/// Serves every kind of task: the first attempt hangs and hears nothing, the others speak for three times
/// as long as anyone may be silent, and end.
#[derive(Default)]
struct Hangs {
    has_hung: AtomicBool,
}

impl Runner for Hangs {
    fn kinds(&self) -> &'static [TaskKind] {
        &TASK_KINDS
    }

    fn takes(&self) -> &'static [TaskKind] {
        &[]
    }

    fn run<'a>(&'a self, _run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        async move {
            if !self.has_hung.swap(true, Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let clock = SystemClock::new();
            let mut ticks = tokio::time::interval(SILENCE_MAX / 4);
            while clock.monotonic() < SILENCE_MAX * 3 {
                ticks.tick().await;
                reporter.progress(0.5, "at it");
            }
            Ok(json!({}))
        }
        .boxed()
    }
}

/// Serves every kind of task: says that it runs, and runs until it is told to stop.
struct Runs(mpsc::Sender<u32>);

impl Runner for Runs {
    fn kinds(&self) -> &'static [TaskKind] {
        &TASK_KINDS
    }

    fn takes(&self) -> &'static [TaskKind] {
        &[]
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        async move {
            let state = json!({"attempt": run.attempt, "before": run.checkpoint});
            reporter.checkpoint(state).await;
            self.0.send(run.attempt).await.ok();
            reporter.cancelled().await;
            Err(TaskError { code: "cancelled", message: String::new(), retry: Retry::Cancelled })
        }
        .boxed()
    }
}

/// Shards with a board, workers with this many slots, and an account.
async fn working(
    folder: &Path,
    cpu_slots: usize,
    runner: Arc<dyn Runner>,
) -> (Started, Arc<TaskBoard>, Workers, AccountId) {
    working_with(folder, cpu_slots, Duration::from_secs(900), runner).await
}

async fn working_with(
    folder: &Path,
    cpu_slots: usize,
    silence_max: Duration,
    runner: Arc<dyn Runner>,
) -> (Started, Arc<TaskBoard>, Workers, AccountId) {
    let board = Arc::new(TaskBoard::new(folder.join("scratch")));
    let started = Setup { observers: vec![board.clone()], ..Setup::default() }.start(&folder.join("data")).await;
    let account = founded(&started, "acme").await;
    let config = WorkersConfig {
        slots: Slots { cpu: cpu_slots, net: 1 },
        silence_max,
        node: "node-1".to_owned(),
        boot: "now".to_owned(),
    };
    let clock = Arc::new(SystemClock::new());
    let shards: &Shards = &started;
    let blobs = BlobStore::open(folder.join("blobs")).unwrap();
    let commands = Commands::new(shards.clone(), None);
    let workers = Workers::start(config, commands, Arc::clone(&board), blobs, clock, vec![runner]).unwrap();
    (started, board, workers, account)
}

async fn summarize(shards: &Shards, account: &AccountId) -> JobId {
    let kind = JobKind::parse("summarize").unwrap();
    let create = Command::CreateJob { kind, input: json!({"text": "t"}), options: JobOptions::default() };
    JobId::parse(&shards.execute(account, asked(create)).await.unwrap().id).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_this_process_that_no_attempt_holds_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, board, workers, account) = working(folder.path(), 0, Arc::new(Breaks)).await;
    let job = summarize(&shards, &account).await;
    // As an attempt leaves it whose report never found a leader.
    let start =
        Command::StartTask { job: job.clone(), task: TaskKind::Summarize.whole(), worker: "node-1/now".to_owned() };
    shards.execute(&account, asked(start)).await.unwrap();
    board.applied(&account, 9, Timestamp(0), &Event::JobSucceeded { job: job.clone() });
    let state = || shards.reads().job(&account, &job).unwrap().unwrap().tasks[&TaskKind::Summarize.whole()].state;
    until("the lease is back", || state() == TaskState::Ready).await;
    workers.stop().await;
    shards.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_panics_fails_its_attempt_only() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, _board, workers, account) = working(folder.path(), 1, Arc::new(Breaks)).await;
    let jobs = [summarize(&shards, &account).await, summarize(&shards, &account).await];
    for job in &jobs {
        let task = || shards.reads().job(&account, job).unwrap().unwrap().tasks[&TaskKind::Summarize.whole()].clone();
        until("the attempt has failed", || task().failures > 0).await;
        assert_eq!(task().failure.unwrap().code, "runner_panicked");
    }
    workers.stop().await;
    shards.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_falls_silent_is_stopped_and_its_task_tried_again_and_one_that_speaks_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let runner = Arc::new(Hangs::default());
    let (shards, _board, workers, account) = working_with(folder.path(), 1, SILENCE_MAX, runner).await;
    let (silent, speaking) = (summarize(&shards, &account).await, summarize(&shards, &account).await);
    let task =
        |job: &JobId| shards.reads().job(&account, job).unwrap().unwrap().tasks[&TaskKind::Summarize.whole()].clone();
    until("the attempt has failed", || task(&silent).failures > 0).await;
    assert_eq!(task(&silent).failure.unwrap().code, "attempt_silent");
    // The only slot is free again, and the next attempt succeeds.
    until("the other one has ended", || task(&speaking).state == TaskState::Succeeded).await;
    assert_eq!((task(&speaking).attempt, task(&speaking).failures), (1, 0), "it spoke for longer than that");
    until("the silent one was tried again", || task(&silent).state == TaskState::Succeeded).await;
    workers.stop().await;
    shards.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_job_gives_its_slot_to_another_and_goes_on_at_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, mut runs) = mpsc::channel(ATTEMPTS);
    let (shards, board, workers, account) = working(folder.path(), 1, Arc::new(Runs(sender))).await;
    shards.raise(shards.shard_of(&account), Format::JOBS).await.unwrap();
    let mut next = async || tokio::time::timeout(BEGINS_MAX, runs.recv()).await.expect("an attempt runs").unwrap();
    let (first, second) = (summarize(&shards, &account).await, summarize(&shards, &account).await);
    assert_eq!(next().await, 1);
    let job = |id: &JobId| shards.reads().job(&account, id).unwrap().unwrap();
    let task = |id: &JobId| job(id).tasks[&TaskKind::Summarize.whole()].clone();
    let gate = |id: &JobId| {
        let slots = Slots { cpu: 1, net: 1 };
        board.explain(&account, id, &job(id), TaskKind::Summarize.whole(), slots).unwrap().gate.as_str()
    };
    until("the other one waits", || gate(&second) == "slot").await;
    until("the checkpoint is kept", || task(&first).checkpoint.is_some()).await;
    assert_eq!(gate(&first), "running");

    shards.execute(&account, asked(Command::PauseJob { job: first.clone() })).await.unwrap();
    assert_eq!(next().await, 1, "the other one runs");
    assert_eq!((task(&first).state, gate(&first), gate(&second)), (TaskState::Ready, "paused", "running"));
    shards.execute(&account, asked(Command::ResumeJob { job: first.clone() })).await.unwrap();
    until("the first one waits", || gate(&first) == "slot").await;
    shards.execute(&account, asked(Command::CancelJob { job: second.clone() })).await.unwrap();
    assert_eq!(next().await, 2);
    let resumed = json!({"attempt": 2, "before": {"attempt": 1, "before": null}});
    until("it goes on", || task(&first).checkpoint == Some(resumed.clone())).await;
    assert_eq!(task(&first).failures, 0, "a pause is no failure");
    workers.stop().await;
    shards.stop().await;
}

//! Workers over real shards: leases, and runners that break.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use steward_actors::blob::BlobStore;
use steward_actors::domain::account::{Command, Event};
use steward_actors::domain::ids::{AccountId, JobId};
use steward_actors::domain::job::{JobKind, TaskState};
use steward_actors::domain::task::{TASK_KINDS, TaskKind};
use steward_actors::elsewhere::Commands;
use steward_actors::shard::{Observer as _, Shards};
use steward_actors::task::runner::{Reporter, Runner, TaskError, TaskRun};
use steward_actors::task::{TaskBoard, Workers, WorkersConfig};
use steward_cluster::clock::{SystemClock, Timestamp};

use crate::harness::{Setup, Started, asked, founded, until};

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

/// Shards with a board, workers with this many slots, and an account.
async fn working(folder: &Path, cpu_slots: usize) -> (Started, Arc<TaskBoard>, Workers, AccountId) {
    let board = Arc::new(TaskBoard::new(folder.join("scratch")));
    let started = Setup { observers: vec![board.clone()], ..Setup::default() }.start(&folder.join("data")).await;
    let account = founded(&started, "acme").await;
    let config = WorkersConfig { cpu_slots, net_slots: 1, node: "node-1".to_owned(), boot: "now".to_owned() };
    let clock = Arc::new(SystemClock::new());
    let shards: &Shards = &started;
    let blobs = BlobStore::open(folder.join("blobs")).unwrap();
    let commands = Commands::new(shards.clone(), None);
    let workers = Workers::start(config, commands, Arc::clone(&board), blobs, clock, vec![Arc::new(Breaks)]).unwrap();
    (started, board, workers, account)
}

async fn summarize(shards: &Shards, account: &AccountId) -> JobId {
    let kind = JobKind::parse("summarize").unwrap();
    let create = Command::CreateJob { kind, input: json!({"text": "t"}) };
    JobId::parse(&shards.execute(account, asked(create)).await.unwrap().id).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_this_process_that_no_attempt_holds_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, board, workers, account) = working(folder.path(), 0).await;
    let job = summarize(&shards, &account).await;
    // As an attempt leaves it whose report never found a leader.
    let start = Command::StartTask { job: job.clone(), task: TaskKind::Summarize, worker: "node-1/now".to_owned() };
    shards.execute(&account, asked(start)).await.unwrap();
    board.applied(&account, 9, Timestamp(0), &Event::JobSucceeded { job: job.clone() });
    let state = || shards.reads().job(&account, &job).unwrap().unwrap().tasks[&TaskKind::Summarize].state;
    until("the lease is back", || state() == TaskState::Ready).await;
    workers.stop().await;
    shards.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_panics_fails_its_attempt_only() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, _board, workers, account) = working(folder.path(), 1).await;
    let jobs = [summarize(&shards, &account).await, summarize(&shards, &account).await];
    for job in &jobs {
        let task = || shards.reads().job(&account, job).unwrap().unwrap().tasks[&TaskKind::Summarize].clone();
        until("the attempt has failed", || task().failures > 0).await;
        assert_eq!(task().failure.unwrap().code, "runner_panicked");
    }
    workers.stop().await;
    shards.stop().await;
}

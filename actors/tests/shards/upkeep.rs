//! What happens by itself: back-offs end, old deliveries are forgotten. And where accounts lie.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{Seen, Setup, Watching, account, asked, founded, until, webhook};
use serde_json::json;
use steward_actors::domain::account::{Command, Event, ReleaseReason, RetryAsked, TaskRef};
use steward_actors::domain::ids::{AccountId, JobId};
use steward_actors::domain::job::{Failure, JobKind, TaskState};
use steward_actors::domain::task::TaskKind;
use steward_actors::shard::{Shards, shard_of};
use steward_cluster::clock::{ManualClock, Timestamp};
use tokio::sync::mpsc;

#[test]
fn accounts_lie_where_they_always_lay() {
    let of = |name: &str| shard_of(&account(name), 64).0;
    assert_eq!(["acme", "globex", "initech", "a", "x-1"].map(of), [59, 5, 59, 23, 39]);
}

/// A job whose only task has failed once.
async fn failed_once(shards: &Shards, account: &AccountId) -> JobId {
    let search = JobKind::Single(TaskKind::Search);
    let input = json!({"query": "q"});
    let job = shards.execute(account, asked(Command::CreateJob { kind: search, input })).await.unwrap().id;
    let job = JobId::parse(&job).unwrap();
    let (task, worker) = (TaskKind::Search, "w".to_owned());
    shards.execute(account, asked(Command::StartTask { job: job.clone(), task, worker })).await.unwrap();
    let failure = Failure { code: "c".to_owned(), message: String::new() };
    let task = TaskRef { job: job.clone(), task, attempt: 1 };
    let failed = Command::ReportFailure { task, failure, retry: RetryAsked::BackOff };
    shards.execute(account, asked(failed)).await.unwrap();
    job
}

#[tokio::test]
async fn a_back_off_ends_by_itself_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(1 << 40)));
    let shards = Setup { clock: clock.clone(), ..Setup::default() }.start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    let job = failed_once(&shards, &acme).await;
    let task_of = |shards: &Shards| shards.reads().job(&acme, &job).unwrap().unwrap().tasks[&TaskKind::Search].clone();
    assert_eq!(task_of(&shards).state, TaskState::BackingOff);
    shards.crash().await;
    let (sender, mut seen) = mpsc::channel(1000);
    let observers: Vec<Arc<dyn steward_actors::shard::Observer>> = vec![Arc::new(Watching(sender))];
    let shards = Setup { clock: clock.clone(), observers, ..Setup::default() }.start(folder.path()).await;
    clock.advance(Duration::from_secs(10));
    let release = async {
        loop {
            if let Seen::Event(account, seq, Event::TaskReleased { job, reason, .. }) = seen.recv().await.unwrap() {
                break (account, seq, job, reason);
            }
        }
    };
    let released = tokio::time::timeout(Duration::from_secs(30), release).await.expect("the task is released");
    assert_eq!(released, (acme.clone(), 6, job.clone(), ReleaseReason::BackOffOver));
    assert_eq!(task_of(&shards).state, TaskState::Ready);
    shards.stop().await;
}

#[tokio::test]
async fn deliveries_are_remembered_for_a_week() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(1 << 40)));
    let shards = Setup { clock: clock.clone(), ..Setup::default() }.start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    let send = async || shards.execute(&acme, asked(webhook("d"))).await.unwrap();
    assert_eq!(send().await.seq, 3);
    clock.advance(Duration::from_secs(7 * 24 * 3600 - 60));
    assert!(send().await.repeated);
    clock.advance(Duration::from_secs(61));
    let again = send().await;
    assert_eq!((again.seq, again.repeated), (4, false));
    let of_acme = [shards.shard_of(&acme)];
    until("the accounts are listed", || shards.reads().accounts(&of_acme, None, 10).unwrap() == [acme.clone()]).await;
    shards.stop().await;
}

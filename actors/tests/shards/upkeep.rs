//! What happens by itself: back-offs end, old deliveries are forgotten. And where accounts lie.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{Seen, Setup, Watching, account, asked, founded, until, webhook};
use serde_json::json;
use steward_actors::domain::account::{Command, Event, Rejection, ReleaseReason, RetryAsked, TaskRef};
use steward_actors::domain::ids::{AccountId, JobId};
use steward_actors::domain::job::{Failure, JobKind, JobOptions, TaskState};
use steward_actors::domain::task::TaskKind;
use steward_actors::shard::{ExecuteError, Shards, shard_of};
use steward_cluster::clock::{ManualClock, Timestamp};
use steward_cluster::format::Format;
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
    let job = shards
        .execute(account, asked(Command::CreateJob { kind: search, input, options: JobOptions::default() }))
        .await
        .unwrap()
        .id;
    let job = JobId::parse(&job).unwrap();
    let (task, worker) = (TaskKind::Search.whole(), "w".to_owned());
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
    let task_of =
        |shards: &Shards| shards.reads().job(&acme, &job).unwrap().unwrap().tasks[&TaskKind::Search.whole()].clone();
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

/// Waits for an event of an account that does this to its job.
async fn wait_for(seen: &mut mpsc::Receiver<Seen>, what: &str, is_it: impl Fn(&Event) -> bool) {
    let wait = async {
        loop {
            if let Seen::Event(_, _, event) = seen.recv().await.unwrap()
                && is_it(&event)
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect(what);
}

#[tokio::test]
async fn a_job_starts_at_its_time_and_fails_at_its_deadline_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(1 << 40)));
    let shards = Setup { clock: clock.clone(), ..Setup::default() }.start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    shards.raise(shards.shard_of(&acme), Format::JOBS).await.unwrap();
    let at = |seconds: u64| Some(Timestamp((1 << 40) + seconds * 1_000));
    let options = JobOptions { start_at: at(3_600), deadline_at: at(7_200), ..JobOptions::default() };
    let create = Command::CreateJob { kind: JobKind::Single(TaskKind::Search), input: json!({"query": "q"}), options };
    let job = JobId::parse(&shards.execute(&acme, asked(create)).await.unwrap().id).unwrap();
    let state_of =
        |shards: &Shards| shards.reads().job(&acme, &job).unwrap().unwrap().tasks[&TaskKind::Search.whole()].state;
    assert_eq!(state_of(&shards), TaskState::Delayed);
    shards.crash().await;

    let (sender, mut seen) = mpsc::channel(1000);
    let observers: Vec<Arc<dyn steward_actors::shard::Observer>> = vec![Arc::new(Watching(sender))];
    let shards = Setup { clock: clock.clone(), observers, ..Setup::default() }.start(folder.path()).await;
    clock.advance(Duration::from_secs(3_599));
    shards.execute(&acme, asked(webhook("d"))).await.unwrap();
    assert_eq!(state_of(&shards), TaskState::Delayed);
    clock.advance(Duration::from_secs(1));
    let released = |event: &Event| matches!(event, Event::TaskReleased { reason: ReleaseReason::DelayOver, .. });
    wait_for(&mut seen, "the task is released", released).await;
    assert_eq!(state_of(&shards), TaskState::Ready);
    clock.advance(Duration::from_secs(3_600));
    let expired =
        |event: &Event| matches!(event, Event::JobFailed { failure, .. } if failure.code == "deadline_exceeded");
    wait_for(&mut seen, "the job fails", expired).await;
    shards.stop().await;
}

#[tokio::test]
async fn an_ended_job_is_restarted_also_before_its_end_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(1 << 40)));
    let shards = Setup { clock: clock.clone(), ..Setup::default() }.start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    shards.raise(shards.shard_of(&acme), Format::JOBS).await.unwrap();
    let job = failed_once(&shards, &acme).await;
    let cancel = || asked(Command::CancelJob { job: job.clone() });
    let restart = || asked(Command::RestartJob { job: job.clone(), from: None });
    for _ in 0..20 {
        // All are decided before the first of them is in the store.
        let (ended, opened, ended_again) = tokio::join!(
            shards.execute(&acme, cancel()),
            shards.execute(&acme, restart()),
            shards.execute(&acme, cancel())
        );
        assert!(ended.is_ok() && opened.is_ok() && ended_again.is_ok(), "{ended:?} {opened:?} {ended_again:?}");
        assert!(ended_again.unwrap().seq > opened.unwrap().seq);
        shards.execute(&acme, restart()).await.unwrap();
    }
    shards.crash().await;
    let shards = Setup { clock: clock.clone(), ..Setup::default() }.start(folder.path()).await;
    let open = shards.reads().job(&acme, &job).unwrap().unwrap();
    assert_eq!(
        (open.tasks[&TaskKind::Search.whole()].state, open.tasks[&TaskKind::Search.whole()].attempt),
        (TaskState::Ready, 1)
    );
    let refused = shards.execute(&acme, restart()).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(Rejection::JobState { .. }))), "{refused:?}");
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

//! What happens by itself: back-offs end, old deliveries are forgotten. And where accounts lie.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{Seen, Setup, Watching, account, asked, founded, until, webhook};
use serde_json::json;
use steward_actors::domain::account::{Command, Event, Rejection, ReleaseReason, RetryAsked, TaskRef};
use steward_actors::domain::ids::{AccountId, JobId, ScheduleId};
use steward_actors::domain::job::{Failure, JobKind, JobOptions, Priority, TaskState};
use steward_actors::domain::schedule::{Missed, Overlap, ScheduleChange, ScheduleSettings};
use steward_actors::domain::task::TaskKind;
use steward_actors::shard::{ExecuteError, Shards, ShardsConfig, shard_of};
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

fn hourly(missed: Missed) -> ScheduleSettings {
    ScheduleSettings {
        expression: "0 * * * *".to_owned(),
        time_zone: String::new(),
        job: JobKind::Single(TaskKind::Search),
        input: json!({"query": "q"}),
        priority: Priority::USUAL,
        within_ms: 0,
        missed,
        overlap: Overlap::Allow,
        smoothing_ms: 0,
    }
}

/// A full hour.
const NOON: Timestamp = Timestamp(500_004 * 3_600_000);

#[tokio::test]
async fn schedules_wake_their_accounts_and_tick_once_over_crashes_and_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOON));
    let (sender, mut seen) = mpsc::channel(1000);
    let observers: Vec<Arc<dyn steward_actors::shard::Observer>> = vec![Arc::new(Watching(sender))];
    let config = ShardsConfig { accounts_live_max: 1, ..ShardsConfig::default() };
    let setup =
        || Setup { clock: clock.clone(), observers: observers.clone(), config: config.clone(), ..Setup::default() };
    let shards = setup().start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    let schedule = ScheduleId::parse("report").unwrap();
    let create = |missed| asked(Command::CreateSchedule { schedule: schedule.clone(), settings: hourly(missed) });
    let early = shards.execute(&acme, create(Missed::All)).await;
    let not_yet = Rejection::NotYet { format: Format::WORK.0 };
    assert!(matches!(early, Err(ExecuteError::Rejected(no)) if no == not_yet), "older nodes could not read it");
    shards.raise(shards.shard_of(&acme), Format::WORK).await.unwrap();
    shards.execute(&acme, create(Missed::All)).await.unwrap();
    founded(&shards, "globex").await;
    assert_eq!(shards.live_accounts(), 1, "acme sleeps");

    let ticks = |event: &Event, want: &[u64]| {
        let Event::ScheduleChanged { change: ScheduleChange::Ticked(ticked), .. } = event else { return false };
        let hours: Vec<_> = ticked.taken.iter().map(|taken| (taken.tick.0 - NOON.0) / 3_600_000).collect();
        assert_eq!((hours.as_slice(), ticked.skipped.len()), (want, 0));
        true
    };
    clock.advance(Duration::from_secs(3_600));
    wait_for(&mut seen, "the first tick", |event| ticks(event, &[1])).await;
    shards.crash().await;
    // Away for three ticks, and killed again as soon as they are decided.
    clock.advance(Duration::from_secs(3 * 3_600 + 1_800));
    let shards = setup().start(folder.path()).await;
    wait_for(&mut seen, "the ticks that were missed", |event| ticks(event, &[2, 3, 4])).await;
    shards.crash().await;
    let shards = setup().start(folder.path()).await;
    clock.advance(Duration::from_secs(1_800));
    wait_for(&mut seen, "the next tick", |event| ticks(event, &[5])).await;
    let feed = shards.reads().events(&acme, 0, 1_000).unwrap();
    let requested = feed.iter().filter(|entry| matches!(entry.event, Event::JobRequested { .. }));
    let told: Vec<_> = requested.map(|entry| (entry.seq, entry.causation_seq, entry.actor.as_str())).collect();
    let actor = "schedule:report";
    assert_eq!(told, [(5, 4, actor), (7, 6, actor), (8, 6, actor), (9, 6, actor), (11, 10, actor)]);
    let state = shards.reads().account(&acme).unwrap().unwrap().schedules.remove(&schedule).unwrap();
    assert_eq!((state.taken, state.last_job.unwrap().as_str()), (5, "search-11"));

    // While it is paused nothing happens; the last tick of the pause makes a job when it is over.
    let settings = hourly(Missed::Latest);
    for command in [
        Command::UpdateSchedule { schedule: schedule.clone(), settings },
        Command::PauseSchedule { schedule: schedule.clone() },
    ] {
        shards.execute(&acme, asked(command)).await.unwrap();
    }
    clock.advance(Duration::from_secs(3 * 3_600));
    shards.execute(&acme, asked(webhook("d"))).await.unwrap();
    assert_eq!(shards.reads().account(&acme).unwrap().unwrap().schedules[&schedule].taken, 5);
    shards.execute(&acme, asked(Command::ResumeSchedule { schedule: schedule.clone() })).await.unwrap();
    let last_of_the_pause = |event: &Event| {
        let Event::ScheduleChanged { change: ScheduleChange::Ticked(ticked), .. } = event else { return false };
        (ticked.taken.len(), ticked.taken[0].tick.0, ticked.skipped[0].count) == (1, NOON.0 + 8 * 3_600_000, 2)
    };
    wait_for(&mut seen, "the last tick of the pause", last_of_the_pause).await;
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

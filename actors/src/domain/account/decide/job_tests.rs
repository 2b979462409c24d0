//! Tables of jobs: when they run, and what becomes of them by hand.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::tests::{NOW, account, asked, check, created, failure, job, requested, started, succeeded};
use super::*;
use crate::domain::account::event::{JobChange, ReleaseReason};
use crate::domain::account::limits::JOB_AHEAD_MS_MAX;
use crate::domain::account::{RetryAsked, TaskRef};
use crate::domain::job::{Failure, Job, JobKind, JobOptions, JobState, Priority, Split, Task, TaskState};
use crate::domain::task::{
    OPEN_JOBS_MAX, OPEN_JOBS_MAX_MAX, RUNNING_MAX_MAX, TaskId, TaskKind, TaskLimits, WEIGHT_MAX,
};

fn later(ms: u64) -> Option<Timestamp> {
    Some(Timestamp(NOW.0 + ms))
}

fn create(options: JobOptions) -> Command {
    Command::CreateJob { kind: JobKind::parse("summarize").unwrap(), input: json!({"text": "t"}), options }
}

fn with_options(options: JobOptions) -> Event {
    let kind = JobKind::parse("summarize").unwrap();
    Event::JobRequested { job: job("summarize-2"), kind, input: json!({"text": "t"}), playbook: None, options }
}

fn changed(id: &str, change: JobChange) -> Event {
    Event::JobChanged { job: job(id), change }
}

/// A job of an account as these events of it leave it, ended.
fn ended(given: &[Event]) -> Job {
    let (last, before) = given.split_last().unwrap();
    let open = account(before);
    let mut state = open.jobs.values().next().unwrap().clone();
    state.evolve(NOW, last);
    state
}

/// What becomes of asking for a restart of the job that these events end.
fn restarted(given: &[Event], id: &str, from: Option<TaskKind>) -> Decision {
    let facts = Facts { ended_job: Some(ended(given)), ..Facts::default() };
    decide(&account(given), &facts, &asked(Command::RestartJob { job: job(id), from: from.map(TaskKind::whole) }), NOW)
}

fn failed_for_good(id: &str, task: TaskKind) -> [Event; 2] {
    let failed = Event::TaskFailed { job: job(id), task: task.whole(), attempt: 1, failure: failure(), retry_at: None };
    [failed, Event::JobFailed { job: job(id), task: task.whole(), failure: failure() }]
}

/// A call whose transcript failed for good while the picture was being made.
fn failed_call() -> Vec<Event> {
    let (id, blob) = ("call-2", json!({"blob": "ab"}));
    let mut given = vec![created(), requested(id, "call")];
    for task in [TaskKind::Fetch, TaskKind::Probe] {
        given.extend([started(id, task, 1), succeeded(id, task, blob.clone())]);
    }
    given.extend([started(id, TaskKind::Normalize, 1), started(id, TaskKind::Transcript, 1)]);
    let state = json!({"chunk": 3});
    given.push(Event::TaskCheckpointed { job: job(id), task: TaskKind::Transcript.whole(), attempt: 1, state });
    given.extend(failed_for_good(id, TaskKind::Transcript));
    given
}

#[test]
fn a_job_says_when_and_how_urgently_it_runs() {
    let all = JobOptions {
        priority: Priority::of_number(1).unwrap(),
        start_at: later(5_000),
        deadline_at: later(JOB_AHEAD_MS_MAX),
    };
    check(&[created()], create(all), &Ok(vec![with_options(all)]));
    let past = JobOptions { start_at: Some(Timestamp(1)), ..JobOptions::default() };
    check(&[created()], create(past), &Ok(vec![with_options(past)]));
    let started_at_once = &account(&[created(), with_options(past)]).jobs[&job("summarize-2")];
    assert_eq!(started_at_once.tasks[&TaskKind::Summarize.whole()].state, TaskState::Ready);
    let usual = JobOptions::default();
    let table = [
        (JobOptions { start_at: later(JOB_AHEAD_MS_MAX + 1), ..usual }, "start_at_ms"),
        (JobOptions { deadline_at: later(JOB_AHEAD_MS_MAX + 1), ..usual }, "deadline_at_ms"),
        (JobOptions { deadline_at: later(0), ..usual }, "deadline_at_ms"),
        (JobOptions { start_at: later(9), deadline_at: later(9), ..usual }, "deadline_at_ms"),
    ];
    for (options, want) in table {
        match decide(&account(&[created()]), &Facts::default(), &asked(create(options)), NOW) {
            Err(Rejection::Invalid { field, .. }) => assert_eq!(field, want, "{options:?}"),
            other => panic!("{options:?}: {other:?}"),
        }
    }
}

#[test]
fn a_delayed_task_is_leased_only_when_its_time_has_come() {
    let given = [created(), with_options(JobOptions { start_at: later(5_000), ..JobOptions::default() })];
    let (id, summarize) = ("summarize-2", TaskKind::Summarize);
    let start = Command::StartTask { job: job(id), task: summarize.whole(), worker: "node-1/a".to_owned() };
    let waits = Rejection::TaskState { job: id.to_owned(), task: "summarize".to_owned(), wanted: "ready" };
    check(&given, start.clone(), &Err(waits));
    let task = TaskRef { job: job(id), task: summarize.whole(), attempt: 0 };
    let release = |reason| Command::ReleaseTask { task: task.clone(), reason };
    check(&given, release(ReleaseReason::BackOffOver), &Ok(vec![]));
    let over =
        Event::TaskReleased { job: job(id), task: summarize.whole(), attempt: 0, reason: ReleaseReason::DelayOver };
    check(&given, release(ReleaseReason::DelayOver), &Ok(vec![over.clone()]));
    let due = [given.as_slice(), &[over]].concat();
    check(&due, start, &Ok(vec![started(id, summarize, 1)]));
    check(&due, release(ReleaseReason::DelayOver), &Ok(vec![]));
}

#[test]
fn pausing_takes_the_leases_back_and_gives_none() {
    let id = "summarize-2";
    let given = [created(), requested(id, "summarize"), started(id, TaskKind::Summarize, 1)];
    let (pause, resume) = (Command::PauseJob { job: job(id) }, Command::ResumeJob { job: job(id) });
    check(&given, resume.clone(), &Ok(vec![]));
    check(&given, pause.clone(), &Ok(vec![changed(id, JobChange::Paused)]));
    let paused = [given.as_slice(), &[changed(id, JobChange::Paused)]].concat();
    check(&paused, pause, &Ok(vec![]));
    let task = TaskRef { job: job(id), task: TaskKind::Summarize.whole(), attempt: 1 };
    let stale = Rejection::StaleAttempt { job: id.to_owned(), task: "summarize".to_owned(), attempt: 1 };
    check(&paused, Command::ReportSuccess { task, result: json!({}) }, &Err(stale));
    let start = Command::StartTask { job: job(id), task: TaskKind::Summarize.whole(), worker: "node-1/a".to_owned() };
    check(&paused, start.clone(), &Err(Rejection::JobState { job: id.to_owned(), wanted: "resumed" }));
    check(&paused, resume, &Ok(vec![changed(id, JobChange::Resumed)]));
    let resumed = [paused.as_slice(), &[changed(id, JobChange::Resumed)]].concat();
    check(&resumed, start, &Ok(vec![started(id, TaskKind::Summarize, 2)]));
    let absent = Rejection::NotFound { what: "open job", id: "call-9".to_owned() };
    check(&given, Command::PauseJob { job: job("call-9") }, &Err(absent));
}

#[test]
fn a_deadline_fails_what_has_not_ended() {
    let options = JobOptions { deadline_at: later(5_000), ..JobOptions::default() };
    let expire = Command::ExpireJob { job: job("summarize-2") };
    let failure = Failure { code: "deadline_exceeded".to_owned(), message: "the job's deadline has passed".to_owned() };
    let failed = Event::JobFailed { job: job("summarize-2"), task: TaskKind::Summarize.whole(), failure };
    check(&[created(), with_options(options)], expire.clone(), &Ok(vec![failed.clone()]));
    check(&[created(), with_options(options), failed], expire.clone(), &Ok(vec![]));
    check(&[created(), with_options(JobOptions::default())], expire, &Ok(vec![]));
    // Of several tasks the one at work is named.
    let call = Event::JobRequested {
        job: job("call-2"),
        kind: JobKind::Call,
        input: json!({"url": "u"}),
        playbook: None,
        options,
    };
    let fetched = [started("call-2", TaskKind::Fetch, 1), succeeded("call-2", TaskKind::Fetch, json!({}))];
    let given = [&[created(), call], fetched.as_slice(), &[started("call-2", TaskKind::Probe, 1)]].concat();
    let decided = decide(&account(&given), &Facts::default(), &asked(Command::ExpireJob { job: job("call-2") }), NOW);
    assert!(matches!(
        decided.unwrap().events[..],
        [Event::JobFailed { task: TaskId { kind: TaskKind::Probe, .. }, .. }]
    ));
}

#[test]
fn a_failed_job_goes_on_where_it_stopped() {
    let given = failed_call();
    let restart = changed("call-2", JobChange::Restarted { from: None });
    assert_eq!(restarted(&given, "call-2", None).unwrap().events, std::slice::from_ref(&restart));
    let mut state = ended(&given);
    state.evolve(NOW, &restart);
    assert_eq!((state.state, state.ended_at, &state.failure), (JobState::Running, None, &None));
    let task = |kind: TaskKind| state.tasks[&kind.whole()].clone();
    assert_eq!(task(TaskKind::Probe).state, TaskState::Succeeded, "what succeeded is not done again");
    let transcript = task(TaskKind::Transcript);
    assert_eq!((transcript.state, transcript.attempt, transcript.failures), (TaskState::Ready, 1, 0));
    assert_eq!(transcript.checkpoint, Some(json!({"chunk": 3})));
    assert_eq!(task(TaskKind::Normalize).state, TaskState::Ready, "its attempt ended with the job");
    assert_eq!(task(TaskKind::Thumbnail).state, TaskState::Ready);
    assert_eq!(task(TaskKind::Summarize).state, TaskState::Blocked);
}

#[test]
fn from_a_task_on_all_is_done_anew() {
    let given = failed_call();
    let mut state = ended(&given);
    state.evolve(NOW, &changed("call-2", JobChange::Restarted { from: Some(TaskKind::Probe.whole()) }));
    let state_of = |kind: TaskKind| state.tasks[&kind.whole()].state;
    assert_eq!(state_of(TaskKind::Fetch), TaskState::Succeeded);
    assert_eq!(state_of(TaskKind::Probe), TaskState::Ready);
    let rest = [TaskKind::Normalize, TaskKind::Thumbnail, TaskKind::Transcript, TaskKind::Summarize, TaskKind::Index];
    assert!(rest.into_iter().all(|kind| state_of(kind) == TaskState::Blocked));
    let forgotten = |task: &Task| task.result.is_none() && task.checkpoint.is_none();
    assert!(
        rest.iter().all(|kind| forgotten(&state.tasks[&kind.whole()]))
            && forgotten(&state.tasks[&TaskKind::Probe.whole()])
    );
    assert_eq!(state.tasks[&TaskKind::Transcript.whole()].attempt, 1, "attempts count on: a late report is refused");
    let unknown = restarted(&given, "call-2", Some(TaskKind::Chat));
    assert!(matches!(unknown, Err(Rejection::Invalid { field: "from_task", .. })), "{unknown:?}");
}

#[test]
fn a_restart_needs_an_ended_job_that_is_kept_and_room() {
    let id = "summarize-2";
    let open = [created(), requested(id, "summarize")];
    let restart = |id: &str| Command::RestartJob { job: job(id), from: None };
    check(&open, restart(id), &Err(Rejection::JobState { job: id.to_owned(), wanted: "ended: cancel it first" }));
    check(&open, restart("call-9"), &Err(Rejection::NotFound { what: "job", id: "call-9".to_owned() }));

    let done = [
        &open[..],
        &[started(id, TaskKind::Summarize, 1), succeeded(id, TaskKind::Summarize, json!({}))],
        &[Event::JobSucceeded { job: job(id) }],
    ]
    .concat();
    let unclear = restarted(&done, id, None);
    assert!(matches!(unclear, Err(Rejection::Invalid { field: "from_task", .. })), "{unclear:?}");
    let again = JobChange::Restarted { from: Some(TaskKind::Summarize.whole()) };
    assert_eq!(restarted(&done, id, Some(TaskKind::Summarize)).unwrap().events, [changed(id, again)]);

    let cancelled = [&open[..], &[Event::JobCancelled { job: job(id) }]].concat();
    assert_eq!(restarted(&cancelled, id, None).unwrap().events.len(), 1);
    let facts = Facts { ended_job: Some(ended(&cancelled)), ..Facts::default() };
    let mut trimmed = account(&cancelled);
    trimmed.first_seq = 3;
    let refused = decide(&trimmed, &facts, &asked(restart(id)), NOW);
    assert_eq!(refused, Err(Rejection::NotFound { what: "job", id: id.to_owned() }));
    let mut full = account(&cancelled);
    for n in 0..OPEN_JOBS_MAX {
        full.evolve(full.last_seq + 1, NOW, 0, &requested(&format!("probe-{n}"), "probe"));
    }
    let refused = decide(&full, &facts, &asked(restart(id)), NOW);
    assert_eq!(refused, Err(Rejection::Limit { what: "open jobs", max: 1_000 }));
    let limits = TaskLimits { open_jobs_max: Some(OPEN_JOBS_MAX + 1), ..TaskLimits::default() };
    full.evolve(full.last_seq + 1, NOW, 0, &Event::TaskLimitsSet { limits });
    assert_eq!(decide(&full, &facts, &asked(restart(id)), NOW).map(drop), Ok(()));
}

#[test]
fn a_restarted_job_has_no_times_and_all_its_attempts_again() {
    let (id, summarize) = ("summarize-2", TaskKind::Summarize);
    let options = JobOptions { deadline_at: later(9), priority: Priority::of_number(2).unwrap(), start_at: None };
    let mut given = vec![created(), with_options(options), started(id, summarize, 1)];
    given.extend(failed_for_good(id, summarize));
    let mut open = account(&given);
    open.jobs.insert(job(id), ended(&given));
    open.evolve(open.last_seq + 1, NOW, 0, &changed(id, JobChange::Restarted { from: None }));
    assert_eq!(open.jobs[&job(id)].options, JobOptions { deadline_at: None, ..options });
    open.evolve(open.last_seq + 1, NOW, 0, &started(id, summarize, 2));
    let task = TaskRef { job: job(id), task: summarize.whole(), attempt: 2 };
    let report = Command::ReportFailure { task, failure: failure(), retry: RetryAsked::BackOff };
    let decided = decide(&open, &Facts::default(), &asked(report), NOW).unwrap();
    assert!(matches!(decided.events[..], [Event::TaskFailed { retry_at: Some(_), .. }]), "{decided:?}");
    let expired = decide(&open, &Facts::default(), &asked(Command::ExpireJob { job: job(id) }), NOW).unwrap();
    assert_eq!(expired.events, []);
}

#[test]
fn leases_are_given_within_the_limits_of_the_account() {
    let (summarize, chat) = (TaskKind::Summarize, TaskKind::Chat);
    let limits = |all: Option<u32>, of_summaries: u32| TaskLimits {
        weight: 1,
        running_max: all,
        running_max_by_kind: BTreeMap::from([(summarize, of_summaries)]),
        open_jobs_max: None,
    };
    let start = |id: &str, task| Command::StartTask {
        job: job(id),
        task: TaskKind::whole(task),
        worker: "node-1/a".to_owned(),
    };
    let mut given = vec![created(), requested("summarize-2", "summarize"), requested("summarize-3", "summarize")];
    given.extend([requested("chat-4", "chat"), requested("chat-5", "chat"), started("summarize-2", summarize, 1)]);
    check(&given, start("summarize-3", summarize), &Ok(vec![started("summarize-3", summarize, 1)]));
    let set = Command::SetTaskLimits { limits: limits(Some(2), 1) };
    check(&given, set.clone(), &Ok(vec![Event::TaskLimitsSet { limits: limits(Some(2), 1) }]));
    given.push(Event::TaskLimitsSet { limits: limits(Some(2), 1) });
    check(&given, set, &Ok(vec![]));
    let refused = |what: &'static str, max| Err(Rejection::Limit { what, max });
    check(&given, start("summarize-3", summarize), &refused("running tasks of this kind", 1));
    check(&given, start("chat-4", chat), &Ok(vec![started("chat-4", chat, 1)]));
    given.push(started("chat-4", chat, 1));
    check(&given, start("chat-5", chat), &refused("running tasks", 2));
    given.extend([succeeded("summarize-2", summarize, json!({})), Event::JobSucceeded { job: job("summarize-2") }]);
    check(&given, start("chat-5", chat), &Ok(vec![started("chat-5", chat, 1)]));
    for (limits, field) in [
        (TaskLimits { weight: 0, ..limits(None, 1) }, "weight"),
        (TaskLimits { weight: WEIGHT_MAX + 1, ..limits(None, 1) }, "weight"),
        (limits(Some(RUNNING_MAX_MAX + 1), 1), "running_max"),
        (limits(None, 0), "running_max_by_kind"),
        (TaskLimits { open_jobs_max: Some(OPEN_JOBS_MAX_MAX + 1), ..limits(None, 1) }, "open_jobs_max"),
    ] {
        let decided = decide(&account(&given), &Facts::default(), &asked(Command::SetTaskLimits { limits }), NOW);
        assert!(
            matches!(&decided, Err(Rejection::Invalid { field: named, .. }) if *named == field),
            "{field}: {decided:?}"
        );
    }
}

#[test]
fn an_account_has_room_for_the_usual_jobs_or_those_it_was_given() {
    let mut full = account(&[created()]);
    let mut asked_with = |open_jobs_max: Option<u32>| {
        if open_jobs_max.is_some() {
            let limits = TaskLimits { open_jobs_max, ..TaskLimits::default() };
            full.evolve(full.last_seq + 1, NOW, 0, &Event::TaskLimitsSet { limits });
        }
        while full.jobs.len() < usize::try_from(OPEN_JOBS_MAX).unwrap() {
            let id = format!("summarize-{}", full.last_seq + 1);
            full.evolve(full.last_seq + 1, NOW, 0, &requested(&id, "summarize"));
        }
        decide(&full, &Facts::default(), &asked(create(JobOptions::default())), NOW).map(drop)
    };
    let refused = |max| Err(Rejection::Limit { what: "open jobs", max });
    assert_eq!(asked_with(None), refused(1_000));
    assert_eq!(asked_with(Some(1_001)), Ok(()));
    assert_eq!(asked_with(Some(900)), refused(900));
}

proptest! {
    /// Leases are counted, not slots: whatever attempts come to, and however often leaders forget, the limit is met and
    /// never passed, and when all have ended all of it is there again.
    #[test]
    fn no_history_leaks_a_slot(steps in prop::collection::vec((0..6_usize, 0..8_u8), 1..200), max in 1..4_u32) {
        let id = |n: usize| format!("summarize-{n}");
        let mut given = account(&[created()]);
        let evolve = |given: &mut Account, event: &Event| given.evolve(given.last_seq + 1, NOW, 0, event);
        (0..6).for_each(|n| evolve(&mut given, &requested(&id(n), "summarize")));
        let limits = TaskLimits { running_max: Some(max), ..TaskLimits::default() };
        evolve(&mut given, &Event::TaskLimitsSet { limits });
        for (n, step) in steps {
            let attempt = given.jobs.get(&job(&id(n))).map_or(0, |job| job.tasks[&TaskKind::Summarize.whole()].attempt);
            let task = TaskRef { job: job(&id(n)), task: TaskKind::Summarize.whole(), attempt };
            let command = match step {
                0..3 => Command::StartTask { job: task.job, task: task.task, worker: "w".to_owned() },
                3 => Command::ReleaseTask { task, reason: ReleaseReason::LeaseLost },
                4 => Command::ReportFailure { task, failure: failure(), retry: RetryAsked::BackOff },
                5 => Command::ReleaseTask { task, reason: ReleaseReason::BackOffOver },
                6 => Command::PauseJob { job: task.job },
                _ => Command::ResumeJob { job: task.job },
            };
            let running = |given: &Account| {
                let runs = |job: &&Job| job.tasks[&TaskKind::Summarize.whole()].state == TaskState::Running;
                u32::try_from(given.jobs.values().filter(runs).count()).unwrap()
            };
            let before = running(&given);
            let is_start = matches!(command, Command::StartTask { .. });
            let is_ready = given.jobs.get(&job(&id(n))).is_some_and(|job| {
                !job.is_paused && job.tasks[&TaskKind::Summarize.whole()].state == TaskState::Ready
            });
            let decided = decide(&given, &Facts::default(), &asked(command), NOW);
            if is_start && is_ready {
                prop_assert_eq!(decided.is_ok(), before < max, "with {} running", before);
            }
            decided.map(|decided| decided.events).unwrap_or_default().iter().for_each(|event| evolve(&mut given, event));
            prop_assert!(running(&given) <= max);
        }
    }
}

#[test]
fn a_probe_that_finds_chunks_splits_what_needs_them() {
    let split = json!({"split": {"chunks": 2, "has_sound": true, "recipe": "r", "plan": []}});
    let normalize =
        Event::JobChanged { job: job("normalize-2"), change: JobChange::Split(Split { chunks: 2, has_sound: true }) };
    for (kind, result, more) in [
        ("normalize", split.clone(), vec![normalize]),
        ("normalize", json!({"split": null}), vec![]),
        ("normalize", json!({"split": {"chunks": 70_000, "has_sound": true}}), vec![]),
        ("thumbnail", split, vec![]),
    ] {
        let id = format!("{kind}-2");
        let fetched = succeeded(&id, TaskKind::Fetch, json!({}));
        let given = [
            created(),
            requested(&id, kind),
            started(&id, TaskKind::Fetch, 1),
            fetched,
            started(&id, TaskKind::Probe, 1),
        ];
        let task = TaskRef { job: job(&id), task: TaskKind::Probe.whole(), attempt: 1 };
        let done = succeeded(&id, TaskKind::Probe, result.clone());
        check(&given, Command::ReportSuccess { task, result }, &Ok([vec![done], more].concat()));
    }
}

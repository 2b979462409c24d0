//! Jobs by hand: when they run, what holds them up, and what becomes of them after their end.

use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use steward_proto::account::v1::{Role, SetTaskLimitsRequest};
use steward_proto::job::v1::{
    CreateJobRequest, ExplainTaskRequest, ExplainTaskResponse, Job, JobState, ListJobsRequest, PauseJobRequest,
    RedriveJobsRequest, RestartJobRequest, ResumeJobRequest, TaskState,
};
use steward_tests::harness::{Api, Node, WAIT_MAX, eventually, now_ms};
use tonic::{Code, Status};

const HOUR_MS: u64 = 3_600_000;

async fn node_with_acme() -> (Node, Api) {
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    (node, api)
}

fn search() -> CreateJobRequest {
    CreateJobRequest {
        account_id: "acme".to_owned(),
        kind: "search".to_owned(),
        input_json: json!({"query": "q"}).to_string(),
        ..CreateJobRequest::default()
    }
}

/// Asks for a job. A node that is new raises the formats of its shards by itself, in a moment.
async fn create(api: &Api, request: CreateJobRequest) -> String {
    let created = async || match api.jobs().create_job(request.clone()).await {
        Ok(created) => Some(created.into_inner().job_id),
        Err(status) if status.message().contains("needs format") => None,
        Err(status) => panic!("the job is refused: {status}"),
    };
    eventually(WAIT_MAX, "the formats to be raised", created).await
}

async fn explain(api: &Api, job: &str) -> ExplainTaskResponse {
    let (account_id, job_id, task) = ("acme".to_owned(), job.to_owned(), "search".to_owned());
    api.jobs()
        .explain_task(ExplainTaskRequest { account_id, job_id, task })
        .await
        .expect("the task is explained")
        .into_inner()
}

async fn ends(api: &Api, job: &str, state: JobState) -> Job {
    let ended = async || Some(api.job("acme", job).await).filter(|job| job.state() == state);
    eventually(WAIT_MAX, &format!("{job} to be {state:?}"), ended).await
}

async fn restart(api: &Api, job: &str, from_task: &str) -> Result<(), Status> {
    let (account_id, job_id, from_task) = ("acme".to_owned(), job.to_owned(), from_task.to_owned());
    api.jobs().restart_job(RestartJobRequest { account_id, job_id, from_task }).await.map(drop)
}

#[tokio::test]
async fn a_job_waits_for_its_time_is_paused_cancelled_and_restarted() {
    let (node, api) = node_with_acme().await;
    let start_at_ms = now_ms() + HOUR_MS;
    let job = create(&api, CreateJobRequest { priority: 2, start_at_ms, ..search() }).await;
    let shown = api.job("acme", &job).await;
    assert_eq!((shown.priority, shown.start_at_ms, shown.tasks[0].state()), (2, start_at_ms, TaskState::Delayed));
    let told = explain(&api, &job).await;
    assert_eq!((told.gate.as_str(), told.opens_at_ms), ("start", start_at_ms), "{told:?}");

    let of_job = || ("acme".to_owned(), job.clone());
    let (account_id, job_id) = of_job();
    api.jobs().pause_job(PauseJobRequest { account_id, job_id }).await.unwrap();
    assert!(api.job("acme", &job).await.paused);
    let told = node.ctl_json(&["task", "explain", "acme", &job, "search"]);
    assert_eq!((&told["gate"], &told["opens_at"]), (&json!("paused"), &Value::Null));
    let (account_id, job_id) = of_job();
    api.jobs().resume_job(ResumeJobRequest { account_id, job_id }).await.unwrap();
    let open = restart(&api, &job, "").await.expect_err("it has not ended");
    assert_eq!(open.code(), Code::FailedPrecondition, "{open}");

    api.cancel_job("acme", &job).await;
    assert_eq!(explain(&api, &job).await.gate, "ended");
    restart(&api, &job, "").await.expect("an ended job is opened again");
    let done = ends(&api, &job, JobState::Succeeded).await;
    assert_eq!((done.start_at_ms, done.tasks[0].attempt), (0, 1), "it started at once");
    let unclear = restart(&api, &job, "").await.expect_err("it succeeded");
    assert_eq!(unclear.code(), Code::InvalidArgument, "{unclear}");
    restart(&api, &job, "search").await.expect("from a task on");
    let again = async || Some(api.job("acme", &job).await).filter(|job| job.tasks[0].attempt == 2);
    eventually(WAIT_MAX, "the second attempt", again).await;
    ends(&api, &job, JobState::Succeeded).await;
    let mut types: Vec<_> = api.feed("acme").await.into_iter().map(|event| event.r#type).collect();
    types.retain(|name| name.starts_with("job."));
    let want = ["requested", "paused", "resumed", "cancelled", "restarted", "succeeded", "restarted", "succeeded"];
    assert_eq!(types, want.map(|name| format!("job.{name}")));
}

#[tokio::test]
async fn what_missed_its_deadline_is_listed_and_redriven() {
    let (node, api) = node_with_acme().await;
    let late = |after_ms: u64| CreateJobRequest {
        start_at_ms: now_ms() + after_ms - 1,
        deadline_at_ms: now_ms() + after_ms,
        ..search()
    };
    let other = create(&api, CreateJobRequest { start_at_ms: now_ms() + HOUR_MS, ..search() }).await;
    let mut jobs = vec![];
    for _ in 0..3 {
        let job = create(&api, late(1_500)).await;
        node.ctl_json(&["job", "pause", "acme", &job]);
        jobs.push(job);
    }
    for job in &jobs {
        let failed = ends(&api, job, JobState::Failed).await;
        assert_eq!(failed.error_code, "deadline_exceeded");
    }
    let list = |state: JobState, kind: &str| ListJobsRequest {
        account_id: "acme".to_owned(),
        state: state.into(),
        kind: kind.to_owned(),
        ..ListJobsRequest::default()
    };
    let listed = async |state, kind| {
        let found = api.jobs().list_jobs(list(state, kind)).await.unwrap().into_inner().jobs;
        found.into_iter().map(|job| job.job_id).collect::<Vec<_>>()
    };
    assert_eq!(listed(JobState::Running, "").await, [other.as_str()]);
    assert_eq!(listed(JobState::Failed, "search").await.len(), 3);
    assert_eq!(listed(JobState::Failed, "call").await.len(), 0);

    let redrive = |error_code: &str, dry_run| RedriveJobsRequest {
        account_id: "acme".to_owned(),
        error_code: error_code.to_owned(),
        dry_run,
        ..RedriveJobsRequest::default()
    };
    let redriven = async |code, dry| api.jobs().redrive_jobs(redrive(code, dry)).await.unwrap().into_inner().jobs;
    let before = RedriveJobsRequest { ended_before_ms: 1, ..redrive("", false) };
    let after = RedriveJobsRequest { ended_after_ms: now_ms() + HOUR_MS, ..redrive("", false) };
    let other_kind = RedriveJobsRequest { kind: "call".to_owned(), ..redrive("", false) };
    for outside in [before, after, other_kind] {
        let told = api.jobs().redrive_jobs(outside.clone()).await.expect("it is counted").into_inner();
        assert_eq!((told.jobs, told.next_page_token.as_str()), (0, ""), "{outside:?}");
    }
    assert_eq!((redriven("media_stalled", false).await, redriven("deadline_exceeded", true).await), (0, 3));
    let counted = node.ctl_json(&["job", "redrive", "acme", "--code", "deadline_exceeded"]);
    assert_eq!(counted["jobs"], json!(3));
    for job in &jobs {
        ends(&api, job, JobState::Succeeded).await;
    }
    assert_eq!(redriven("", false).await, 0, "nothing has failed any more");
    api.cancel_job("acme", &other).await;
}

#[tokio::test]
async fn an_account_may_be_given_room_for_more_jobs_than_usual() {
    const ROOM: usize = 1_005;
    let (mut node, api) = node_with_acme().await;
    let later = CreateJobRequest { start_at_ms: now_ms() + HOUR_MS, ..search() };
    create(&api, later.clone()).await;
    let set = node.ctl_json(&["account", "limit", "acme", "--open-jobs-max", &ROOM.to_string()]);
    assert_eq!(set["task_limits"]["open_jobs_max"], ROOM);
    let more = (1..ROOM).map(|_| {
        let (mut jobs, later) = (api.jobs(), later.clone());
        async move { jobs.create_job(later).await.map(drop) }
    });
    let refused =
        stream::iter(more).buffer_unordered(64).filter_map(async |created| created.err()).collect::<Vec<_>>().await;
    assert!(refused.is_empty(), "{refused:?}");

    node.kill();
    node.restart();
    let api = node.api().await;
    let full = api.jobs().create_job(later).await.expect_err("all of them are open again");
    let told = full.message().contains("has 1005 open jobs");
    assert_eq!((full.code(), told), (Code::ResourceExhausted, true), "{full}");
}

#[tokio::test]
async fn the_operator_limits_what_an_account_runs_at_a_time() {
    let (node, api) = node_with_acme().await;
    let limit = |more: &[&str]| node.ctl(&[&["account", "limit", "acme"], more].concat());
    let told = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let set = async || {
        let output = limit(&["--weight", "3", "--running-max", "1", "--kind", "search=1", "--json"]);
        let waits = told(&output).contains("needs format");
        assert!(waits || output.status.success(), "{}", told(&output));
        (!waits).then_some(())
    };
    eventually(WAIT_MAX, "the formats to be raised", set).await;
    let shown = node.ctl_json(&["account", "get", "acme"]);
    let want = json!({"weight": 3, "running_max": 1, "running_max_by_kind": {"search": 1}, "open_jobs_max": null});
    assert_eq!(shown["task_limits"], want);
    for (wrong, rule) in [
        (["--weight", "101"], "weight must be 1 to 100"),
        (["--kind", "fry=1"], "must be about kinds of task"),
        (["--kind", "search=0"], "running_max_by_kind must be 1 to 100000"),
        (["--kind", "search"], "must have the form KIND=MAX"),
        (["--open-jobs-max", "10001"], "open_jobs_max must be at most 10000"),
    ] {
        let output = limit(&wrong);
        assert!(!output.status.success() && told(&output).contains(rule), "{wrong:?}: {}", told(&output));
    }
    let (_, key) = api.create_key("acme", Role::Admin, 0).await;
    let asked = SetTaskLimitsRequest { account_id: "acme".to_owned(), task_limits: None };
    let refused = node.api_as(&key).await.accounts().set_task_limits(asked).await;
    assert_eq!(refused.map(drop).expect_err("it is not the account's to say").code(), Code::PermissionDenied);
    let jobs = [create(&api, search()).await, create(&api, search()).await, create(&api, search()).await];
    for job in &jobs {
        ends(&api, job, JobState::Succeeded).await;
    }
    // No two of them ran at a time.
    let feed = api.feed("acme").await;
    let mut running = 0;
    for event in &feed {
        match event.r#type.as_str() {
            "task.started" => running += 1,
            "task.succeeded" => running -= 1,
            _ => {}
        }
        assert!((0..=1).contains(&running), "{feed:?}");
    }
    assert!(limit(&[]).status.success());
    assert_eq!(node.ctl_json(&["account", "get", "acme"])["task_limits"], Value::Null);
}

#[tokio::test]
async fn jobs_are_their_accounts_own() {
    let (node, api) = node_with_acme().await;
    let job = create(&api, CreateJobRequest { start_at_ms: now_ms() + HOUR_MS, ..search() }).await;
    api.create_account("other").await;
    let (_, key) = api.create_key("other", Role::Admin, 0).await;
    let stranger = node.api_as(&key).await;
    let (from_task, task) = (String::new(), "search".to_owned());
    let of = || ("acme".to_owned(), job.clone());
    let mut jobs = stranger.jobs();
    let (account_id, job_id) = of();
    let paused = jobs.pause_job(PauseJobRequest { account_id, job_id }).await.map(drop);
    let (account_id, job_id) = of();
    let resumed = jobs.resume_job(ResumeJobRequest { account_id, job_id }).await.map(drop);
    let (account_id, job_id) = of();
    let restarted = jobs.restart_job(RestartJobRequest { account_id, job_id, from_task }).await.map(drop);
    let (account_id, job_id) = of();
    let explained = jobs.explain_task(ExplainTaskRequest { account_id, job_id, task }).await.map(drop);
    let (account_id, _) = of();
    let redriven =
        jobs.redrive_jobs(RedriveJobsRequest { account_id, ..RedriveJobsRequest::default() }).await.map(drop);
    for refused in [paused, resumed, restarted, explained, redriven] {
        let status = refused.expect_err("it is another account's");
        assert!(matches!(status.code(), Code::NotFound | Code::PermissionDenied), "{status}");
    }
    assert!(!api.job("acme", &job).await.paused);
    api.cancel_job("acme", &job).await;
}

//! Schedules as clients and operators see them: made, previewed, changed and taken away.

use serde_json::json;
use steward_proto::account::v1::Role;
use steward_proto::schedule::v1::{
    CreateScheduleRequest, DeleteScheduleRequest, GetScheduleRequest, ListSchedulesRequest, MissedTicks,
    PauseScheduleRequest, PreviewScheduleRequest, ResumeScheduleRequest, Schedule, ScheduleSettings,
    UpdateScheduleRequest,
};
use steward_tests::harness::{Api, Node, WAIT_MAX, eventually, now_ms};
use tonic::Code;

const HOUR_MS: u64 = 3_600_000;

fn nightly() -> CreateScheduleRequest {
    let settings = ScheduleSettings {
        expression: "30 2 * * *".to_owned(),
        time_zone: "europe/berlin".to_owned(),
        job_kind: "search".to_owned(),
        input_json: json!({"query": "q"}).to_string(),
        missed: MissedTicks::None.into(),
        ..ScheduleSettings::default()
    };
    CreateScheduleRequest {
        account_id: "acme".to_owned(),
        schedule_id: "nightly".to_owned(),
        settings: Some(settings),
        idempotency_key: "k1".to_owned(),
    }
}

/// Makes a schedule. A node that is new raises the formats of its shards by itself, in a moment.
async fn create(api: &Api, request: CreateScheduleRequest) -> Schedule {
    let created = async || match api.schedules().create_schedule(request.clone()).await {
        Ok(created) => created.into_inner().schedule,
        Err(status) if status.message().contains("needs format") => None,
        Err(status) => panic!("the schedule is refused: {status}"),
    };
    eventually(WAIT_MAX, "the formats to be raised", created).await
}

#[tokio::test]
async fn schedules_are_made_changed_and_taken_away_by_clients() {
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    let made = create(&api, nightly()).await;
    assert_eq!(create(&api, nightly()).await, made, "asked twice under one key");
    let settings = made.settings.clone().expect("the answer has the settings");
    assert_eq!((settings.time_zone.as_str(), settings.priority), ("Europe/Berlin", 3));
    let next = made.next.clone().expect("there is a next tick");
    assert!(next.local_time.contains("T02:30:00+0") && next.tick_ms > now_ms(), "{next:?}");
    let other = CreateScheduleRequest { idempotency_key: String::new(), ..nightly() };
    let exists = api.schedules().create_schedule(other).await.expect_err("the name is taken");
    assert_eq!(exists.code(), Code::AlreadyExists, "{exists}");

    let of = || ("acme".to_owned(), "nightly".to_owned());
    let (account_id, schedule_id) = of();
    let found = api.schedules().get_schedule(GetScheduleRequest { account_id, schedule_id, ticks: 3 }).await;
    let found = found.expect("it is there").into_inner();
    assert_eq!((found.ticks.len(), found.ticks[0].clone()), (3, next));
    let (account_id, schedule_id) = of();
    let paused = api.schedules().pause_schedule(PauseScheduleRequest { account_id, schedule_id }).await;
    assert!(paused.expect("it is paused").into_inner().schedule.expect("the answer has it").paused);
    let (account_id, schedule_id) = of();
    let resumed = api.schedules().resume_schedule(ResumeScheduleRequest { account_id, schedule_id }).await;
    assert!(!resumed.expect("it goes on").into_inner().schedule.expect("the answer has it").paused);
    let (account_id, schedule_id) = of();
    let hourly = ScheduleSettings { expression: "@hourly".to_owned(), smoothing_ms: HOUR_MS, ..settings };
    let asked = UpdateScheduleRequest { account_id, schedule_id, settings: Some(hourly.clone()) };
    let updated = api.schedules().update_schedule(asked).await.expect("it is updated").into_inner();
    let next = updated.schedule.expect("the answer has it").next.expect("there is a next tick");
    assert!(next.due_ms > next.tick_ms && next.due_ms < next.tick_ms + HOUR_MS, "{next:?}");
    let preview = PreviewScheduleRequest {
        account_id: "acme".to_owned(),
        expression: "@hourly".to_owned(),
        schedule_id: "nightly".to_owned(),
        smoothing_ms: HOUR_MS,
        ..PreviewScheduleRequest::default()
    };
    let told = api.schedules().preview_schedule(preview).await.expect("it is previewed").into_inner().ticks;
    assert_eq!((told.len(), told[0].due_ms - told[0].tick_ms), (5, next.due_ms - next.tick_ms));

    for (wrong, rule) in [
        (ScheduleSettings { expression: "* * * * * *".to_owned(), ..hourly.clone() }, "expression must have five"),
        (ScheduleSettings { time_zone: "Mars/Base".to_owned(), ..hourly.clone() }, "time_zone must be the IANA name"),
        (ScheduleSettings { job_kind: "fry".to_owned(), ..hourly.clone() }, "job_kind must be one of call"),
        (ScheduleSettings { input_json: "{}".to_owned(), ..hourly.clone() }, "input_json.query must be a text"),
        (ScheduleSettings { priority: 6, ..hourly.clone() }, "priority must be 1 to 5"),
        (ScheduleSettings { missed: 9, ..hourly.clone() }, "missed must be all, latest or none"),
        (ScheduleSettings { overlap: 9, ..hourly.clone() }, "overlap must be allow or skip"),
    ] {
        let (account_id, schedule_id) = of();
        let asked = UpdateScheduleRequest { account_id, schedule_id, settings: Some(wrong) };
        let refused = api.schedules().update_schedule(asked).await.expect_err(rule);
        assert!(refused.code() == Code::InvalidArgument && refused.message().starts_with(rule), "{refused}");
    }

    // They are their account's own.
    api.create_account("other").await;
    let (_, key) = api.create_key("other", Role::Admin, 0).await;
    let (account_id, schedule_id) = of();
    let stranger = node.api_as(&key).await;
    let refused = stranger.schedules().delete_schedule(DeleteScheduleRequest { account_id, schedule_id }).await;
    let refused = refused.expect_err("it is another account's");
    assert!(matches!(refused.code(), Code::NotFound | Code::PermissionDenied), "{refused}");
    let (account_id, schedule_id) = of();
    api.schedules().delete_schedule(DeleteScheduleRequest { account_id, schedule_id }).await.expect("it is deleted");
    let account_id = "acme".to_owned();
    let left = api.schedules().list_schedules(ListSchedulesRequest { account_id }).await.expect("they are listed");
    assert_eq!(left.into_inner().schedules, []);
    let mut types: Vec<_> = api.feed("acme").await.into_iter().map(|event| event.r#type).collect();
    types.retain(|name| name.starts_with("schedule."));
    let want = ["created", "paused", "resumed", "updated", "deleted"];
    assert_eq!(types, want.map(|name| format!("schedule.{name}")));
}

#[tokio::test]
async fn operators_keep_schedules_by_hand_and_a_real_minute_makes_a_job() {
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    create(&api, nightly()).await;
    let cron = ["--cron", "* * * * *", "--kind", "search", "--input", r#"{"query": "q"}"#];
    let made = node.ctl_json(&[&["schedule", "create", "acme", "minutely"], &cron[..]].concat());
    assert_eq!((&made["state"], &made["missed"], &made["zone"]), (&json!("active"), &json!("latest"), &json!("UTC")));
    let listed = node.ctl_json(&["schedule", "list", "acme"]);
    assert_eq!((&listed[0]["schedule"], &listed[1]["schedule"]), (&json!("minutely"), &json!("nightly")));
    let shown = node.ctl_json(&["schedule", "show", "acme", "nightly", "--next", "5"]);
    assert_eq!(shown["next_ticks"].as_array().map(Vec::len), Some(5), "{shown}");
    let preview = ["schedule", "preview", "acme", "0 9 * * MON-FRI", "--zone", "Asia/Tokyo", "--next", "2"];
    let told = node.ctl_json(&preview);
    assert!(told[1]["local"].as_str().is_some_and(|local| local.ends_with("T09:00:00+09:00")), "{told}");
    assert_eq!(node.ctl_json(&["schedule", "pause", "acme", "nightly"])["state"], json!("paused"));
    assert_eq!(node.ctl_json(&["schedule", "resume", "acme", "nightly"])["state"], json!("active"));
    let update = ["schedule", "update", "acme", "nightly", "--overlap", "skip", "--missed", "all"];
    assert_eq!(node.ctl_json(&[&update[..], &cron[..]].concat())["overlap"], json!("skip"));
    assert_eq!(node.ctl_json(&["schedule", "delete", "acme", "nightly"])["state"], json!("deleted"));

    // The clock of this machine, once.
    let ticked = async || api.feed_of("acme", "schedule.ticked").await.into_iter().next();
    let ticked = eventually(2 * WAIT_MAX, "a tick", ticked).await;
    assert_eq!(ticked.actor, "schedule:minutely");
    let data: serde_json::Value = serde_json::from_str(&ticked.data_json).expect("the data are JSON");
    assert_eq!(data["schedule"], json!("minutely"), "{data}");
    let tick_ms = data["taken"][0]["tick_ms"].as_u64().expect("a tick made a job");
    assert_eq!(tick_ms % 60_000, 0);
    assert!(ticked.time_ms >= tick_ms && ticked.time_ms < tick_ms + 5_000, "{} {tick_ms}", ticked.time_ms);
    let job = data["taken"][0]["job"].as_str().expect("the job is named").to_owned();
    assert_eq!(api.job("acme", &job).await.cause_seq, ticked.seq);
}

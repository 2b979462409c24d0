//! Budgets of accounts: reserved while work runs, settled by what the provider says was used, and told to their owner.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use serde_json::{Value, json};
use steward_proto::account::v1::{Role, SetBudgetsRequest};
use steward_proto::job::v1::{CreateJobRequest, ExplainTaskRequest, ExplainTaskResponse, JobState};
use steward_tests::harness::{Api, Node, Outside, WAIT_MAX, eventually};
use tonic::Code;

/// A service whose answers are held back until it is opened.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn set(&self, open: bool) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = open;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let held = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_while(held, |open| !*open).unwrap_or_else(PoisonError::into_inner));
    }
}

/// Says that each chat took 7 tokens in and 3 out, as chat completions are answered.
fn chat_service(door: Door) -> Outside {
    Outside::start(move |_, _| {
        door.pass();
        let message = json!({"role": "assistant", "content": "Yes."});
        let body = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": null}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        });
        (200, vec![("content-type".to_owned(), "application/json".to_owned())], body.to_string().into_bytes())
    })
}

fn chat(max_tokens: u32) -> CreateJobRequest {
    let messages = json!([{"role": "user", "content": "one two"}]);
    CreateJobRequest {
        account_id: "acme".to_owned(),
        kind: "chat".to_owned(),
        input_json: json!({"model": "fake/m", "messages": messages, "max_tokens": max_tokens}).to_string(),
        ..CreateJobRequest::default()
    }
}

async fn create(api: &Api, request: CreateJobRequest) -> String {
    api.jobs().create_job(request).await.expect("the job is accepted").into_inner().job_id
}

async fn explain(api: &Api, job: &str) -> ExplainTaskResponse {
    let (account_id, job_id, task) = ("acme".to_owned(), job.to_owned(), "chat".to_owned());
    let asked = ExplainTaskRequest { account_id, job_id, task };
    api.jobs().explain_task(asked).await.expect("the task is explained").into_inner()
}

async fn stands_at(api: &Api, job: &str, gate: &str) -> ExplainTaskResponse {
    let stands = async || Some(explain(api, job).await).filter(|told| told.gate == gate);
    eventually(WAIT_MAX, &format!("{job} to stand at {gate}"), stands).await
}

async fn succeeds(api: &Api, job: &str) {
    let done = async || (api.job("acme", job).await.state() == JobState::Succeeded).then_some(());
    eventually(WAIT_MAX, &format!("{job} to succeed"), done).await;
}

fn budgets(node: &Node) -> Value {
    node.ctl_json(&["account", "get", "acme"])["budgets"].clone()
}

fn amounts(node: &Node) -> [u64; 3] {
    let shown = budgets(node);
    ["reserved", "spent", "left"].map(|field| shown[0][field].as_u64().expect("a budget of tokens is shown"))
}

fn set(node: &Node, more: &[&str]) {
    let output = node.ctl(&[&["account", "budget", "acme"], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn start(service: &Outside) -> (Node, Api) {
    let provider = format!(r#"ai.providers=[{{name="fake",base_url="{}",api_key="k"}}]"#, service.url("/v1"));
    let node = Node::builder()
        .reaching_loopback()
        .set(&provider)
        .set(r#"ai.prices=[{model="fake/m",input_micros=1000000,output_micros=2000000}]"#)
        .set("tasks.cpu_slots=4")
        .start();
    let api = node.api().await;
    api.create_account("acme").await;
    node.raised().await;
    (node, api)
}

#[tokio::test]
async fn a_budget_is_reserved_settled_and_outlives_a_kill() {
    let door = Door::default();
    let service = chat_service(door.clone());
    let (mut node, api) = start(&service).await;
    // 12 tokens of the question and 100 of the answer: two fit.
    set(&node, &["--tokens", "300/month"]);
    let jobs = [create(&api, chat(100)).await, create(&api, chat(100)).await, create(&api, chat(100)).await];
    stands_at(&api, &jobs[0], "running").await;
    stands_at(&api, &jobs[1], "running").await;
    let told = stands_at(&api, &jobs[2], "budget").await;
    let says = "the account's budget of 300 tokens has 0 spent and 224 reserved; about 112 are needed";
    assert!(told.message.starts_with(says) && told.since_ms > 0 && told.opens_at_ms > told.since_ms, "{told:?}");
    assert_eq!(amounts(&node), [224, 0, 76]);
    let waiting = r#"steward_tasks_waiting{gate="budget",class="cpu"}"#;
    let is_counted = async || (node.metric(waiting).await == 1).then_some(());
    eventually(WAIT_MAX, "the wait to be counted", is_counted).await;
    door.set(true);
    for job in &jobs {
        succeeds(&api, job).await;
    }
    assert_eq!(amounts(&node), [0, 30, 270]);
    let calls = api.feed_of("acme", "ai.called").await;
    let costs =
        calls.iter().map(|call| serde_json::from_str::<Value>(&call.data_json).expect("JSON")["cost_micros"].clone());
    assert_eq!(costs.collect::<Vec<_>>(), [json!(13), json!(13), json!(13)]);

    door.set(false);
    let job = create(&api, chat(100)).await;
    stands_at(&api, &job, "running").await;
    assert_eq!(amounts(&node), [112, 30, 158]);
    node.kill();
    door.set(true);
    node.restart();
    let api = node.api().await;
    succeeds(&api, &job).await;
    assert_eq!(amounts(&node), [0, 40, 260], "the lost attempt gave its reserve back, and its call was never reported");
}

#[tokio::test]
async fn what_can_never_fit_is_refused_and_the_owner_is_told_when_little_is_left() {
    let door = Door::default();
    door.set(true);
    let service = chat_service(door);
    let (node, api) = start(&service).await;
    set(&node, &["--money", "130/total"]);
    let refused = api.jobs().create_job(chat(100)).await.expect_err("212 are needed");
    let rule = "input_json must need less: about 212 money_micros is more than the account's whole budget of 130";
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, rule));
    // A call costs 13, and reserves 14 or 32.
    for _ in 0..8 {
        let job = create(&api, chat(1)).await;
        succeeds(&api, &job).await;
    }
    let reached = async || api.feed_of("acme", "account.budget_reached").await.into_iter().next();
    let told = eventually(WAIT_MAX, "the owner to be told", reached).await;
    let told: Value = serde_json::from_str(&told.data_json).expect("data is JSON");
    assert_eq!(told, json!({"unit": "money_micros", "percent": 80, "spent": 104, "max": 130, "until_ms": null}));
    let job = create(&api, chat(10)).await;
    let waits = stands_at(&api, &job, "budget").await;
    assert_eq!(waits.opens_at_ms, 0, "{waits:?}");
    set(&node, &["--money", "1000/total"]);
    succeeds(&api, &job).await;
    let shown = budgets(&node);
    assert_eq!([&shown[0]["spent"], &shown[0]["max"]], [&json!(117), &json!(1000)], "{shown}");

    let (_, key) = api.create_key("acme", Role::Admin, 0).await;
    let asked = || SetBudgetsRequest { account_id: "acme".to_owned(), budgets: vec![], currency: String::new() };
    let refused = node.api_as(&key).await.accounts().set_budgets(asked()).await.map(drop);
    assert_eq!(refused.expect_err("it is not the account's to say").code(), Code::PermissionDenied);
    for (wrong, rule) in [
        (["--money", "5/month", "--currency", "EUR"], "currency must be \"USD\""),
        (["--money", "5/year", "--tokens", "1/day"], "budgets.period must be total, month or day"),
        (["--money", "5", "--tokens", "1/day"], "must have the form AMOUNT/PERIOD"),
    ] {
        let output = node.ctl(&[&["account", "budget", "acme"], &wrong[..]].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(rule), "{wrong:?}: {told}");
    }
    set(&node, &[]);
    assert_eq!(budgets(&node), Value::Null);
    assert_eq!(api.feed_of("acme", "account.budgets_set").await.len(), 3);
}

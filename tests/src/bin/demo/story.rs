//! What the demo does, in order, and the table at its end.
#![expect(clippy::print_stdout, reason = "a demo talks to a person")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use steward_proto::account::v1::account_service_client::AccountServiceClient;
use steward_proto::account::v1::{CreateAccountRequest, Playbook, PutPlaybookRequest};
use steward_proto::job::v1::job_service_client::JobServiceClient;
use steward_proto::job::v1::{CreateJobRequest, GetJobRequest, Job};
use steward_proto::webhook::v1::webhook_service_client::WebhookServiceClient;
use steward_proto::webhook::v1::{CreateEndpointRequest, CreateSourceRequest};
use steward_tests::harness::{self, Bystander};
use tonic::Request;
use tonic::transport::Channel;

use crate::node::Node;
use crate::outside::{self, Webhook};
use crate::watch::Watch;

const ACCOUNT: &str = "acme";
const RECORDING: &str = "tests/fixtures/media/meeting_360p_25s.webm";
const ZOOM_SECRET: &str = "zoom-secret-token-of-the-demo";
const RECEIVER_SECRET: &str = "whsec_c3Rld2FyZC1kZW1vLXJlY2VpdmVyLXNlY3JldCE=";
const QUESTION: &str = "What might he have been made if he had married a more amiable woman?";

struct Facts {
    accepted: u32,
    refused: u32,
    took: Duration,
    restarted_in: Duration,
    piece: String,
    delivered: u32,
}

#[expect(clippy::disallowed_methods, reason = "the demo measures what a person waits")]
pub(crate) async fn tell(steward: &Path, folder: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    if folder.exists() {
        fs::remove_dir_all(folder).context("cannot remove the folder of the last demo")?;
    }
    fs::create_dir_all(folder).context("cannot make the demo's folder")?;

    say_step(1, "One node: loopback, embedded defaults");
    let mut node = Node::start(steward, folder)?;
    println!("  ready in {} ms · http://{} · grpc {}", node.ready_in.as_millis(), node.http, node.grpc);
    println!("  data in {}", node.data_dir().display());
    let platform = outside::platform(Path::new(RECORDING))?;
    let mut receiver = harness::receiver(Path::new("."), RECEIVER_SECRET)?;
    let hooks = set_up(&node, &platform, &receiver).await?;

    say_step(2, "The platform sends a webhook, sends it again, and someone else forges one");
    let refused_first = webhooks(&node, &hooks, &platform)?;

    say_step(3, "The playbook has asked for a job: a subscriber sees it all, each event with its cursor");
    let mut watch = Watch::new(&node.grpc, &node.key, ACCOUNT);
    let is_piece = |event: &str, data: &Value| {
        event == "task.succeeded" && data["task"].as_str().is_some_and(|task| task.starts_with("encode-"))
    };
    let (event, piece) = watch.until(is_piece).await?;
    let piece = piece["task"].as_str().context("the task has no name")?.to_owned();

    say_step(4, "kill -9 in the middle of the video, then a restart: the subscriber goes on at its cursor");
    node.kill()?;
    println!("  killed after event {} · of the video {piece} is done", event.seq);
    node.restart()?;
    println!("  ready again in {} ms", node.ready_in.as_millis());
    let restarted_in = node.ready_in;
    let (_, ended) = watch.until(|event, _| event == "job.succeeded" || event == "job.failed").await?;
    let job = job(&node, ended["job"].as_str().context("the job has no name")?).await?;
    ensure!(ended["failure"].is_null(), "the job failed: {ended}");
    show_results(&job);

    say_step(5, "A question about the call");
    ask(&node, &mut watch).await?;

    say_step(6, "An outbound webhook, verified by the official Standard Webhooks library");
    let delivered = deliveries(&mut receiver)?;

    let facts = Facts { accepted: 1, refused: refused_first, took: started.elapsed(), restarted_in, piece, delivered };
    table(&node, &watch, &job, &facts);
    try_next(steward, &node.data_dir());
    Ok(())
}

fn say_step(number: u32, title: &str) {
    println!("\n{number}. {title}");
}

/// An account with a source, a playbook and an endpoint. Returns the source's path.
async fn set_up(node: &Node, platform: &Bystander, receiver: &Bystander) -> anyhow::Result<String> {
    let channel = channel(node).await?;
    let account_id = ACCOUNT.to_owned();
    let mut accounts = AccountServiceClient::new(channel.clone());
    let create = CreateAccountRequest {
        account_id: account_id.clone(),
        display_name: "Acme, Inc.".to_owned(),
        idempotency_key: String::new(),
    };
    accounts.create_account(with_key(node, create)?).await.context("cannot create the account")?;
    let playbook = Playbook {
        playbook_id: "recorded-calls".to_owned(),
        on: "webhook.zoom.recording.completed".to_owned(),
        job_kind: "call".to_owned(),
        input_json: r#"{"url": "{{/body/payload/object/recording_files/0/download_url}}",
                        "title": "{{/body/payload/object/topic}}"}"#
            .to_owned(),
    };
    let put = PutPlaybookRequest { account_id: account_id.clone(), playbook: Some(playbook) };
    accounts.put_playbook(with_key(node, put)?).await.context("cannot put the playbook")?;
    let mut webhooks = WebhookServiceClient::new(channel);
    let endpoint = CreateEndpointRequest {
        account_id: account_id.clone(),
        endpoint_id: "crm".to_owned(),
        url: format!("http://127.0.0.1:{}/events", receiver.port),
        patterns: vec!["job.*".to_owned()],
        secret: RECEIVER_SECRET.to_owned(),
        ..CreateEndpointRequest::default()
    };
    webhooks.create_endpoint(with_key(node, endpoint)?).await.context("cannot create the endpoint")?;
    let source = CreateSourceRequest {
        account_id,
        source_id: "zoom".to_owned(),
        scheme: "zoom-v0".to_owned(),
        secrets: vec![ZOOM_SECRET.to_owned()],
        tolerance_s: 0,
        public_url: String::new(),
    };
    let created = webhooks.create_source(with_key(node, source)?).await.context("cannot create the source")?;
    let path = created.into_inner().source.context("the answer has no source")?.path;
    println!("  account {ACCOUNT} · source zoom · playbook recorded-calls · endpoint crm");
    println!(
        "  the platform serves the recording on port {}, the receiver listens on {}",
        platform.port, receiver.port
    );
    Ok(path)
}

/// Three deliveries: the first accepted, the second the same, the third refused. Returns how many were refused.
#[expect(clippy::disallowed_methods, reason = "a platform stamps its webhooks")]
fn webhooks(node: &Node, path: &str, platform: &Bystander) -> anyhow::Result<u32> {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock stands before 1970")?;
    let webhook = |forged: bool, at_ms: u64| Webhook {
        url: format!("http://{}{path}", node.http),
        secret: ZOOM_SECRET,
        recording: format!("http://127.0.0.1:{}/recording.webm", platform.port),
        at_ms,
        forged,
    };
    let at_ms = u64::try_from(at.as_millis()).context("the clock stands far in the future")?;
    for (what, forged, want) in [("signed", false, 200), ("the same again", false, 200), ("forged", true, 401)] {
        let (status, body) = webhook(forged, at_ms).send()?;
        println!("  {what:<15} → {status} {body}");
        ensure!(status == want, "{what}: wanted {want}");
    }
    Ok(1)
}

async fn ask(node: &Node, watch: &mut Watch) -> anyhow::Result<()> {
    println!("  {QUESTION}");
    let mut jobs = JobServiceClient::new(channel(node).await?);
    let request = CreateJobRequest {
        account_id: ACCOUNT.to_owned(),
        kind: "answer".to_owned(),
        input_json: serde_json::json!({ "question": QUESTION }).to_string(),
        idempotency_key: "demo-question".to_owned(),
        ..CreateJobRequest::default()
    };
    let asked = jobs.create_job(with_key(node, request)?).await.context("cannot ask")?.into_inner();
    let job_id = asked.job_id.clone();
    watch
        .until(move |event, data| event.starts_with("job.") && event != "job.requested" && data["job"] == job_id)
        .await?;
    let answered = job(node, &asked.job_id).await?;
    let result: Value = serde_json::from_str(&answered.tasks[0].result_json).context("the answer is no JSON")?;
    println!("\n  {}", result["answer"].as_str().context("there is no answer")?);
    let citations = result["citations"].as_array().context("there are no citations")?;
    ensure!(!citations.is_empty(), "the answer cites nothing");
    for citation in citations {
        let (from, to) = (&citation["start_ms"], &citation["end_ms"]);
        println!("  ↳ {}–{}: “{}”", clock(from), clock(to), citation["text"].as_str().unwrap_or_default());
    }
    Ok(())
}

/// Waits for the first three deliveries: the job asked for, its recording split into tasks, the job done.
fn deliveries(receiver: &mut Bystander) -> anyhow::Result<u32> {
    for want in ["job.requested", "job.split", "job.succeeded"] {
        let line: Value = serde_json::from_str(&receiver.line()?).context("the receiver speaks no JSON")?;
        println!("  {} {} · verified: {}", line["id"].as_str().unwrap_or("?"), line["type"], line["verified"]);
        ensure!(line["verified"] == true && line["type"] == want, "wanted a verified {want}, got {line}");
    }
    Ok(3)
}

fn show_results(job: &Job) {
    for task in &job.tasks {
        let Ok(result) = serde_json::from_str::<Value>(&task.result_json) else { continue };
        match task.kind.as_str() {
            "transcript" => {
                println!("\n  transcript  {}", shorten(result["text"].as_str().unwrap_or("unavailable"), 400))
            }
            "summarize" => {
                println!("  summary     {}", shorten(result["summary"].as_str().unwrap_or("unavailable"), 400));
                for item in result["action_items"].as_array().into_iter().flatten() {
                    println!("  to do       {}", item.as_str().unwrap_or_default());
                }
            }
            _ => {}
        }
    }
}

fn table(node: &Node, watch: &Watch, job: &Job, facts: &Facts) {
    let count = |kind: &str| watch.counts.get(kind).copied().unwrap_or(0);
    let tasks: Vec<_> = job.tasks.iter().map(|task| format!("{} ({})", task.kind, task.attempt)).collect();
    println!("\nWhat happened");
    println!("  webhooks       {} accepted, 1 repeated without effect, {} refused", facts.accepted, facts.refused);
    println!("  tasks (tries)  {}", tasks.join(", "));
    println!("  model calls    {}", count("ai.called"));
    println!("  events         {} in one gapless sequence, over {} reconnect(s)", watch.seq, watch.reconnects);
    println!("  kill -9        back in {} ms, went on behind {}", facts.restarted_in.as_millis(), facts.piece);
    println!("  deliveries     {} verified by the receiver", facts.delivered);
    println!("  time           job {} s, all {} s", (job.ended_at_ms - job.created_at_ms) / 1000, facts.took.as_secs());
    println!("  files          {}", node.data_dir().join("blobs").display());
    println!("  log, state     {}", node.data_dir().display());
}

/// Commands that work as they are printed, from the folder the demo ran in.
fn try_next(steward: &Path, dir: &Path) {
    let (steward, dir) = (steward.display(), dir.display());
    println!("\nTry next: start the node again with this data, then look around from another terminal");
    println!("  {steward} dev --data-dir {dir} --set ai.models_dir=.models");
    println!("  export STEWARD_KEY=$(cat {dir}/operator.key)");
    println!("  {steward} ctl event list {ACCOUNT}");
    println!("  {steward} ctl ask {ACCOUNT} \"What sort of man was he?\"");
    println!(
        "  curl -H \"Authorization: Bearer $STEWARD_KEY\" 'http://127.0.0.1:7420/v1/accounts/{ACCOUNT}/events?after=0'"
    );
}

async fn job(node: &Node, job_id: &str) -> anyhow::Result<Job> {
    let mut jobs = JobServiceClient::new(channel(node).await?);
    let request = GetJobRequest { account_id: ACCOUNT.to_owned(), job_id: job_id.to_owned() };
    let answer = jobs.get_job(with_key(node, request)?).await.context("cannot get the job")?;
    match answer.into_inner().job {
        Some(job) => Ok(job),
        None => bail!("the answer has no job"),
    }
}

async fn channel(node: &Node) -> anyhow::Result<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", node.grpc)).context("the address is no URL")?;
    endpoint.connect().await.context("cannot connect to the node")
}

fn with_key<T>(node: &Node, message: T) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {}", node.key).parse().context("the key is no header")?;
    request.metadata_mut().insert("authorization", bearer);
    Ok(request)
}

fn clock(ms: &Value) -> String {
    let ms = ms.as_u64().unwrap_or(0);
    format!("{}:{:02}.{}", ms / 60_000, ms / 1000 % 60, ms % 1000 / 100)
}

fn shorten(text: &str, chars: usize) -> String {
    let cut: String = text.chars().take(chars).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

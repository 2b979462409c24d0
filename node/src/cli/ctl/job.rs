//! `ctl job` and `ctl ask`.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_proto::event::v1 as events;
use steward_proto::event::v1::subscribe_request::From as StartAt;
use steward_proto::event::v1::subscribe_response::Item;
use steward_proto::job::v1 as pb;

use super::client::Client;
use super::follow::Progress;
use super::{job_view, show};

#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    /// Asks for a job
    Create {
        account: String,
        /// call, probe, normalize, hls, audio, storyboard, clip, thumbnail, transcript, summarize, index, chat, embed, search
        /// or answer
        kind: String,
        /// JSON object
        #[arg(long, default_value = "{}")]
        input: String,
        /// A retry with the same key gets the first answer
        #[arg(long, default_value = "")]
        idempotency_key: String,
        /// 1 to 5; 1 is the most urgent, 0 the usual one
        #[arg(long, default_value_t = 0)]
        priority: u32,
        /// Starts it so long from now, such as 10m
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        delay: Option<Duration>,
        /// Fails it unless it has ended so long from now, such as 2h
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        within: Option<Duration>,
        /// Waits for its end
        #[arg(long)]
        wait: bool,
    },
    /// Shows a job: a bar for each task, what was probed, and the results
    #[command(alias = "get")]
    Show { account: String, job: String },
    /// Lists jobs, newest first
    List {
        account: String,
        /// Most jobs to look at
        #[arg(long, default_value_t = 0)]
        limit: u32,
        /// Only running, succeeded, failed or cancelled ones
        #[arg(long)]
        state: Option<State>,
        /// Only those of this kind
        #[arg(long, default_value = "")]
        kind: String,
    },
    /// Ends a job
    Cancel { account: String, job: String },
    /// Stops what runs of a job, and starts nothing more of it
    Pause { account: String, job: String },
    /// Lets a paused job go on
    Resume { account: String, job: String },
    /// Opens an ended job again: what has not succeeded goes on
    Restart {
        account: String,
        job: String,
        /// Instead, does this task and all that wait for it anew
        #[arg(long, default_value = "", value_name = "TASK")]
        from: String,
    },
    /// Restarts jobs that failed
    Redrive {
        account: String,
        /// Only those of this kind
        #[arg(long, default_value = "")]
        kind: String,
        /// Only those that failed with this code
        #[arg(long, default_value = "")]
        code: String,
        /// Counts, and restarts none
        #[arg(long)]
        dry_run: bool,
    },
    /// Waits for a job's end; exits with 1 unless it succeeded
    Wait { account: String, job: String },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum State {
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<State> for pb::JobState {
    fn from(state: State) -> Self {
        match state {
            State::Running => Self::Running,
            State::Succeeded => Self::Succeeded,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }
}

pub(super) async fn job(client: &mut Client, command: JobCommand) -> anyhow::Result<()> {
    let mut jobs = client.jobs();
    match command {
        JobCommand::Create { account, kind, input, idempotency_key, priority, delay, within, wait } => {
            let request = pb::CreateJobRequest {
                account_id: account.clone(),
                kind,
                input_json: input,
                idempotency_key,
                priority,
                start_at_ms: delay.map_or(0, from_now),
                deadline_at_ms: within.map_or(0, from_now),
            };
            let created = jobs.create_job(request).await?.into_inner();
            if wait {
                let ended = wait_for(client, &account, &created.job_id).await?;
                return told(client, &ended);
            }
            client.out.one(client.json, &json!({"job": created.job_id, "seq": created.seq}))
        }
        JobCommand::Show { account, job } => {
            let found = get(client, &account, &job).await?;
            job_view::print(client, &found)
        }
        JobCommand::List { account, limit, state, kind } => {
            let state = state.map_or(pb::JobState::Unspecified, pb::JobState::from).into();
            let page_token = String::new();
            let request = pb::ListJobsRequest { account_id: account, page_size: limit, page_token, state, kind };
            let page = jobs.list_jobs(request).await?.into_inner();
            let rows: Vec<Value> = page.jobs.iter().map(job_view::listed).collect();
            client.out.rows(client.json, &rows, &["job", "kind", "state", "created", "ended", "recording", "error"])
        }
        JobCommand::Cancel { account, job } => {
            jobs.cancel_job(pb::CancelJobRequest { account_id: account, job_id: job.clone() }).await?;
            client.out.one(client.json, &json!({"job": job, "state": "cancelled"}))
        }
        JobCommand::Pause { account, job } => {
            jobs.pause_job(pb::PauseJobRequest { account_id: account, job_id: job.clone() }).await?;
            client.out.one(client.json, &json!({"job": job, "state": "paused"}))
        }
        JobCommand::Resume { account, job } => {
            jobs.resume_job(pb::ResumeJobRequest { account_id: account, job_id: job.clone() }).await?;
            client.out.one(client.json, &json!({"job": job, "state": "running"}))
        }
        JobCommand::Restart { account, job, from } => {
            let request = pb::RestartJobRequest { account_id: account, job_id: job.clone(), from_task: from };
            jobs.restart_job(request).await?;
            client.out.one(client.json, &json!({"job": job, "state": "running"}))
        }
        JobCommand::Redrive { account, kind, code, dry_run } => redrive(client, account, kind, code, dry_run).await,
        JobCommand::Wait { account, job } => {
            let ended = wait_for(client, &account, &job).await?;
            told(client, &ended)
        }
    }
}

/// A time of this machine's clock, in milliseconds since 1970.
fn from_now(wait: Duration) -> u64 {
    SystemClock::new().now().plus(wait).0
}

async fn redrive(
    client: &mut Client,
    account_id: String,
    kind: String,
    error_code: String,
    dry_run: bool,
) -> anyhow::Result<()> {
    let mut request = pb::RedriveJobsRequest { account_id, kind, error_code, dry_run, ..Default::default() };
    let mut restarted = 0;
    loop {
        let told = client.jobs().redrive_jobs(request.clone()).await?.into_inner();
        restarted += told.jobs;
        request.page_token = told.next_page_token;
        if request.page_token.is_empty() {
            return client.out.one(client.json, &json!({"jobs": restarted, "dry_run": dry_run}));
        }
    }
}

pub(super) async fn ask(client: &mut Client, account: String, question: String) -> anyhow::Result<()> {
    let input_json = json!({"question": question}).to_string();
    let request = pb::CreateJobRequest {
        account_id: account.clone(),
        kind: "answer".to_owned(),
        input_json,
        ..pb::CreateJobRequest::default()
    };
    let created = client.jobs().create_job(request).await?.into_inner();
    let ended = wait_for(client, &account, &created.job_id).await?;
    if ended.state() != pb::JobState::Succeeded {
        return told(client, &ended);
    }
    let result = ended.tasks.first().map(|task| show::parsed(&task.result_json)).unwrap_or_default();
    client.out.one(client.json, &result)
}

async fn get(client: &Client, account: &str, job: &str) -> anyhow::Result<pb::Job> {
    let request = pb::GetJobRequest { account_id: account.to_owned(), job_id: job.to_owned() };
    client.jobs().get_job(request).await?.into_inner().job.context("the node answered without the job")
}

/// Waits for a job's end. Subscribes before it looks, so that the end is not missed between the two.
async fn wait_for(client: &Client, account: &str, job: &str) -> anyhow::Result<pb::Job> {
    let request = events::SubscribeRequest {
        account_id: account.to_owned(),
        from: Some(StartAt::Latest(true)),
        types: vec!["job.*".to_owned(), "task.*".to_owned()],
        until_now: false,
    };
    let mut stream = client.events().subscribe(request).await?.into_inner();
    let mut progress = Progress::new(client.json);
    let mut found = get(client, account, job).await?;
    while found.state() == pb::JobState::Running {
        let Some(answer) = stream.message().await? else { bail!("the node ended the stream before the job ended") };
        let Some(Item::Event(event)) = answer.item else { continue };
        progress.shows(&event);
        if event.r#type.starts_with("job.") {
            found = get(client, account, job).await?;
        }
    }
    Ok(found)
}

/// Prints a job that ended; an error unless it succeeded.
fn told(client: &mut Client, job: &pb::Job) -> anyhow::Result<()> {
    job_view::print(client, job)?;
    if job.state() == pb::JobState::Succeeded {
        return Ok(());
    }
    bail!("job {} {}", job.job_id, show::job_state(job.state()))
}

//! Jobs of one task that does next to nothing (a search in an account without documents), which all start at the same time:
//! how many are made ready, leased, run and reported in a second, each step durable, and how long those of accounts with
//! little wait beside an account with much. Beside it a worker of BullMQ whose jobs do nothing.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use hdrhistogram::Histogram;
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_proto::account::v1::account_service_client::AccountServiceClient;
use steward_proto::account::v1::{CreateAccountRequest, SetTaskLimitsRequest, TaskLimits};
use steward_proto::event::v1::ListEventsRequest;
use steward_proto::event::v1::event_service_client::EventServiceClient;
use steward_proto::job::v1::CreateJobRequest;
use steward_proto::job::v1::job_service_client::JobServiceClient;

use crate::figure::{Figure, Report, Want, count};
use crate::meter::Meter;
use crate::node::{Api, Node, READY_MAX};
use crate::peers::{NoOps, WorkedOff};
use crate::{Settings, figure};

/// Accounts with little.
const CALM: usize = 99;
/// Jobs of each of them in a round, and of the account that has nine of ten.
const JOBS_CALM: usize = 10;
const JOBS_BUSY: usize = 9_010;
/// So many of its jobs may be open.
const OPEN_JOBS_BUSY: u32 = 10_000;
/// Jobs of each account when all have the same.
const JOBS_EVEN: usize = 100;
/// Calls at the same time.
const CALLS: usize = 64;
/// How far ahead the jobs start: by then all of them are asked for.
const AHEAD: Duration = Duration::from_secs(1);
const AHEAD_FOR_EACH: Duration = Duration::from_millis(1);
/// How often it is looked whether all have ended, and how long they may take.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const ENDS_MAX: Duration = Duration::from_secs(120);
/// Tasks a second that are wanted.
const RATE_WANTED: f64 = 5_000.0;
/// Of what BullMQ does in the same run.
const RATE_OF_PEER_WANTED: f64 = 2.0;
/// What others may wait beside a busy account, of what they wait without it.
const WORSE_MAX: f64 = 1.2;
/// Events of a page.
const PAGE: u32 = 500;

/// One way through all jobs.
struct Round {
    rate_per_s: f64,
    cpu_ms: f64,
    own_cores: f64,
    other_cores: f64,
}

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# tasks: jobs of one task that does next to nothing, all at once, durable at each step");
    let accounts: Vec<String> = (0..=CALM).map(|at| format!("account-{at}")).collect();
    let (busy, calm) = accounts.split_first().context("there are accounts")?;
    let many = Node::start(&settings.steward, &["tasks.cpu_slots=64"])?;
    let one = Node::start(&settings.steward, &["tasks.cpu_slots=1"])?;
    let (api, api_of_one) = (many.api().await?, one.api().await?);
    for (node, api) in [(&many, &api), (&one, &api_of_one)] {
        found(api, &accounts).await?;
        raised(node).await?;
        let limits = TaskLimits { open_jobs_max: OPEN_JOBS_BUSY, ..TaskLimits::default() };
        let request = SetTaskLimitsRequest { account_id: busy.clone(), task_limits: Some(limits) };
        AccountServiceClient::new(api.clone()).set_task_limits(request).await.context("the limits are refused")?;
    }
    let peer = NoOps::start(settings)?;
    let (mut rounds, mut alone, mut beside) = (vec![], vec![], vec![]);
    let mut worked_off: Vec<WorkedOff> = vec![];
    for run in 0..settings.runs {
        let even: Vec<(&String, usize)> = accounts.iter().map(|account| (account, JOBS_EVEN)).collect();
        rounds.push(through(&many, &api, &even).await?);
        if let Some(peer) = &peer {
            worked_off.push(peer.through(run, accounts.len() * JOBS_EVEN)?);
            let WorkedOff { rate_per_s, cpu_ms } = &worked_off[run];
            figure::say(&format!("# run {run}: {}: {rate_per_s:.0}/s, {cpu_ms:.3} CPU-ms each", NoOps::NAME));
        }
        let few: Vec<(&String, usize)> = calm.iter().map(|account| (account, JOBS_CALM)).collect();
        let nine_of_ten: Vec<(&String, usize)> = std::iter::once((busy, JOBS_BUSY)).chain(few.clone()).collect();
        let since = ends(&api_of_one, calm).await?;
        through(&one, &api_of_one, &few).await?;
        alone.push(waits_ms(&api_of_one, calm, &since).await?);
        let since = ends(&api_of_one, calm).await?;
        through(&one, &api_of_one, &nine_of_ten).await?;
        beside.push(waits_ms(&api_of_one, calm, &since).await?);
        let (rate, cpu) = (rounds[run].rate_per_s, rounds[run].cpu_ms);
        let waits = format!("p99 of waits {:.1} ms alone, {:.1} ms beside nine of ten", alone[run], beside[run]);
        figure::say(&format!("# run {run}: {rate:.0}/s, {cpu:.3} CPU-ms each; {waits}"));
    }
    let figure = |metric, of: &dyn Fn(&Round) -> f64| {
        Figure::new("tasks", format!("accounts{}-even", CALM + 1), metric, &rounds.iter().map(of).collect::<Vec<_>>())
    };
    report.add(figure("rate_per_s", &|round| round.rate_per_s).want(Want::AtLeast(RATE_WANTED)));
    let mut cpu = figure("cpu_ms_per_op", &|round| round.cpu_ms);
    if peer.is_some() {
        let of_peer = |of: fn(&WorkedOff) -> f64| worked_off.iter().map(of).collect::<Vec<_>>();
        let rate = figure("rate_per_s", &|round| round.rate_per_s);
        let rate = rate.versus(NoOps::NAME, &of_peer(|run| run.rate_per_s));
        report.add(rate.want(Want::AtLeast(RATE_OF_PEER_WANTED)));
        cpu = cpu.versus(NoOps::NAME, &of_peer(|run| run.cpu_ms));
    }
    report.add(cpu);
    report.add(figure("client_cpu_cores", &|round| round.own_cores));
    report.add(figure("other_cpu_cores", &|round| round.other_cores));
    let waits = Figure::new("tasks", "nine-of-ten", "wait_p99_ms", &beside);
    report.add(waits.versus("alone", &alone).want(Want::AtMost(WORSE_MAX)));
    Ok(())
}

async fn found(api: &Api, accounts: &[String]) -> anyhow::Result<()> {
    for account in accounts {
        let request = CreateAccountRequest { account_id: account.clone(), ..CreateAccountRequest::default() };
        AccountServiceClient::new(api.clone()).create_account(request).await.context("an account is refused")?;
    }
    Ok(())
}

/// Waits until a new node has put its newest format in force by itself.
pub(crate) async fn raised(node: &Node) -> anyhow::Result<()> {
    let is_raised = async {
        loop {
            let counters = node.counters().await?;
            let of = |name: &str| counters.get(name).copied();
            if of("steward_format_in_force").is_some() && of("steward_format_in_force") == of("steward_format_known") {
                return anyhow::Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(READY_MAX, is_raised).await.context("the formats are not raised")?
}

/// Asks for so many jobs of each account, and measures from their start until all have ended.
async fn through(node: &Node, api: &Api, jobs: &[(&String, usize)]) -> anyhow::Result<Round> {
    let wanted: usize = jobs.iter().map(|(_, count)| count).sum();
    let before = done(node).await?;
    let clock = SystemClock::new();
    let start_at = clock.now().plus(AHEAD + AHEAD_FOR_EACH * u32::try_from(wanted).context("too many jobs")?);
    let asked = jobs.iter().flat_map(|(account, count)| std::iter::repeat_n(*account, *count));
    let calls = asked.map(|account| {
        let request = CreateJobRequest {
            account_id: account.clone(),
            kind: "search".to_owned(),
            input_json: r#"{"query": "q"}"#.to_owned(),
            start_at_ms: start_at.0,
            ..CreateJobRequest::default()
        };
        let mut jobs = JobServiceClient::new(api.clone());
        async move { jobs.create_job(request).await.context("a job is refused") }
    });
    stream::iter(calls).buffer_unordered(CALLS).try_for_each(|_| async { Ok(()) }).await?;
    let left = start_at.since(clock.now());
    ensure!(!left.is_zero(), "the jobs were not asked for in time");
    tokio::time::sleep(left).await;
    let meter = Meter::start(&[node.pid()])?;
    let all = async {
        while done(node).await? < before + count(wanted) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(ENDS_MAX, all).await.context("the jobs do not end")??;
    let usage = meter.stop()?;
    Ok(Round {
        rate_per_s: count(wanted) / usage.seconds,
        cpu_ms: usage.cpu_s * 1000.0 / count(wanted),
        own_cores: usage.own_cores,
        other_cores: usage.other_cores,
    })
}

/// Attempts that succeeded.
async fn done(node: &Node) -> anyhow::Result<f64> {
    let name = r#"steward_task_attempts_total{kind="search",outcome="succeeded"}"#;
    Ok(node.counters().await?.get(name).copied().unwrap_or_default())
}

/// The number of each account's newest event.
async fn ends(api: &Api, accounts: &[String]) -> anyhow::Result<Vec<u64>> {
    let mut ends = vec![];
    for account in accounts {
        let request = steward_proto::account::v1::GetAccountRequest { account_id: account.clone() };
        let found = AccountServiceClient::new(api.clone()).get_account(request).await.context("no account")?;
        ends.push(found.into_inner().account.context("no account in the answer")?.last_seq);
    }
    Ok(ends)
}

/// From ready to leased, the 99th percentile over all jobs of these accounts since those events.
async fn waits_ms(api: &Api, accounts: &[String], since: &[u64]) -> anyhow::Result<f64> {
    let mut waits = Histogram::<u64>::new(3).context("no histogram")?;
    for (account, after_seq) in accounts.iter().zip(since) {
        let request = ListEventsRequest {
            account_id: account.clone(),
            after_seq: *after_seq,
            page_size: PAGE,
            ..ListEventsRequest::default()
        };
        let events = EventServiceClient::new(api.clone()).list_events(request).await.context("no events")?;
        let mut ready = HashMap::new();
        for event in events.into_inner().events {
            let data: serde_json::Value = serde_json::from_str(&event.data_json).context("an event is no JSON")?;
            let job = data["job"].as_str().unwrap_or_default().to_owned();
            if event.r#type == "task.released" {
                ready.insert(job, event.time_ms);
            } else if event.r#type == "task.started" {
                let at = ready.remove(&job).context("a task that was not ready")?;
                waits.record(event.time_ms.saturating_sub(at)).context("a wait is out of bounds")?;
            }
        }
        ensure!(ready.is_empty(), "a job of {account} was not started");
    }
    ensure!(!waits.is_empty(), "nothing was started");
    Ok(figure::real(waits.value_at_quantile(0.99)))
}

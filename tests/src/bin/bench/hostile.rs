//! An endpoint that answers beside receivers that mean no good, of its own account and of another one: against how it does
//! alone, and against how it does beside as many receivers that answer, which is what so many endpoints cost anyway.

use steward_tests::harness::{Behaviour, Hostile};

use crate::figure::{Figure, Report, Want, count};
use crate::flow::{self, ENDPOINT, Flow, Passed, REACH_LOOPBACK};
use crate::inbox::{Source, make_source};
use crate::meter::rss_mb;
use crate::node::{Api, Node};
use crate::receiver::Receiver;
use crate::{Settings, figure};

/// Receivers of each kind an account delivers to.
const COPIES: usize = 2;
/// Webhooks a second, half of them of each account.
const RATE_PER_S: u32 = 200;
const CONNECTIONS: usize = 16;
/// How many times as long as other families it measures: the p99 of some hundred deliveries is that of three of them.
const LONGER: u32 = 4;
/// What the p99 beside them may be of that without them, or of that beside others.
const WORSE_MAX: f64 = 1.5;
/// What the node may grow by.
const GROWTH_MB_MAX: f64 = 128.0;

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# hostile: an endpoint that answers, alone, beside 24 that answer, beside 24 that mean no good");
    let mut receiver = Receiver::start().await?;
    // Takes what goes to those that answer; one process, which costs the machine less than the hostile ones.
    let mut crowd = Receiver::start().await?;
    let node = Node::start(&settings.steward, &[REACH_LOOPBACK])?;
    let api = node.api().await?;
    let sources =
        [make_source(api.clone(), "own".to_owned()).await?, make_source(api.clone(), "other".to_owned()).await?];
    flow::make_endpoint(&api, &sources[0].account, ENDPOINT, &receiver.url()).await?;
    let enemies = enemies();
    let hostile: Vec<(String, String)> = enemies.iter().map(|(name, enemy)| (name.clone(), enemy.url())).collect();
    let friendly: Vec<(String, String)> = (0..hostile.len()).map(|at| (format!("answers-{at}"), crowd.url())).collect();
    let mut runs = Runs::default();
    let mut before = None;
    for run in 0..settings.runs {
        let flow = |what: &str| Flow {
            sources: &sources,
            prefix: format!("{what}{run}"),
            rate_per_s: RATE_PER_S,
            connections: CONNECTIONS,
            measured: settings.measured * LONGER,
        };
        runs.alone.push(flow("alone").pass(&node, &mut receiver).await?);
        let before = *before.get_or_insert(rss_mb(node.pid())?);
        make_all(&api, &sources, &friendly).await?;
        runs.answering.push(flow("answering").pass(&node, &mut receiver).await?);
        delete_all(&api, &sources, &friendly).await?;
        crowd.clear().await?;
        make_all(&api, &sources, &hostile).await?;
        runs.hostile.push(flow("hostile").pass(&node, &mut receiver).await?);
        runs.grown_mb.push(rss_mb(node.pid())? - before);
        delete_all(&api, &sources, &hostile).await?;
        let p99 = |passed: &[Passed]| passed.last().map_or(0.0, |passed| flow::ms(&passed.delivered, 0.99));
        let (alone, answering, hostile) = (p99(&runs.alone), p99(&runs.answering), p99(&runs.hostile));
        let text = format!("{alone:.2} ms alone, {answering:.2} beside 24 that answer, {hostile:.2} beside 24 hostile");
        figure::say(&format!("# run {run}: p99 {text}"));
    }
    tell(report, &runs);
    Ok(())
}

/// What was measured, one of each a run.
#[derive(Default)]
struct Runs {
    alone: Vec<Passed>,
    answering: Vec<Passed>,
    hostile: Vec<Passed>,
    grown_mb: Vec<f64>,
}

fn tell(report: &mut Report, runs: &Runs) {
    let delivered = |runs: &[Passed], quantile| -> Vec<f64> {
        runs.iter().map(|passed| flow::ms(&passed.delivered, quantile)).collect()
    };
    let acknowledged =
        |runs: &[Passed]| -> Vec<f64> { runs.iter().map(|passed| flow::ms(&passed.acknowledged, 0.99)).collect() };
    let figure = |metric, runs: &[f64]| Figure::new("hostile", "beside-24", metric, runs);
    for (peer, theirs) in [("alone", &runs.alone), ("beside 24 that answer", &runs.answering)] {
        report.add(figure("delivered_p50_ms", &delivered(&runs.hostile, 0.5)).versus(peer, &delivered(theirs, 0.5)));
        let p99 = figure("delivered_p99_ms", &delivered(&runs.hostile, 0.99)).versus(peer, &delivered(theirs, 0.99));
        report.add(p99.want(Want::AtMost(WORSE_MAX)));
        report.add(figure("acknowledged_p99_ms", &acknowledged(&runs.hostile)).versus(peer, &acknowledged(theirs)));
    }
    report.add(figure("doubled", &runs.hostile.iter().map(|passed| count(passed.doubled)).collect::<Vec<_>>()));
    let most = runs.grown_mb.iter().copied().fold(0.0, f64::max);
    report.add(figure("rss_grown_mb", &[most]).want(Want::AtMost(GROWTH_MB_MAX)));
    let other: Vec<f64> = runs.hostile.iter().map(|passed| passed.usage.other_cores).collect();
    report.add(figure("other_cpu_cores", &other));
}

/// Some of each kind, by the names of their endpoints.
fn enemies() -> Vec<(String, Hostile)> {
    let each = |behaviour: Behaviour| {
        (0..COPIES).map(move |copy| (format!("{}-{copy}", behaviour.name()), Hostile::start(behaviour)))
    };
    Behaviour::ALL.into_iter().flat_map(each).collect()
}

/// Lets the node deliver to all of them, by name and URL, from each account.
async fn make_all(api: &Api, sources: &[Source], receivers: &[(String, String)]) -> anyhow::Result<()> {
    for source in sources {
        for (endpoint, url) in receivers {
            flow::make_endpoint(api, &source.account, endpoint, url).await?;
        }
    }
    Ok(())
}

/// And no longer.
async fn delete_all(api: &Api, sources: &[Source], receivers: &[(String, String)]) -> anyhow::Result<()> {
    for source in sources {
        for (endpoint, _) in receivers {
            flow::delete_endpoint(api, &source.account, endpoint).await?;
        }
    }
    Ok(())
}

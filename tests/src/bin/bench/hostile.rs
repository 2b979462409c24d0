//! An endpoint that answers beside receivers that mean no good, of its own account and of another one.

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
/// What the p99 beside them may be of that without them.
const WORSE_MAX: f64 = 1.5;
/// What the node may grow by.
const GROWTH_MB_MAX: f64 = 128.0;

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# hostile: an endpoint that answers, without and beside 24 that hang, drip, flood or cut off");
    let mut receiver = Receiver::start().await?;
    let node = Node::start(&settings.steward, &[REACH_LOOPBACK])?;
    let api = node.api().await?;
    let sources =
        [make_source(api.clone(), "own".to_owned()).await?, make_source(api.clone(), "other".to_owned()).await?];
    flow::make_endpoint(&api, &sources[0].account, ENDPOINT, &receiver.url()).await?;
    let enemies = enemies();
    let (mut alone, mut beside, mut grown_mb): (Vec<Passed>, Vec<Passed>, Vec<f64>) = (vec![], vec![], vec![]);
    let mut before = None;
    for run in 0..settings.runs {
        let flow = |what: &str| Flow {
            sources: &sources,
            prefix: format!("{what}{run}"),
            rate_per_s: RATE_PER_S,
            connections: CONNECTIONS,
            measured: settings.measured * LONGER,
        };
        alone.push(flow("alone").pass(&node, &mut receiver).await?);
        let before = *before.get_or_insert(rss_mb(node.pid())?);
        switch(&api, &sources, &enemies, true).await?;
        beside.push(flow("beside").pass(&node, &mut receiver).await?);
        grown_mb.push(rss_mb(node.pid())? - before);
        switch(&api, &sources, &enemies, false).await?;
        let p99 = |runs: &[Passed]| runs.last().map_or(0.0, |passed| flow::ms(&passed.delivered, 0.99));
        let (alone, beside) = (p99(&alone), p99(&beside));
        figure::say(&format!("# run {run}: p99 {alone:.2} ms alone, {beside:.2} ms beside"));
    }
    let of = |runs: &[Passed], quantile| -> Vec<f64> {
        runs.iter().map(|passed| flow::ms(&passed.delivered, quantile)).collect()
    };
    let figure = |metric, runs: &[f64]| Figure::new("hostile", "beside-24", metric, runs);
    report.add(figure("delivered_p50_ms", &of(&beside, 0.5)).versus("alone", &of(&alone, 0.5)));
    let p99 = figure("delivered_p99_ms", &of(&beside, 0.99)).versus("alone", &of(&alone, 0.99));
    report.add(p99.want(Want::AtMost(WORSE_MAX)));
    let acknowledged =
        |runs: &[Passed]| -> Vec<f64> { runs.iter().map(|passed| flow::ms(&passed.acknowledged, 0.99)).collect() };
    report.add(figure("acknowledged_p99_ms", &acknowledged(&beside)).versus("alone", &acknowledged(&alone)));
    report.add(figure("doubled", &beside.iter().map(|passed| count(passed.doubled)).collect::<Vec<_>>()));
    let most = grown_mb.iter().copied().fold(0.0, f64::max);
    report.add(figure("rss_grown_mb", &[most]).want(Want::AtMost(GROWTH_MB_MAX)));
    let other: Vec<f64> = beside.iter().map(|passed| passed.usage.other_cores).collect();
    report.add(figure("other_cpu_cores", &other));
    Ok(())
}

/// Some of each kind, by the names of their endpoints.
fn enemies() -> Vec<(String, Hostile)> {
    let each = |behaviour: Behaviour| {
        (0..COPIES).map(move |copy| (format!("{}-{copy}", behaviour.name()), Hostile::start(behaviour)))
    };
    Behaviour::ALL.into_iter().flat_map(each).collect()
}

/// Each of them at each account.
fn pairs<'p>(
    sources: &'p [Source],
    enemies: &'p [(String, Hostile)],
) -> impl Iterator<Item = (&'p Source, &'p (String, Hostile))> {
    sources.iter().flat_map(|source| enemies.iter().map(move |enemy| (source, enemy)))
}

/// Lets the node deliver to them from here on, or not.
async fn switch(api: &Api, sources: &[Source], enemies: &[(String, Hostile)], is_on: bool) -> anyhow::Result<()> {
    for (source, (endpoint, enemy)) in pairs(sources, enemies) {
        if is_on {
            flow::make_endpoint(api, &source.account, endpoint, &enemy.url()).await?;
        } else {
            flow::delete_endpoint(api, &source.account, endpoint).await?;
        }
    }
    Ok(())
}

//! One account with a million events behind a receiver that never answers, and what another account sees of it.

use steward_cluster::clock::{Clock as _, SystemClock};
use steward_tests::harness::{Behaviour, Hostile};

use crate::backlog::Backlog;
use crate::figure::{Figure, Report, Want, count};
use crate::flow::{self, ENDPOINT, Flow, Passed, REACH_LOOPBACK};
use crate::inbox::make_source;
use crate::meter::rss_mb;
use crate::node::Node;
use crate::receiver::Receiver;
use crate::{Settings, figure};

/// Webhooks a second of the account that is looked at.
const RATE_PER_S: u32 = 200;
const CONNECTIONS: usize = 16;
/// What a p99 with the backlog may be of that before it.
const WORSE_MAX: f64 = 1.5;

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let events = settings.events;
    figure::say(&format!("# isolation: one account has {events} events behind a receiver that never answers"));
    let mut receiver = Receiver::start().await?;
    let silent = Hostile::start(Behaviour::Hangs);
    let node = Node::start(&settings.steward, &[REACH_LOOPBACK])?;
    let api = node.api().await?;
    let mut backlog = Backlog::make(&node, "behind").await?;
    flow::make_endpoint(&api, &backlog.account, ENDPOINT, &silent.url()).await?;
    let source = make_source(api.clone(), "lively".to_owned()).await?;
    flow::make_endpoint(&api, &source.account, ENDPOINT, &receiver.url()).await?;
    let flow = |what: &str, run| Flow {
        sources: std::slice::from_ref(&source),
        prefix: format!("{what}{run}"),
        rate_per_s: RATE_PER_S,
        connections: CONNECTIONS,
        measured: settings.measured,
    };
    let (mut before, mut beside): (Vec<Passed>, Vec<Passed>) = (vec![], vec![]);
    for run in 0..settings.runs {
        before.push(flow("before", run).pass(&node, &mut receiver).await?);
    }
    let (rss_before, clock) = (rss_mb(node.pid())?, SystemClock::new());
    backlog.add(&node, events).await?;
    let filled_in = clock.monotonic();
    figure::say(&format!("# {events} events after {:.1} s", filled_in.as_secs_f64()));
    // Not counted: the node still writes down what came.
    flow("settling", 0).pass(&node, &mut receiver).await?;
    for run in 0..settings.runs {
        beside.push(flow("beside", run).pass(&node, &mut receiver).await?);
    }
    let rss_grown = rss_mb(node.pid())? - rss_before;
    let case = format!("backlog-{events}");
    let figure = |metric, runs: &[f64]| Figure::new("isolation", case.clone(), metric, runs);
    let delivered = |runs: &[Passed], quantile| -> Vec<f64> {
        runs.iter().map(|passed| flow::ms(&passed.delivered, quantile)).collect()
    };
    let acknowledged = |runs: &[Passed], quantile| -> Vec<f64> {
        runs.iter().map(|passed| flow::ms(&passed.acknowledged, quantile)).collect()
    };
    let versus = |metric, beside: &[f64], before: &[f64]| figure(metric, beside).versus("before", before);
    let worst = Want::AtMost(WORSE_MAX);
    report.add(versus("acknowledged_p50_ms", &acknowledged(&beside, 0.5), &acknowledged(&before, 0.5)));
    report.add(versus("acknowledged_p99_ms", &acknowledged(&beside, 0.99), &acknowledged(&before, 0.99)).want(worst));
    report.add(versus("delivered_p50_ms", &delivered(&beside, 0.5), &delivered(&before, 0.5)));
    report.add(versus("delivered_p99_ms", &delivered(&beside, 0.99), &delivered(&before, 0.99)).want(worst));
    report.add(figure("doubled", &beside.iter().map(|passed| count(passed.doubled)).collect::<Vec<_>>()));
    report.add(figure("rss_grown_mb", &[rss_grown]));
    report.add(figure("filled_per_s", &[count(events) / filled_in.as_secs_f64()]));
    let cpu: Vec<f64> = beside.iter().map(|passed| passed.usage.cpu_s / passed.usage.seconds).collect();
    let cpu_before: Vec<f64> = before.iter().map(|passed| passed.usage.cpu_s / passed.usage.seconds).collect();
    report.add(versus("node_cpu_cores", &cpu, &cpu_before));
    report.add(figure("other_cpu_cores", &beside.iter().map(|passed| passed.usage.other_cores).collect::<Vec<_>>()));
    Ok(())
}

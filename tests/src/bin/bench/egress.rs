//! Webhooks out: a backlog that is drained to one receiver, beside a worker of BullMQ; and how soon an event leaves when
//! deliveries keep up.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::backlog::Backlog;
use crate::figure::{Figure, Report, Want, count};
use crate::flow::{self, ENDPOINT, Flow, REACH_LOOPBACK};
use crate::inbox::make_source;
use crate::meter::Meter;
use crate::node::{Api, Node};
use crate::peers::{Drained, Worker};
use crate::receiver::{Arrivals, Receiver};
use crate::{Settings, figure};

/// Events of a backlog, and of that of a peer, which takes longer for each.
const EVENTS: usize = 20_000;
const EVENTS_PEER: usize = 6_000;
/// Deliveries a second that are wanted, and half of them.
const RATE_WANTED: f64 = 3_000.0;
const HALF_LOAD: u32 = 1_500;
/// Connections of the open loop.
const CONNECTIONS: usize = 64;

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# egress: events with webhooks of 256 bytes, signed (HMAC-SHA256), delivered to one receiver");
    let mut receiver = Receiver::start().await?;
    let node = Node::start(&settings.steward, &[REACH_LOOPBACK])?;
    let api = node.api().await?;
    let mut backlog = Backlog::make(&node, "backlog").await?;
    flow::make_endpoint(&api, &backlog.account, ENDPOINT, &receiver.url()).await?;
    let source = make_source(api.clone(), "paced".to_owned()).await?;
    flow::make_endpoint(&api, &source.account, ENDPOINT, &receiver.url()).await?;
    let mut worker = None;
    let (mut own, mut theirs, mut paced) = (vec![], vec![], vec![]);
    for run in 0..settings.runs {
        let drained = drain(&node, &api, &mut backlog, &mut receiver).await?;
        progress(run, "steward", &drained);
        own.push(drained);
        if run == 0 {
            worker = Worker::start(settings, &receiver.sample().await?)?;
        }
        if let Some(worker) = &worker {
            let drained = worker.drain(run, EVENTS_PEER, &mut receiver).await?;
            progress(run, Worker::NAME, &drained);
            theirs.push(drained);
        }
        let sources = std::slice::from_ref(&source);
        let (prefix, measured) = (format!("e{run}"), settings.measured);
        let flow = Flow { sources, prefix, rate_per_s: HALF_LOAD, connections: CONNECTIONS, measured };
        paced.push(flow.pass(&node, &mut receiver).await?);
    }
    let case = format!("backlog-{EVENTS}");
    let figure = |metric, runs: &[f64]| Figure::new("egress", case.clone(), metric, runs);
    let rates: Vec<f64> = own.iter().map(|drained| drained.rate_per_s).collect();
    let cpu: Vec<f64> = own.iter().map(|drained| drained.cpu_ms).collect();
    report.add(figure("rate_per_s", &rates).want(Want::AtLeast(RATE_WANTED)));
    if !theirs.is_empty() {
        let rates_peer: Vec<f64> = theirs.iter().map(|drained| drained.rate_per_s).collect();
        report.add(figure("rate_per_s", &rates).versus(Worker::NAME, &rates_peer).want(Want::AtLeast(3.0)));
        let cpu_peer: Vec<f64> = theirs.iter().map(|drained| drained.cpu_ms).collect();
        report.add(figure("cpu_ms_per_op", &cpu).versus(Worker::NAME, &cpu_peer));
    }
    report.add(figure("cpu_ms_per_op", &cpu));
    report.add(figure("doubled", &own.iter().map(|drained| count(drained.doubled)).collect::<Vec<_>>()));
    report.add(figure("receiver_cpu_cores", &own.iter().map(|drained| drained.receiver_cores).collect::<Vec<_>>()));
    report.add(figure("other_cpu_cores", &own.iter().map(|drained| drained.other_cores).collect::<Vec<_>>()));
    let case = format!("open-loop-{HALF_LOAD}");
    let figure = |metric, of: &dyn Fn(&flow::Passed) -> f64| {
        Figure::new("egress", case.clone(), metric, &paced.iter().map(of).collect::<Vec<_>>())
    };
    report.add(figure("delivered_p50_ms", &|passed| flow::ms(&passed.delivered, 0.5)));
    report.add(figure("delivered_p99_ms", &|passed| flow::ms(&passed.delivered, 0.99)).want(Want::AtMost(50.0)));
    report.add(figure("delivered_p999_ms", &|passed| flow::ms(&passed.delivered, 0.999)));
    report.add(figure("acknowledged_p99_ms", &|passed| flow::ms(&passed.acknowledged, 0.99)));
    report.add(figure("doubled", &|passed| count(passed.doubled)));
    report.add(figure("client_cpu_cores", &|passed| passed.usage.own_cores));
    report.add(figure("other_cpu_cores", &|passed| passed.usage.other_cores));
    Ok(())
}

/// Fills a paused endpoint and has it drained.
async fn drain(node: &Node, api: &Api, backlog: &mut Backlog, receiver: &mut Receiver) -> anyhow::Result<Drained> {
    flow::pause(api, &backlog.account, ENDPOINT).await?;
    backlog.add(node, EVENTS).await?;
    receiver.clear().await?;
    let meters = (Meter::start(&[node.pid()])?, Meter::start(&[receiver.pid()])?);
    let begin = receiver.now();
    flow::resume(api, &backlog.account, ENDPOINT).await?;
    let arrivals = receiver.arrivals(EVENTS).await?;
    let (usage, received) = (meters.0.stop()?, meters.1.stop()?);
    let took = took(&arrivals, begin, EVENTS)?;
    Ok(Drained {
        rate_per_s: count(EVENTS) / took.as_secs_f64(),
        cpu_ms: usage.cpu_s * 1000.0 / count(EVENTS),
        doubled: arrivals.doubled,
        receiver_cores: received.cpu_s / received.seconds,
        other_cores: usage.other_cores - received.cpu_s / received.seconds,
    })
}

/// From the beginning until the last of all events arrived.
pub(crate) fn took(arrivals: &Arrivals, begin: Duration, events: usize) -> anyhow::Result<Duration> {
    ensure!(arrivals.first.len() == events, "{} of {events} events arrived", arrivals.first.len());
    let last = arrivals.first.iter().map(|arrival| arrival.at).max().context("nothing arrived")?;
    Ok(last.saturating_sub(begin))
}

fn progress(run: usize, what: &str, drained: &Drained) {
    let Drained { rate_per_s, cpu_ms, receiver_cores, other_cores, .. } = drained;
    let line = format!("# run {run}, {what}: {rate_per_s:.0}/s, {cpu_ms:.3} CPU-ms each");
    figure::say(&format!("{line}, the receiver used {receiver_cores:.2} cores, others {other_cores:.2}"));
}

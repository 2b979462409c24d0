//! The node that leads most is killed under load: for how long clients notice, and what they notice.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use steward_cluster::clock::{Clock, SystemClock};

use super::nodes::{Operator, leads};
use super::stubborn::{Delivery, Doors, Traffic, due_in};
use super::subject::Subject;
use crate::figure::{Figure, Report, Want, count, real};
use crate::ingest::Drive;
use crate::{Settings, figure};

const SHARDS: usize = 64;
/// Where the peak is taken from.
const CONNECTIONS: usize = 64;
/// The share of the peak that goes on while the node dies.
const SHARE: f64 = 1.0 / 3.0;
/// Traffic before the kill and after it.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(8);
/// The rate is back when it is this share of what it was …
const BACK_SHARE: f64 = 0.8;
/// … in each of so many windows of this length in a row.
const WINDOW: Duration = Duration::from_millis(100);
const WINDOWS: u32 = 5;
/// Requests are made ready for so much longer than planned, because the kill itself takes a moment.
const SPARE: Duration = Duration::from_secs(10);
const CASE: &str = "leader-kill";

/// What clients saw of one kill.
#[derive(Default)]
struct Seen {
    silence_s: f64,
    slowest_s: f64,
    back_s: f64,
    given_up: f64,
    lost: f64,
    doubled: f64,
    final_troubles: f64,
    troubles: Vec<(String, u64)>,
    rate_per_s: f64,
    led: f64,
}

pub(super) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# cluster-kill: kill -9 of the node that leads most shards, under a third of the peak");
    let mut subject = Subject::start(settings, SHARDS).await?;
    let mut runs = vec![];
    for run in 0..settings.runs {
        let peak = subject.cell(Drive::peak(CONNECTIONS)).await?.sample.rate_per_s;
        let seen = kill(&mut subject, peak * SHARE).await?;
        let Seen { silence_s, slowest_s, back_s, led, troubles, .. } = &seen;
        figure::say(&format!(
            "# run {run}, a leader of {led} shards killed: {silence_s:.3} s of silence, slowest {slowest_s:.3} s, \
             back in {back_s:.1} s, {troubles:?}"
        ));
        runs.push(seen);
    }
    tell(report, &runs);
    let bad: f64 = runs.iter().map(|seen| seen.lost + seen.doubled).sum();
    ensure!(bad == 0.0, "{bad} webhooks were lost or doubled when a leader was killed");
    Ok(())
}

async fn kill(subject: &mut Subject, rate_per_s: f64) -> anyhow::Result<Seen> {
    let batch = subject.batch(due_in(BEFORE + AFTER + SPARE, rate_per_s));
    let overview = Operator::of(&subject.cluster.nodes[0]).await?.cluster().await?;
    let nodes = subject.cluster.nodes.iter().enumerate();
    let victim = nodes.max_by_key(|(_, node)| leads(&overview, node.id)).map(|(at, _)| at).context("no nodes")?;
    let led = f64::from(leads(&overview, subject.cluster.nodes[victim].id));
    let (clock, doors) = (SystemClock::new(), Doors::new(subject.cluster.addresses()));
    let traffic = Traffic { clock: &clock, doors: &doors, requests: &batch.requests, rate_per_s };
    let node = &mut subject.cluster.nodes[victim];
    let script = async {
        tokio::time::sleep(BEFORE).await;
        let killed = clock.monotonic();
        node.kill()?;
        tokio::time::sleep(AFTER).await;
        Ok(killed)
    };
    let (killed, deliveries) = traffic.during(script).await?;
    let troubles = doors.troubles();
    subject.cluster.start_again(victim).await?;
    subject.cluster.settled().await?;
    let acknowledged = deliveries.iter().filter(|delivery| delivery.acknowledged);
    let acknowledged: Vec<usize> = acknowledged.map(|delivery| delivery.at).collect();
    let found = subject.read_back(&batch, &acknowledged).await?;
    Ok(Seen {
        given_up: count(deliveries.len() - acknowledged.len()),
        lost: count(found.lost),
        doubled: count(found.doubled),
        final_troubles: real(troubles.final_ones),
        troubles: troubles.counts.into_iter().collect(),
        rate_per_s,
        led,
        ..times(&deliveries, killed)
    })
}

/// How long clients noticed.
fn times(deliveries: &[Delivery], killed: Duration) -> Seen {
    let mut successes: Vec<Duration> =
        deliveries.iter().filter(|delivery| delivery.acknowledged).map(|delivery| delivery.over).collect();
    successes.sort_unstable();
    let gaps = successes.windows(2).filter(|pair| pair[1] > killed).map(|pair| pair[1].saturating_sub(pair[0]));
    let slowest = deliveries.iter().filter(|delivery| delivery.over > killed).map(Delivery::took).max();
    let within = |from: Duration, length: Duration| {
        let after = |time: Duration| successes.partition_point(|success| *success < time);
        count(after(from + length) - after(from)) / length.as_secs_f64()
    };
    let before = within(killed.saturating_sub(BEFORE / 2), BEFORE / 2);
    let is_high = |at: u32| within(killed + WINDOW * at, WINDOW) >= before * BACK_SHARE;
    // Each of them: what had to wait comes in a burst, which would make up for the gap before it.
    let is_back = |at: &u32| (*at..at + WINDOWS).all(is_high);
    let windows = u32::try_from(AFTER.as_millis() / WINDOW.as_millis()).unwrap_or(u32::MAX);
    let back = (0..windows).find(is_back).map_or(AFTER, |at| WINDOW * at);
    Seen {
        silence_s: gaps.max().unwrap_or(AFTER).as_secs_f64(),
        slowest_s: slowest.unwrap_or(AFTER).as_secs_f64(),
        back_s: back.as_secs_f64(),
        ..Seen::default()
    }
}

fn tell(report: &mut Report, runs: &[Seen]) {
    let of = |value: fn(&Seen) -> f64| -> Vec<f64> { runs.iter().map(value).collect() };
    let figure = |metric, runs: &[f64]| Figure::new("cluster", CASE, metric, runs);
    report.add(figure("rate_per_s", &of(|seen| seen.rate_per_s)));
    report.add(figure("shards_led", &of(|seen| seen.led)));
    report.add(figure("silence_s", &of(|seen| seen.silence_s)).want(Want::AtMost(0.7)));
    report.add(figure("slowest_s", &of(|seen| seen.slowest_s)).want(Want::AtMost(1.5)));
    report.add(figure("back_to_80_percent_s", &of(|seen| seen.back_s)).want(Want::AtMost(2.0)));
    report.add(figure("given_up", &of(|seen| seen.given_up)).want(Want::AtMost(0.0)));
    report.add(figure("lost", &of(|seen| seen.lost)).want(Want::AtMost(0.0)));
    report.add(figure("doubled", &of(|seen| seen.doubled)).want(Want::AtMost(0.0)));
    report.add(figure("errors_not_retryable", &of(|seen| seen.final_troubles)).want(Want::AtMost(0.0)));
    let kinds: BTreeSet<&String> = runs.iter().flat_map(|seen| seen.troubles.iter().map(|(kind, _)| kind)).collect();
    for kind in kinds {
        let times = |seen: &Seen| seen.troubles.iter().find(|(known, _)| known == kind).map_or(0, |(_, times)| *times);
        let times: Vec<f64> = runs.iter().map(|seen| real(times(seen))).collect();
        report.add(Figure::new("cluster", format!("{CASE}, {kind}"), "errors", &times));
    }
}

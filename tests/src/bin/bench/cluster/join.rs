//! Two nodes join one that holds a lot: how long until each shard has three copies, and what the traffic notices.
//!
//! Clients go on with the node they know. What fills the node is not read back; the traffic is, through the last node.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, stream};
use hdrhistogram::Histogram;
use rand::RngExt as _;
use rand::distr::Alphanumeric;
use steward_cluster::clock::{Clock, SystemClock};

use super::nodes::{Cluster, NODES};
use super::stubborn::{Delivery, Doors, Traffic, due_in};
use crate::bare::ACCOUNTS;
use crate::figure::{Figure, Report, Want, real};
use crate::inbox::{Inbox, signed_over};
use crate::{Settings, figure};

const SHARDS: usize = 64;
/// Bytes that fill the node; less in a short run.
const FILL_BYTES: usize = 1_000_000_000;
const FILL_BYTES_SHORT: usize = 200_000_000;
/// A run is short when a cell is measured for less than that.
const SHORT: Duration = Duration::from_secs(4);
/// One body that fills; what it holds does not compress.
const FILL_BODY_BYTES: usize = 64 * 1024;
/// Accounts that are filled, beside those with traffic.
const FILL_ACCOUNTS: usize = 256;
const FILL_BATCH: usize = 1_000;
const FILL_CONCURRENT: usize = 16;
/// Traffic meanwhile.
const RATE_PER_S: f64 = 1_000.0;
const BEFORE: Duration = Duration::from_secs(10);
/// For how long requests are made ready.
const TRAFFIC_MAX: Duration = Duration::from_secs(400);
/// The longest latency told apart.
const LATENCY_US_MAX: u64 = 60_000_000;

/// What came of one join.
struct Seen {
    state_mb: f64,
    joined_s: f64,
    before_ms: f64,
    during_ms: f64,
    slowest_ms: f64,
}

pub(super) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let bytes = if settings.measured < SHORT { FILL_BYTES_SHORT } else { FILL_BYTES };
    let mb = bytes / 1_000_000;
    figure::say(&format!("# cluster-join: nodes 2 and 3 join one with {mb} MB of webhooks, under {RATE_PER_S}/s"));
    let mut runs = vec![];
    for run in 0..settings.runs {
        let seen = join(settings, bytes).await?;
        let Seen { state_mb, joined_s, before_ms, during_ms, .. } = &seen;
        figure::say(&format!(
            "# run {run}: {state_mb:.0} MB on disk, three copies after {joined_s:.1} s; p99 {before_ms:.1} ms before, \
             {during_ms:.1} ms meanwhile"
        ));
        runs.push(seen);
    }
    let of = |value: fn(&Seen) -> f64| -> Vec<f64> { runs.iter().map(value).collect() };
    let case = format!("join-{mb}MB");
    let figure = |metric, runs: &[f64]| Figure::new("cluster", case.clone(), metric, runs);
    report.add(figure("state_mb_on_disk", &of(|seen| seen.state_mb)));
    report.add(figure("three_copies_after_s", &of(|seen| seen.joined_s)));
    let before = of(|seen| seen.before_ms);
    let during = figure("p99_ms", &of(|seen| seen.during_ms)).versus("before the join", &before);
    report.add(during.want(Want::AtMost(2.0)));
    report.add(figure("slowest_ms", &of(|seen| seen.slowest_ms)));
    Ok(())
}

async fn join(settings: &Settings, bytes: usize) -> anyhow::Result<Seen> {
    let mut cluster = Cluster::start(settings, SHARDS, 1).await?;
    let mut inbox = Inbox::make(&cluster.nodes[0], 0..ACCOUNTS).await?;
    fill(&cluster, bytes).await?;
    let state_mb = real(size(&cluster.data_of(0))?) / 1e6;
    let requests = inbox.requests("j", due_in(TRAFFIC_MAX, RATE_PER_S), false);
    let (clock, doors) = (SystemClock::new(), Doors::new(cluster.addresses()));
    let traffic = Traffic { clock: &clock, doors: &doors, requests: &requests, rate_per_s: RATE_PER_S };
    let script = async {
        tokio::time::sleep(BEFORE).await;
        let asked = clock.monotonic();
        for _ in 1..NODES {
            cluster.join().await?;
        }
        cluster.settled().await?;
        Ok((asked, clock.monotonic()))
    };
    let ((asked, joined), deliveries) = traffic.during(script).await?;
    ensure!(deliveries.iter().all(|delivery| delivery.acknowledged), "a webhook was given up while nodes joined");
    let acknowledged: Vec<usize> = deliveries.iter().map(|delivery| delivery.at).collect();
    let last = cluster.nodes.last().context("no nodes")?;
    inbox.compare(last, "j", requests.len(), &acknowledged).await?.none("j")?;
    let (before, during): (Vec<Delivery>, Vec<Delivery>) =
        deliveries.into_iter().partition(|delivery| delivery.due < asked);
    let (before, during) = (latencies(&before)?, latencies(&during)?);
    let ms = |us: u64| real(us) / 1000.0;
    Ok(Seen {
        state_mb,
        joined_s: joined.saturating_sub(asked).as_secs_f64(),
        before_ms: ms(before.value_at_quantile(0.99)),
        during_ms: ms(during.value_at_quantile(0.99)),
        slowest_ms: ms(during.max()),
    })
}

/// Sends so many bytes of webhooks to accounts of their own.
async fn fill(cluster: &Cluster, bytes: usize) -> anyhow::Result<()> {
    let inbox = Inbox::make(&cluster.nodes[0], ACCOUNTS..ACCOUNTS + FILL_ACCOUNTS).await?;
    let doors = Doors::new(cluster.addresses());
    for batch in 0..(bytes / FILL_BODY_BYTES).div_ceil(FILL_BATCH) {
        let filler: String = rand::rng().sample_iter(Alphanumeric).take(FILL_BODY_BYTES).map(char::from).collect();
        let requests = signed_over(&inbox.sources, &format!("f{batch}"), FILL_BATCH, &filler);
        let all = (0..FILL_BATCH).filter_map(|at| requests.get(at)).map(|request| doors.deliver(request, 0));
        let mut all = stream::iter(all).buffer_unordered(FILL_CONCURRENT);
        while let Some(acknowledged) = all.next().await {
            ensure!(acknowledged, "a webhook that fills the node was refused");
        }
    }
    Ok(())
}

fn latencies(deliveries: &[Delivery]) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = Histogram::new_with_max(LATENCY_US_MAX, 3)?;
    for delivery in deliveries {
        latencies.saturating_record(u64::try_from(delivery.took().as_micros()).unwrap_or(LATENCY_US_MAX));
    }
    Ok(latencies)
}

/// Bytes of all files in a folder. Files that go away meanwhile do not count.
fn size(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => bytes += size(&path)?,
            Ok(metadata) => bytes += metadata.len(),
            Err(_) => {}
        }
    }
    Ok(bytes)
}

//! Durable signed webhooks: over 1,000 accounts at several concurrencies, into one hot account, and against peers.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::bare::{self, Bare};
use crate::figure::{Figure, Report, Want, count};
use crate::inbox::{BODY_BYTES, Inbox, bare_sources, signed};
use crate::load::{self, Outcome, Plan, Requests};
use crate::node::Node;
use crate::peers::{Cell, Peers};
use crate::unsigned::Unsigned;
use crate::{Settings, figure, log, meter};

/// Time before the measured time, for caches and connections.
pub(crate) const WARMUP: Duration = Duration::from_secs(1);
/// Requests made ready per second of load; more than any server here answers.
pub(crate) const RATE_MAX: usize = 60_000;
const RATE_MAX_BARE: usize = 100_000;
/// Where signed webhooks are held against unsigned ones, and the share of their rate that is wanted.
const UNSIGNED_CONNECTIONS: usize = 64;
const UNSIGNED_SHARE: f64 = 0.9;
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
/// Where the targets speak of ratios.
const JUDGED: [usize; 2] = [64, 256];
/// Connections of the open loop.
const PACED_CONNECTIONS: usize = 64;
/// The share of the peak at which latencies are measured.
const PACED_SHARE: f64 = 0.5;
/// Callers of the hot key, as the peers' figures were published.
const HOT_CALLERS: usize = 16;
/// A disk that is slower than this machine's by so much, each sync.
const SLOW_DISK: &str = "storage.sync_delay_us=1000";

/// One measured cell.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) rate_per_s: f64,
    pub(crate) cpu_ms: f64,
    pub(crate) own_cores: f64,
    pub(crate) other_cores: f64,
}

/// Drives a server by a plan and meters these processes meanwhile.
pub(crate) async fn driven(plan: Plan, requests: &Rc<Requests>, pids: &[u32]) -> anyhow::Result<(Outcome, Sample)> {
    let watch = meter::over(pids, plan.warmup, plan.measured);
    let (outcome, usage) = tokio::join!(load::drive(plan, requests), watch);
    let (outcome, usage) = (outcome?, usage?);
    let cpu_ms = usage.cpu_s * 1000.0 / (outcome.rate_per_s * usage.seconds);
    let (own_cores, other_cores) = (usage.own_cores, usage.other_cores);
    let sample = Sample { rate_per_s: outcome.rate_per_s, cpu_ms, own_cores, other_cores };
    Ok((outcome, sample))
}

/// Shows whoever waits how far the run is.
pub(crate) fn progress(run: usize, what: &str, connections: usize, sample: Sample) {
    let Sample { rate_per_s, cpu_ms, other_cores, .. } = sample;
    let line = format!("# run {run}, {what}, {connections} connections: {rate_per_s:.0}/s, {cpu_ms:.3} CPU-ms each");
    figure::say(&format!("{line}, others used {other_cores:.2} cores"));
}

/// The node under test with its accounts.
pub(crate) struct Subject {
    node: Node,
    inbox: Inbox,
    unsigned: Option<Unsigned>,
    measured: Duration,
    /// Makes ids unique over all cells.
    cells: usize,
}

/// What is known of one cell of the node itself.
pub(crate) struct Own {
    pub(crate) sample: Sample,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    flushes_per_op: f64,
    log_bytes_per_op: f64,
}

/// How a cell drives the node.
#[derive(Clone, Copy)]
pub(crate) struct Drive {
    pub(crate) connections: usize,
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) hot: bool,
    pub(crate) unsigned: bool,
}

impl Drive {
    pub(crate) fn peak(connections: usize) -> Self {
        Self { connections, rate_per_s: None, hot: false, unsigned: false }
    }
}

impl Subject {
    pub(crate) async fn start(settings: &Settings, node_settings: &[&str]) -> anyhow::Result<Self> {
        let node = Node::start(&settings.steward, node_settings)?;
        let inbox = Inbox::make(&node, 0..bare::ACCOUNTS).await?;
        Ok(Self { node, inbox, unsigned: None, measured: settings.measured, cells: 0 })
    }

    pub(crate) async fn cell(&mut self, drive: Drive) -> anyhow::Result<Own> {
        self.cells += 1;
        let prefix = format!("c{}", self.cells);
        let requests = ready(RATE_MAX, self.measured)?;
        let requests = match &self.unsigned {
            Some(unsigned) if drive.unsigned => Rc::new(unsigned.requests(&prefix, requests, &"x".repeat(BODY_BYTES))),
            Some(_) | None => self.inbox.requests(&prefix, requests, drive.hot),
        };
        let before = self.node.counters().await?;
        let plan = Plan {
            addresses: vec![self.node.http],
            connections: drive.connections,
            warmup: WARMUP,
            measured: self.measured,
            rate_per_s: drive.rate_per_s,
        };
        let (outcome, sample) = driven(plan, &requests, &[self.node.pid()]).await?;
        let after = self.node.counters().await?;
        self.inbox.read_back(&self.node, &prefix, requests.len(), &outcome).await?;
        let ops = count(outcome.acknowledged.len());
        let grew = |name: &str| -> anyhow::Result<f64> {
            let after = after.get(name).with_context(|| format!("the node has no counter {name}"))?;
            Ok((after - before.get(name).unwrap_or(&0.0)) / ops)
        };
        Ok(Own {
            sample,
            p50_ms: outcome.latency_ms(0.5),
            p99_ms: outcome.latency_ms(0.99),
            p999_ms: outcome.latency_ms(0.999),
            flushes_per_op: grew("steward_log_syncs_total")?,
            log_bytes_per_op: grew("steward_log_bytes_total")?,
        })
    }
}

/// How many requests to make ready.
pub(crate) fn ready(rate_max: usize, measured: Duration) -> anyhow::Result<usize> {
    Ok(rate_max * usize::try_from((WARMUP + measured).as_secs()).context("too long")?)
}

/// All runs of one concurrency.
#[derive(Default)]
struct Column {
    connections: usize,
    own: Vec<Own>,
    unsigned: Vec<Sample>,
    bare: Vec<Sample>,
    /// By peer, in the order of [`Peers::names`].
    peers: Vec<Vec<Sample>>,
}

impl Column {
    fn of(&self, figure: fn(&Own) -> f64) -> Vec<f64> {
        self.own.iter().map(figure).collect()
    }
}

pub(crate) fn rates(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.rate_per_s).collect()
}

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# ingest: webhooks of 256 bytes, signed (HMAC-SHA256), answered when durable; 1,000 accounts");
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let mut subject = Subject::start(settings, &[]).await?;
    subject.unsigned = Some(Unsigned::make(&subject.node, &subject.inbox.sources).await?);
    let mut slow = Subject::start(settings, &[SLOW_DISK]).await?;
    let bare = Bare::start(folder.path())?;
    let mut peers = Peers::start(settings).await?;
    let wanted = |connections: &usize| settings.connections.is_empty() || settings.connections.contains(connections);
    let column = |connections| Column { connections, peers: vec![vec![]; peers.names().len()], ..Column::default() };
    let mut columns: Vec<Column> = CONNECTIONS.into_iter().filter(wanted).map(column).collect();
    let mut slowed: Vec<(usize, Vec<Own>)> = JUDGED.into_iter().filter(wanted).map(|at| (at, vec![])).collect();
    let (mut paced, mut fsync_ms) = (vec![], vec![]);
    for run in 0..settings.runs {
        for column in &mut columns {
            let connections = column.connections;
            let own = subject.cell(Drive::peak(connections)).await?;
            progress(run, "steward", connections, own.sample);
            column.own.push(own);
            if connections == UNSIGNED_CONNECTIONS {
                let own = subject.cell(Drive { unsigned: true, ..Drive::peak(connections) }).await?;
                progress(run, "steward, unsigned", connections, own.sample);
                column.unsigned.push(own.sample);
            }
            if connections == 16 {
                continue;
            }
            let sample = bare_cell(&bare, connections, settings.measured).await?;
            progress(run, "the bare gateway", connections, sample);
            column.bare.push(sample);
            let cell = Cell { run, connections, warmup: WARMUP, measured: settings.measured, keys: bare::ACCOUNTS };
            let samples = peers.measure(cell).await?;
            for ((column, sample), peer) in column.peers.iter_mut().zip(samples).zip(peers.names()) {
                progress(run, peer, connections, sample);
                column.push(sample);
            }
        }
        let peak = columns.iter().find(|column| column.connections == PACED_CONNECTIONS);
        if let Some(peak) = peak.and_then(|column| column.own.last()) {
            fsync_ms.push(log::ms(&log::fsync(TempDir::new()?.path())?, 0.5));
            let rate_per_s = Some(peak.sample.rate_per_s * PACED_SHARE);
            paced.push(subject.cell(Drive { rate_per_s, ..Drive::peak(PACED_CONNECTIONS) }).await?);
        }
        for (connections, runs) in &mut slowed {
            runs.push(slow.cell(Drive::peak(*connections)).await?);
        }
    }
    columns.iter().for_each(|column| tell(report, column, peers.names()));
    if !paced.is_empty() {
        tell_paced(report, &paced, &fsync_ms);
    }
    for (connections, runs) in &slowed {
        let case = format!("accounts1000-c{connections}-sync+1ms");
        let of = |figure: fn(&Own) -> f64| -> Vec<f64> { runs.iter().map(figure).collect() };
        report.add(Figure::new("ingest", case.clone(), "rate_per_s", &of(|own| own.sample.rate_per_s)));
        report.add(Figure::new("ingest", case.clone(), "flushes_per_op", &of(|own| own.flushes_per_op)));
        report.add(Figure::new("ingest", case, "p99_ms", &of(|own| own.p99_ms)));
    }
    Ok(())
}

async fn bare_cell(bare: &Bare, connections: usize, measured: Duration) -> anyhow::Result<Sample> {
    let requests = Rc::new(signed(&bare_sources(bare::ACCOUNTS), "bare", ready(RATE_MAX_BARE, measured)?));
    let plan = Plan { addresses: vec![bare.address], connections, warmup: WARMUP, measured, rate_per_s: None };
    Ok(driven(plan, &requests, &[bare.pid()]).await?.1)
}

fn tell(report: &mut Report, column: &Column, peers: &[String]) {
    let case = format!("accounts1000-c{}", column.connections);
    let figure = |metric, runs: &[f64]| Figure::new("ingest", case.clone(), metric, runs);
    let own = column.of(|own| own.sample.rate_per_s);
    let judged = JUDGED.contains(&column.connections);
    report.add(figure("rate_per_s", &own));
    // Some concurrencies are measured of the node only.
    for (peer, samples) in peers.iter().zip(&column.peers).filter(|(_, samples)| !samples.is_empty()) {
        let versus = figure("rate_per_s", &own).versus(peer, &rates(samples));
        let least = if peer.starts_with("restate") { 10.0 } else { 2.0 };
        report.add(if judged { versus.want(Want::AtLeast(least)) } else { versus });
        let cpu: Vec<f64> = samples.iter().map(|sample| sample.cpu_ms).collect();
        report.add(figure("cpu_ms_per_op", &column.of(|own| own.sample.cpu_ms)).versus(peer, &cpu));
    }
    if !column.unsigned.is_empty() {
        let versus = figure("rate_per_s", &own).versus("unsigned", &rates(&column.unsigned));
        report.add(versus.want(Want::AtLeast(UNSIGNED_SHARE)));
    }
    if !column.bare.is_empty() {
        let versus = figure("rate_per_s", &own).versus("bare gateway", &rates(&column.bare));
        report.add(if judged { versus.want(Want::AtLeast(0.5)) } else { versus });
        let cpu: Vec<f64> = column.bare.iter().map(|sample| sample.cpu_ms).collect();
        report.add(figure("cpu_ms_per_op", &column.of(|own| own.sample.cpu_ms)).versus("bare gateway", &cpu));
    }
    let cpu = figure("cpu_ms_per_op", &column.of(|own| own.sample.cpu_ms));
    report.add(if judged { cpu.want(Want::AtMost(0.1)) } else { cpu });
    let flushes = figure("flushes_per_op", &column.of(|own| own.flushes_per_op));
    report.add(if column.connections == 64 { flushes.want(Want::AtMost(0.05)) } else { flushes });
    report.add(figure("log_bytes_per_op", &column.of(|own| own.log_bytes_per_op)));
    report.add(figure("closed_loop_p50_ms", &column.of(|own| own.p50_ms)));
    report.add(figure("closed_loop_p99_ms", &column.of(|own| own.p99_ms)));
    report.add(figure("client_cpu_cores", &column.of(|own| own.sample.own_cores)));
    report.add(figure("other_cpu_cores", &column.of(|own| own.sample.other_cores)));
}

fn tell_paced(report: &mut Report, runs: &[Own], fsync_ms: &[f64]) {
    let of = |figure: fn(&Own) -> f64| -> Vec<f64> { runs.iter().map(figure).collect() };
    let figure = |metric, runs: &[f64]| Figure::new("ingest", "accounts1000-half-peak", metric, runs);
    report.add(figure("rate_per_s", &of(|own| own.sample.rate_per_s)));
    report.add(figure("p50_ms", &of(|own| own.p50_ms)));
    report.add(
        figure("p99_ms", &of(|own| own.p99_ms)).versus("fsync p50 of the disk", fsync_ms).want(Want::AtMost(10.0)),
    );
    report.add(figure("p999_ms", &of(|own| own.p999_ms)));
    report.add(figure("cpu_ms_per_op", &of(|own| own.sample.cpu_ms)));
    report.add(figure("client_cpu_cores", &of(|own| own.sample.own_cores)));
    report.add(figure("other_cpu_cores", &of(|own| own.sample.other_cores)));
}

/// One account takes everything.
pub(crate) async fn hot(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# hot: the same webhooks, all of one account");
    let mut subject = Subject::start(settings, &[]).await?;
    let mut peers = Peers::start_restate(settings).await?;
    let (mut wide, mut hot, mut hot_few) = (vec![], vec![], vec![]);
    let mut theirs: Vec<Vec<Sample>> = vec![vec![]; peers.names().len()];
    for run in 0..settings.runs {
        wide.push(subject.cell(Drive::peak(64)).await?.sample);
        hot.push(subject.cell(Drive { hot: true, ..Drive::peak(64) }).await?.sample);
        hot_few.push(subject.cell(Drive { hot: true, ..Drive::peak(HOT_CALLERS) }).await?.sample);
        let cell = Cell { run, connections: HOT_CALLERS, warmup: WARMUP, measured: settings.measured, keys: 1 };
        for (samples, sample) in theirs.iter_mut().zip(peers.measure(cell).await?) {
            samples.push(sample);
        }
    }
    let figure = |case, runs: &[Sample]| Figure::new("hot", case, "rate_per_s", &rates(runs));
    report.add(figure("account1-c64", &hot).versus("our 1,000 accounts", &rates(&wide)).want(Want::AtLeast(0.5)));
    report.add(figure("account1-c16", &hot_few));
    for (peer, samples) in peers.names().iter().zip(&theirs) {
        report.add(figure("account1-c16", &hot_few).versus(peer, &rates(samples)).want(Want::AtLeast(50.0)));
    }
    let cpu: Vec<f64> = hot.iter().map(|sample| sample.cpu_ms).collect();
    report.add(Figure::new("hot", "account1-c64", "cpu_ms_per_op", &cpu));
    let other: Vec<f64> = hot.iter().map(|sample| sample.other_cores).collect();
    report.add(Figure::new("hot", "account1-c64", "other_cpu_cores", &other));
    Ok(())
}

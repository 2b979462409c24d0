//! Durable webhooks on a majority of three nodes, taken in by all of them, in turn with one node and with Restate.

use super::nodes::NODES;
use super::subject::{Cell, Subject};
use crate::bare::ACCOUNTS;
use crate::figure::{Figure, Report, Want};
use crate::ingest::{self as one_node, Drive, Own, Sample, WARMUP, rates};
use crate::peers::{self, Peers};
use crate::{Settings, figure};

const SHARDS: usize = 64;
const CONNECTIONS: [usize; 2] = [64, 256];
/// The share of the peak at which latencies are measured.
const PACED_SHARE: f64 = 0.5;
/// How many times as long as other families it measures: memtables go to disk each second or two and tables are merged each
/// five or so, and a cell of four seconds has either none of that or too much.
const LONGER: u32 = 3;
/// What three copies may leave of one node's rate, all on one machine.
const OF_ONE_NODE: f64 = 0.35;
const OF_RESTATE: f64 = 10.0;

/// Everything at one concurrency.
#[derive(Default)]
struct Column {
    connections: usize,
    cluster: Vec<Cell>,
    /// At half of the peak that was measured just before.
    paced: Vec<Cell>,
    one: Vec<Own>,
    peers: Vec<Vec<Sample>>,
}

pub(super) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# cluster-ingest: 1,000 accounts in 64 shards of three copies, all three nodes take webhooks in");
    let settings = &Settings { measured: settings.measured * LONGER, ..settings.clone() };
    let mut subject = Subject::start(settings, SHARDS).await?;
    let mut one = one_node::Subject::start(settings, &[]).await?;
    let mut peers = Peers::start_restate_cluster(settings).await?;
    let wanted = |connections: &usize| settings.connections.is_empty() || settings.connections.contains(connections);
    let column = |connections| Column { connections, peers: vec![vec![]; peers.names().len()], ..Column::default() };
    let mut columns: Vec<Column> = CONNECTIONS.into_iter().filter(wanted).map(column).collect();
    for run in 0..settings.runs {
        for column in &mut columns {
            let connections = column.connections;
            let cell = subject.cell(Drive::peak(connections)).await?;
            one_node::progress(run, "three nodes", connections, cell.sample);
            let rate_per_s = Some(cell.sample.rate_per_s * PACED_SHARE);
            column.cluster.push(cell);
            let own = one.cell(Drive::peak(connections)).await?;
            one_node::progress(run, "one node", connections, own.sample);
            column.one.push(own);
            let cell = peers::Cell { run, connections, warmup: WARMUP, measured: settings.measured, keys: ACCOUNTS };
            let samples = peers.measure(cell).await?;
            for ((column, sample), peer) in column.peers.iter_mut().zip(samples).zip(peers.names()) {
                one_node::progress(run, peer, connections, sample);
                column.push(sample);
            }
            column.paced.push(subject.cell(Drive { rate_per_s, ..Drive::peak(connections) }).await?);
        }
    }
    columns.iter().for_each(|column| tell(report, column, peers.names()));
    Ok(())
}

fn tell(report: &mut Report, column: &Column, peers: &[String]) {
    let case = format!("nodes{NODES}-accounts1000-c{}", column.connections);
    let figure = |metric, runs: &[f64]| Figure::new("cluster", case.clone(), metric, runs);
    let of = |cells: &[Cell], value: fn(&Cell) -> f64| -> Vec<f64> { cells.iter().map(value).collect() };
    let rate = of(&column.cluster, |cell| cell.sample.rate_per_s);
    let cpu = of(&column.cluster, |cell| cell.sample.cpu_ms);
    let one: Vec<Sample> = column.one.iter().map(|own| own.sample).collect();
    let one_cpu: Vec<f64> = one.iter().map(|sample| sample.cpu_ms).collect();
    report.add(figure("rate_per_s", &rate).versus("our one node", &rates(&one)).want(Want::AtLeast(OF_ONE_NODE)));
    report.add(figure("cpu_ms_per_op", &cpu).versus("our one node", &one_cpu));
    for (peer, samples) in peers.iter().zip(&column.peers) {
        report.add(figure("rate_per_s", &rate).versus(peer, &rates(samples)).want(Want::AtLeast(OF_RESTATE)));
        let theirs: Vec<f64> = samples.iter().map(|sample| sample.cpu_ms).collect();
        report.add(figure("cpu_ms_per_op", &cpu).versus(peer, &theirs));
    }
    report.add(figure("closed_loop_p50_ms", &of(&column.cluster, |cell| cell.p50_ms)));
    report.add(figure("closed_loop_p99_ms", &of(&column.cluster, |cell| cell.p99_ms)));
    report.add(figure("client_cpu_cores", &of(&column.cluster, |cell| cell.sample.own_cores)));
    report.add(figure("other_cpu_cores", &of(&column.cluster, |cell| cell.sample.other_cores)));
    let half = format!("{case}-half-peak");
    let figure = |metric, runs: &[f64]| Figure::new("cluster", half.clone(), metric, runs);
    report.add(figure("rate_per_s", &of(&column.paced, |cell| cell.sample.rate_per_s)));
    report.add(figure("p50_ms", &of(&column.paced, |cell| cell.p50_ms)));
    report.add(figure("p99_ms", &of(&column.paced, |cell| cell.p99_ms)));
    report.add(figure("cpu_ms_per_op", &of(&column.paced, |cell| cell.sample.cpu_ms)));
}

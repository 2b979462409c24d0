//! Many shards with nothing to do: what three nodes burn and hold, and that a thousand shards work.

use std::time::Duration;

use steward_cluster::clock::{Clock, SystemClock};

use super::nodes::{Cluster, NODES};
use super::subject::Subject;
use crate::figure::{Figure, Report, Want};
use crate::ingest::Drive;
use crate::meter::{self, rss_mb};
use crate::{Settings, figure};

const SHARDS: usize = 256;
const MANY_SHARDS: usize = 1024;
const CONNECTIONS: usize = 64;
/// How long placed shards take to fall asleep.
const SETTLE: Duration = Duration::from_secs(30);
/// How long they are looked at.
const LOOK: Duration = Duration::from_secs(20);

pub(super) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# cluster-idle: three nodes over empty folders, without models");
    let (mut placed_s, mut cpu_percent, mut memory_mb, mut other) = (vec![], vec![], vec![], vec![]);
    for run in 0..settings.runs {
        let clock = SystemClock::new();
        let cluster = Cluster::start(settings, SHARDS, NODES).await?;
        placed_s.push(clock.monotonic().as_secs_f64());
        let usage = meter::over(&cluster.pids(), SETTLE, LOOK).await?;
        let percent = usage.cpu_s / usage.seconds * 100.0;
        figure::say(&format!("# run {run}: {percent:.1} % of a core, others used {:.2} cores", usage.other_cores));
        cpu_percent.push(percent);
        other.push(usage.other_cores);
        for pid in cluster.pids() {
            memory_mb.push(rss_mb(pid)?);
        }
    }
    let case = format!("nodes{NODES}-shards{SHARDS}-idle");
    let figure = |metric, runs: &[f64]| Figure::new("cluster", case.clone(), metric, runs);
    report.add(figure("placed_after_s", &placed_s));
    report.add(figure("cpu_percent_of_core", &cpu_percent).want(Want::AtMost(3.0)));
    report.add(figure("rss_mb_each", &memory_mb).want(Want::AtMost(80.0)));
    report.add(figure("other_cpu_cores", &other));
    many(settings, report).await
}

async fn many(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let (mut placed_s, mut rate_per_s, mut p99_ms) = (vec![], vec![], vec![]);
    for run in 0..settings.runs {
        let clock = SystemClock::new();
        let cluster = Cluster::start(settings, MANY_SHARDS, NODES).await?;
        placed_s.push(clock.monotonic().as_secs_f64());
        let mut subject = Subject::over(cluster, settings).await?;
        let cell = subject.cell(Drive::peak(CONNECTIONS)).await?;
        crate::ingest::progress(run, "three nodes with 1,024 shards", CONNECTIONS, cell.sample);
        rate_per_s.push(cell.sample.rate_per_s);
        p99_ms.push(cell.p99_ms);
    }
    let case = format!("nodes{NODES}-shards{MANY_SHARDS}-c{CONNECTIONS}");
    let figure = |metric, runs: &[f64]| Figure::new("cluster", case.clone(), metric, runs);
    report.add(figure("placed_after_s", &placed_s));
    report.add(figure("rate_per_s", &rate_per_s));
    report.add(figure("closed_loop_p99_ms", &p99_ms));
    Ok(())
}

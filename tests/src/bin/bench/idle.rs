//! A node with nothing to do: how soon it is ready, what it holds and what it burns.

use std::time::Duration;

use crate::figure::{Figure, Report, Want};
use crate::meter::{self, rss_mb};
use crate::node::Node;
use crate::{Settings, figure};

/// How long a node settles before it is looked at.
const SETTLE: Duration = Duration::from_secs(2);
/// How long it is looked at.
const LOOK: Duration = Duration::from_secs(3);

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# idle: a node over an empty folder, without models");
    let (mut ready_ms, mut memory_mb, mut cpu_percent, mut other) = (vec![], vec![], vec![], vec![]);
    for _ in 0..settings.runs {
        let node = Node::start(&settings.steward, &[])?;
        ready_ms.push(node.ready_in.as_secs_f64() * 1000.0);
        let usage = meter::over(&[node.pid()], SETTLE, LOOK).await?;
        memory_mb.push(rss_mb(node.pid())?);
        cpu_percent.push(usage.cpu_s / usage.seconds * 100.0);
        other.push(usage.other_cores);
    }
    report.add(Figure::new("idle", "node", "ready_ms", &ready_ms).want(Want::AtMost(1000.0)));
    report.add(Figure::new("idle", "node", "rss_mb", &memory_mb).want(Want::AtMost(60.0)));
    report.add(Figure::new("idle", "node", "cpu_percent_of_core", &cpu_percent));
    report.add(Figure::new("idle", "machine", "other_cpu_cores", &other));
    Ok(())
}

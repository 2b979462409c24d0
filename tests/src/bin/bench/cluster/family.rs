//! The parts of the family, in their order; `main.rs` asks for them.

use crate::Settings;
use crate::figure::{self, Report};

use super::{idle, ingest, join, kill, moves, nodes};

/// The family and what is measured by its name, and of each part alone. Joining takes long: it is measured when asked for.
pub(crate) const PARTS: [&str; 6] =
    ["cluster", "cluster-ingest", "cluster-kill", "cluster-moves", "cluster-idle", "cluster-join"];

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let [all, part_ingest, part_kill, part_moves, part_idle, part_join] = PARTS;
    let wants = |part| settings.wants(all) || settings.wants(part);
    if !nodes::etcd_is_installed() {
        figure::say("# etcd is not installed, the cluster is skipped (scripts/setup --tests)");
        return Ok(());
    }
    if wants(part_ingest) {
        ingest::measure(settings, report).await?;
    }
    if wants(part_kill) {
        kill::measure(settings, report).await?;
    }
    if wants(part_moves) {
        moves::measure(settings, report).await?;
    }
    if wants(part_idle) {
        idle::measure(settings, report).await?;
    }
    if settings.names(part_join) {
        join::measure(settings, report).await?;
    }
    Ok(())
}

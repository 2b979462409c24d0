//! Power that goes: from one moment on a node says nothing, and what it had not synced is gone.

use std::time::Duration;

use steward_cluster::clock::{Clock as _, SystemClock};
use steward_tests::harness::{Cluster, Disk, Run, Shape, skipped};

use crate::{A_WHILE, PLAN, close};

/// Enough for the log, the snapshots and the store of a run.
const DISK_MIB: u64 = 256;
/// How often all nodes lose their power.
const OUTAGES: u64 = if cfg!(feature = "chaos") { 4 } else { 1 };
/// From the end of an outage to the first command that is acknowledged.
const SERVES_WITHIN: Duration = Duration::from_secs(15);

async fn start() -> Option<(Cluster, Run)> {
    let shape = Shape::default();
    let disks = match Disk::mount_each(shape.nodes, DISK_MIB) {
        Ok(disks) => disks,
        Err(reason) => {
            skipped(&reason);
            return None;
        }
    };
    let cluster = Cluster::start_on(shape, disks).await;
    let run = Run::start(PLAN, cluster.known()).await;
    Some((cluster, run))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_power_comes_back_by_itself() {
    let Some((mut cluster, run)) = start().await else { return };
    run.goes_on(2 * A_WHILE).await;
    let leader = cluster.leader().await;
    cluster.cut_power(&[leader]);
    run.goes_on(A_WHILE).await;
    cluster.restart(leader);
    cluster.placed().await;
    run.goes_on(A_WHILE).await;
    close("one without power", cluster, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_all_nodes_lose_their_power() {
    let Some((mut cluster, run)) = start().await else { return };
    let clock = SystemClock::new();
    for _ in 0..OUTAGES {
        run.goes_on(2 * A_WHILE).await;
        cluster.cut_power(&[1, 2, 3]);
        let since = clock.monotonic();
        [1, 2, 3].into_iter().for_each(|node| cluster.restart(node));
        run.goes_on(1).await;
        let served_after = clock.monotonic() - since;
        assert!(served_after < SERVES_WITHIN, "{served_after:?}");
    }
    run.goes_on(A_WHILE).await;
    close("all without power", cluster, run).await;
}

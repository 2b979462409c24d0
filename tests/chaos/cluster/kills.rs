//! Nodes that are killed: one leader after the other, all at once, and one by one in good order.

use std::time::Duration;

use steward_tests::harness::{Cluster, Run, Shape};

use crate::{A_WHILE, PLAN, close};

const KILLS: u64 = if cfg!(feature = "chaos") { 5 } else { 2 };
const OUTAGES: u64 = if cfg!(feature = "chaos") { 2 } else { 1 };
/// An election takes 0.6 s, now and then two are needed; the rest is for a loaded machine.
const SLOWEST_MAX: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_is_replaced() {
    let mut cluster = Cluster::start(Shape { tls: true, ..Shape::default() }).await;
    let run = Run::start(PLAN, cluster.known()).await;
    for _ in 0..KILLS {
        run.goes_on(A_WHILE).await;
        let leader = cluster.leader().await;
        cluster.kill(leader);
        run.goes_on(A_WHILE).await;
        cluster.restart(leader);
        cluster.placed().await;
    }
    let measured = close("leaders killed", cluster, run).await;
    assert!(measured.slowest < SLOWEST_MAX, "{measured}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_all_nodes_are_killed_at_once() {
    let mut cluster = Cluster::start(Shape::default()).await;
    let run = Run::start(PLAN, cluster.known()).await;
    for _ in 0..OUTAGES {
        run.goes_on(2 * A_WHILE).await;
        [1, 2, 3].into_iter().for_each(|node| cluster.kill(node));
        [1, 2, 3].into_iter().for_each(|node| cluster.restart(node));
    }
    run.goes_on(2 * A_WHILE).await;
    close("all killed", cluster, run).await;
}

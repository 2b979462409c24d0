//! A disk that fails to sync once. What it holds is unknown from then on: the node may promise nothing on it any more.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;
use steward_tests::harness::{Cluster, Run, Shape, Tracer, skipped};

use crate::{A_WHILE, PLAN, close};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_fails_to_sync_ends_at_once_and_the_others_go_on() {
    if !rustix::process::geteuid().is_root() {
        return skipped("to trace another process needs root");
    }
    let mut cluster = Cluster::start(Shape::default()).await;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    let leader = cluster.leader().await;
    cluster.node_mut(leader).expect("consensus failed, the process ends");
    let tracer = Tracer::fail_next_sync(cluster.node(leader).pid());
    let ended = cluster.ends(leader).await;
    let told = |line: &serde_json::Value| line.to_string().contains("Input/output error");
    cluster.node(leader).logged("the reason", told);
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{ended}");
    let later = tracer.after_failure();
    assert!(later.is_empty(), "it tried again what had failed: {later:?}");
    run.goes_on(A_WHILE).await;
    cluster.restart(leader);
    cluster.placed().await;
    run.goes_on(A_WHILE).await;
    close("sync failed", cluster, run).await;
}

//! Etcd that stands still, is killed, or forgets everything: it says who is there, and decides nothing about data.

use std::fs;
use std::time::Duration;

use steward_tests::harness::{Cluster, Run, Shape};

use crate::{A_WHILE, PLAN, close};

/// Twice as long as leases last.
const AWAY: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_goes_on_without_etcd_and_a_leader_is_replaced() {
    let mut cluster = Cluster::start(Shape::default()).await;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    let leader = cluster.leader().await;
    cluster.pause_etcd();
    run.goes_on_for(AWAY / 2).await;
    cluster.kill(leader);
    run.goes_on_for(AWAY / 2).await;
    run.goes_on(A_WHILE).await;
    cluster.etcd_goes_on();
    cluster.restart(leader);
    cluster.placed().await;
    cluster.restart_etcd();
    run.goes_on(A_WHILE).await;
    close("etcd away", cluster, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_etcd_forgot_is_written_back_by_hand() {
    let mut cluster = Cluster::start(Shape::default()).await;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    for node in [1, 2, 3] {
        cluster.node_mut(node).expect("etcd holds no place for this node any more");
        cluster.node_mut(node).expect("the last view of the cluster stays in use");
    }
    let remembered = cluster.node(3).data_dir().join("format.json");
    let format = fs::read_to_string(remembered).expect("every node remembers the format in force");
    assert_eq!(format.trim(), cluster.formats().expect("a node answers").0.to_string());
    cluster.wipe_etcd();
    run.goes_on(A_WHILE).await;
    cluster.terminate(3).await;
    cluster.node_mut(3).expect("steward: ");
    let said = cluster.node(3).refuses_to_start();
    assert!(said.contains("run `steward ctl cluster rebuild`"), "{said}");
    run.goes_on(A_WHILE).await;
    cluster.rebuild(3);
    cluster.restart(3);
    cluster.placed().await;
    run.goes_on(A_WHILE).await;
    close("etcd wiped", cluster, run).await;
}

//! Nodes that run this release and the one before, in one cluster and one after the other: everything but the newest format
//! works either way, and the way back ends where an operator says so.

use std::time::Duration;

use steward_proto::job::v1::CreateJobRequest;
use steward_tests::harness::{Build, Cluster, Node, Platform, Run, Shape, WAIT_MAX, eventually, now_ms};
use tonic::{Code, Status};

use crate::{A_WHILE, PLAN, close};

/// What the release before knows, and what this one knows.
const OLD: u16 = 5;
const NEW: u16 = 6;
const SHARDS: u16 = 8;
/// A node that stops has given its shards away within this; nobody waits for them any longer.
const SLOWEST_MAX: Duration = Duration::from_secs(3);

/// What became of an urgent job: only this release knows of priorities, and only when all shards may.
async fn hurries(cluster: &Cluster, id: u64) -> Result<(), Status> {
    let request = CreateJobRequest {
        account_id: "account-0".to_owned(),
        kind: "search".to_owned(),
        input_json: r#"{"query": "q"}"#.to_owned(),
        priority: 1,
        ..CreateJobRequest::default()
    };
    cluster.node(id).api().await.jobs().create_job(request).await.map(drop)
}

fn finalize(cluster: &Cluster, id: u64) -> Result<(), String> {
    let output = cluster.node(id).ctl(&["cluster", "finalize"]);
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn see(cluster: &Cluster, in_force: u16, known: u16) {
    let seen = async || (cluster.formats() == Some((in_force, known))).then_some(());
    eventually(WAIT_MAX, &format!("format {in_force} in force and {known} known, not {:?}", cluster.formats()), seen)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_upgraded_go_back_and_are_upgraded_for_good() {
    let shape = Shape { build: Build::Previous, shards: SHARDS, ..Shape::default() };
    let mut cluster = Cluster::start(shape).await;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    for id in [1, 2] {
        cluster.roll(id, Build::This).await;
        run.goes_on(A_WHILE).await;
    }
    see(&cluster, OLD, OLD).await;
    let refused = finalize(&cluster, 1).expect_err("a node is behind");
    assert!(refused.contains("node 3 runs version") && refused.contains("upgrade it first"), "{refused}");
    cluster.roll(3, Build::This).await;
    run.goes_on(A_WHILE).await;
    see(&cluster, OLD, NEW).await;
    let refused = hurries(&cluster, 1).await.expect_err("nobody has said so");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("needs format 4"), "{refused}");

    for id in [1, 2, 3] {
        cluster.roll(id, Build::Previous).await;
        run.goes_on(A_WHILE).await;
    }
    see(&cluster, OLD, OLD).await;
    for id in [3, 2, 1] {
        cluster.roll(id, Build::This).await;
        run.goes_on(A_WHILE).await;
    }
    finalize(&cluster, 2).expect("all nodes know it");
    see(&cluster, NEW, NEW).await;
    let hurried = async || hurries(&cluster, 3).await.ok();
    eventually(WAIT_MAX, "an urgent job", hurried).await;
    run.goes_on(A_WHILE).await;
    cannot_go_back(&mut cluster).await;
    run.goes_on(A_WHILE).await;
    let measured = close("upgraded and back", cluster, run).await;
    assert!(measured.slowest < SLOWEST_MAX, "{measured}");
}

/// The release before is refused by the cluster, and by what the node itself holds when nobody can tell of the cluster.
async fn cannot_go_back(cluster: &mut Cluster) {
    cluster.terminate(3).await;
    let node = cluster.node_mut(3);
    node.becomes(Build::Previous);
    node.expect("steward: ");
    let refused = node.refuses_to_start();
    assert!(refused.contains("cluster chaos has format 4 in force, this binary knows up to format 3"), "{refused}");
    cluster.pause_etcd();
    let refused = cluster.node(3).refuses_to_start();
    cluster.etcd_goes_on();
    assert!(refused.contains("has format 4 in force, this binary knows up to format 3: start version"), "{refused}");
    cluster.node_mut(3).becomes(Build::This);
    cluster.restart(3);
    cluster.placed().await;
}

#[tokio::test]
async fn a_node_that_is_alone_raises_by_itself_and_does_not_go_back() {
    let mut node = Node::builder().build(Build::Previous).start();
    let api = node.api().await;
    api.create_account("acme").await;
    let (scheme, secret) = (Platform::GitHub.scheme(), Platform::GitHub.secret());
    let path = api.create_source("acme", "in", scheme, secret).await;
    let send = async |node: &Node, number: u64| {
        let delivery = Platform::GitHub.sample(number);
        node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await.status
    };
    assert_eq!(send(&node, 1).await, 200);
    let old = async || (node.metric("steward_format_in_force").await == u64::from(OLD)).then_some(());
    eventually(WAIT_MAX, "the format of the release before", old).await;
    assert!(node.terminate().await.success());
    node.becomes(Build::This);
    node.restart();
    assert_eq!(send(&node, 2).await, 200);
    let raised = async || (node.metric("steward_format_in_force").await == u64::from(NEW)).then_some(());
    eventually(WAIT_MAX, "the newest format", raised).await;
    assert!(node.terminate().await.success());
    node.becomes(Build::Previous);
    node.expect("steward: ");
    let refused = node.refuses_to_start();
    assert!(refused.contains("has format 4 in force, this binary knows up to format 3: start version"), "{refused}");
    node.becomes(Build::This);
    node.restart();
    assert_eq!(send(&node, 3).await, 200);
}

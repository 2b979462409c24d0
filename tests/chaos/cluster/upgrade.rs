//! Nodes that run this release and the one before, in one cluster and one after the other: everything but the newest format
//! works either way, and the way back ends where an operator says so.

use std::time::Duration;

use steward_proto::webhook::v1::UpdateEndpointRequest;
use steward_tests::harness::{Build, Cluster, Node, Platform, Run, Shape, WAIT_MAX, eventually, now_ms};
use tonic::{Code, Status};

use crate::{A_WHILE, PLAN, close};

/// What the release before knows, and what this one knows.
const OLD: u16 = 2;
const NEW: u16 = 3;
const SHARDS: u16 = 8;
/// A node that stops has given its shards away within this; nobody waits for them any longer.
const SLOWEST_MAX: Duration = Duration::from_secs(3);

/// What became of an attempt to change an endpoint: only this release can, and only when all shards may.
async fn changes(cluster: &Cluster, id: u64) -> Result<(), Status> {
    let (account_id, endpoint_id) = ("account-0".to_owned(), "changing".to_owned());
    let request = UpdateEndpointRequest {
        account_id,
        endpoint_id,
        url: "https://example.com/".to_owned(),
        patterns: vec!["never.**".to_owned()],
        rate_per_s: 1,
        ..UpdateEndpointRequest::default()
    };
    cluster.node(id).api().await.webhooks().update_endpoint(request).await.map(drop)
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
    cluster.node(1).api().await.create_endpoint("account-0", "changing", "https://example.com/", "never.**", "").await;
    let refused = changes(&cluster, 1).await.expect_err("nobody has said so");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("needs format 3"), "{refused}");

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
    let changed = async || changes(&cluster, 3).await.ok();
    eventually(WAIT_MAX, "an endpoint to be changed", changed).await;
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
    assert!(refused.contains("cluster chaos has format 3 in force, this binary knows up to format 2"), "{refused}");
    cluster.pause_etcd();
    let refused = cluster.node(3).refuses_to_start();
    cluster.etcd_goes_on();
    assert!(refused.contains("has format 3 in force, this binary knows up to format 2: start version"), "{refused}");
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
    assert!(refused.contains("has format 3 in force, this binary knows up to format 2: start version"), "{refused}");
    node.becomes(Build::This);
    node.restart();
    assert_eq!(send(&node, 3).await, 200);
}

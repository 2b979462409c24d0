//! Links that break: around a leader, in one direction, and between two of three nodes.

use std::time::Duration;

use steward_tests::harness::{Cluster, Network, Plan, Run, Shape, WAIT_MAX, eventually};
use tonic::Code;

use crate::{A_WHILE, PLAN, close};

/// Long enough for elections on both sides, and for calls under way to give up.
const CUT: Duration = Duration::from_secs(6);

async fn start(network: Network) -> (Cluster, Run) {
    let cluster = Cluster::start_in(Shape::default(), network).await;
    let run = Run::start(Plan { receiver: Network::outside(), ..PLAN }, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    (cluster, run)
}

/// Waits until a node on its own refuses to read.
async fn refuses(cluster: &Cluster, node: u64) {
    let api = cluster.node(node).api().await;
    let refused = async || {
        let request = steward_proto::account::v1::GetAccountRequest { account_id: "account-0".to_owned() };
        api.accounts().get_account(request).await.err().filter(|status| status.code() == Code::Unavailable)
    };
    eventually(WAIT_MAX, "a node without the others to refuse", refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_refuses_and_the_others_go_on() {
    let Some(network) = Network::enter("cuts::a_leader_that_is_cut_off_refuses_and_the_others_go_on") else { return };
    let (cluster, run) = start(network).await;
    let leader = cluster.leader().await;
    let others = cluster.all_but(leader);
    others.iter().for_each(|other| cluster.network().part(leader, *other));
    run.goes_on_for(CUT).await;
    refuses(&cluster, leader).await;
    run.goes_on(A_WHILE).await;
    cluster.network().heal();
    run.goes_on(A_WHILE).await;
    close("leader cut off", cluster, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_heard_by_nobody_is_replaced() {
    let Some(network) = Network::enter("cuts::a_leader_that_is_heard_by_nobody_is_replaced") else { return };
    let (cluster, run) = start(network).await;
    let leader = cluster.leader().await;
    for other in cluster.all_but(leader) {
        cluster.network().cut(leader, other);
    }
    run.goes_on_for(CUT).await;
    run.goes_on(A_WHILE).await;
    cluster.network().heal();
    run.goes_on(A_WHILE).await;
    close("leader unheard", cluster, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_nobody_is_replaced() {
    let Some(network) = Network::enter("cuts::a_leader_that_hears_nobody_is_replaced") else { return };
    let (cluster, run) = start(network).await;
    let leader = cluster.leader().await;
    for other in cluster.all_but(leader) {
        cluster.network().cut(other, leader);
    }
    run.goes_on_for(CUT).await;
    run.goes_on(A_WHILE).await;
    cluster.network().heal();
    run.goes_on(A_WHILE).await;
    close("leader deaf", cluster, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_only_the_third_connects_go_on() {
    let Some(network) = Network::enter("cuts::two_nodes_that_only_the_third_connects_go_on") else { return };
    let (cluster, run) = start(network).await;
    cluster.network().part(1, 2);
    run.goes_on_for(CUT).await;
    run.goes_on(A_WHILE).await;
    cluster.network().heal();
    run.goes_on(A_WHILE).await;
    close("bridge", cluster, run).await;
}

//! A network that loses packets. Delays come with it, for what is lost is sent again.

use steward_tests::harness::{Cluster, Network, Plan, Run, Shape};

use crate::{A_WHILE, PLAN, close};

/// Of all packets that reach a node: those of the others, of etcd and of clients.
const LOST_PERCENT: u8 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_network_loses_packets_goes_on() {
    let Some(network) = Network::enter("loss::a_cluster_whose_network_loses_packets_goes_on") else { return };
    let cluster = Cluster::start_in(Shape::default(), network).await;
    let run = Run::start(Plan { receiver: Network::outside(), ..PLAN }, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    cluster.network().lose(LOST_PERCENT);
    for _ in 0..10 {
        run.goes_on(A_WHILE).await;
    }
    cluster.network().heal();
    run.goes_on(A_WHILE).await;
    close("packets lost", cluster, run).await;
}

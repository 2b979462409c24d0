//! One node that becomes three and one again, with clients at work all the time.

use std::collections::BTreeSet;

use steward_proto::event::v1::{AckConsumerRequest, GetConsumerRequest};
use steward_tests::harness::{Api, Cluster, Run, Shape};

use crate::{A_WHILE, PLAN, close};

const ACCOUNT: &str = "account-0";
const CONSUMER: &str = "ledger";
/// Where the consumer stands; the account's first events are those of its setup.
const CURSOR: u64 = 2;

/// The formats of the shards a node holds, by its own word.
fn formats(cluster: &Cluster, node: u64) -> BTreeSet<u64> {
    let rows = cluster.node(node).ctl_json(&["shards"]);
    rows.as_array().expect("shards are a list").iter().filter_map(|row| row["format"].as_u64()).collect()
}

async fn cursor(api: &Api) -> u64 {
    let request = GetConsumerRequest { account_id: ACCOUNT.to_owned(), consumer: CONSUMER.to_owned() };
    api.events().get_consumer(request).await.expect("the consumer is known").into_inner().seq
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_becomes_three_and_one_again() {
    let mut cluster = Cluster::start(Shape { nodes: 1, ..Shape::default() }).await;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    let acked = AckConsumerRequest { account_id: ACCOUNT.to_owned(), consumer: CONSUMER.to_owned(), seq: CURSOR };
    cluster.node(1).api().await.events().ack_consumer(acked).await.expect("the cursor is kept");
    cluster.add();
    cluster.add();
    cluster.placed().await;
    let first = formats(&cluster, 1);
    assert_eq!((formats(&cluster, 2), formats(&cluster, 3)), (first.clone(), first), "a snapshot brings its format");
    run.goes_on(A_WHILE).await;
    assert_eq!(cursor(&cluster.node(3).api().await).await, CURSOR);
    for node in [1, 2] {
        cluster.drain(node).await;
        run.goes_on(A_WHILE).await;
    }
    for node in [1, 2] {
        cluster.terminate(node).await;
        cluster.forget(node);
    }
    run.goes_on(A_WHILE).await;
    assert_eq!(cursor(&cluster.node(3).api().await).await, CURSOR);
    close("growth", cluster, run).await;
}

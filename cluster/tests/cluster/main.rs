//! Whole nodes of this crate in one process: real etcd, links, logs and drivers, over a state machine that keeps bytes.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod draining;
mod growing;
mod load;
mod machine;
mod node;
mod outages;

#[expect(dead_code, reason = "the tests of membership use the rest of it")]
#[path = "../membership/etcd.rs"]
mod etcd;

use std::time::Duration;

use steward_cluster::ids::ShardId;
use tokio::time::{interval, timeout};

use crate::etcd::Etcd;
use crate::node::{Node, Setup};

/// Far beyond what a loaded machine needs, leases included.
const WAIT_MAX: Duration = Duration::from_secs(100);

/// Looks until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut looks = interval(Duration::from_millis(10));
    let looking = async {
        while !is_so() {
            looks.tick().await;
        }
    };
    assert!(timeout(WAIT_MAX, looking).await.is_ok(), "did not come in time: {what}");
}

/// Nodes 1 to 3, which hold every shard from the start.
async fn three(etcd: &Etcd, shards: u16) -> [Node; 3] {
    let setup = |id| Setup { shards, founders: vec![1, 2, 3], id };
    [setup(1).start(etcd).await, setup(2).start(etcd).await, setup(3).start(etcd).await]
}

/// Which nodes lead something, and how many shards.
fn leads(nodes: &[&Node], shards: u16) -> Vec<usize> {
    let led = |node: &&Node| (0..shards).filter(|shard| node.leads(ShardId(*shard))).count();
    nodes.iter().map(led).collect()
}

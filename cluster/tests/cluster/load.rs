//! Writes to every shard, wherever it is led, and remembers what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::raft::DriverHandle;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::node::{Node, propose};
use crate::until;

/// One writer per shard.
pub(crate) struct Load {
    drivers: Arc<Mutex<BTreeMap<NodeId, DriverHandle>>>,
    acknowledged: Arc<Vec<AtomicU64>>,
    stop: CancellationToken,
    writers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub(crate) fn start(shards: u16) -> Self {
        let drivers = Arc::default();
        let acknowledged = Arc::new((0..shards).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
        let stop = CancellationToken::new();
        let writers = (0..shards)
            .map(|shard| {
                Handle::current().spawn(write(
                    ShardId(shard),
                    Arc::clone(&drivers),
                    Arc::clone(&acknowledged),
                    stop.clone(),
                ))
            })
            .collect();
        Self { drivers, acknowledged, stop, writers }
    }

    /// Writes to this node, too, from now on.
    pub(crate) fn add(&self, node: &Node) {
        self.drivers.lock().insert(node.id, node.handle());
    }

    /// Writes to this node no more.
    pub(crate) fn remove(&self, node: NodeId) {
        self.drivers.lock().remove(&node);
    }

    /// Waits until every shard has acknowledged so many more.
    pub(crate) async fn more(&self, count: u64) {
        let now = || self.acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).collect::<Vec<u64>>();
        let before = now();
        until("more acknowledged entries of every shard", || {
            now().iter().zip(&before).all(|(now, before)| *now >= before + count)
        })
        .await;
    }

    /// Ends the writing; answers what each shard acknowledged.
    pub(crate) async fn stop(self) -> Vec<Vec<String>> {
        self.stop.cancel();
        join_all(self.writers).await.into_iter().map(Result::unwrap).collect()
    }
}

async fn write(
    shard: ShardId,
    drivers: Arc<Mutex<BTreeMap<NodeId, DriverHandle>>>,
    acknowledged: Arc<Vec<AtomicU64>>,
    stop: CancellationToken,
) -> Vec<String> {
    let mut values = vec![];
    let mut tries = 0_u64;
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    while !stop.is_cancelled() {
        pace.tick().await;
        let all: Vec<DriverHandle> = drivers.lock().values().cloned().collect();
        for driver in all {
            tries += 1;
            let value = format!("{}-{tries}", shard.0);
            if propose(&driver, shard, value.clone()).await.is_some() {
                values.push(value);
                acknowledged[usize::from(shard.0)].fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    values
}

/// Waits until these nodes hold everything that was acknowledged, in the same order as each other.
pub(crate) async fn everywhere(nodes: &[&Node], acknowledged: &[Vec<String>]) {
    for (shard, acknowledged) in (0u16..).map(ShardId).zip(acknowledged) {
        assert!(!acknowledged.is_empty(), "{shard} acknowledged nothing");
        until("the same everywhere", || {
            let first = nodes[0].kept.values(shard);
            nodes.iter().all(|node| node.kept.values(shard) == first)
        })
        .await;
        let values = nodes[0].kept.values(shard);
        let mut rest = values.iter();
        let lost = acknowledged.iter().find(|value| !rest.any(|there| there == *value));
        assert_eq!(lost, None, "{shard} lost it, or has it in another order");
    }
}

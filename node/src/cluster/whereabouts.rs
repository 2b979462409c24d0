//! Who leads which shard, from the best that is known here: this node's own replicas, then refusals of others, then the
//! hints in etcd.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use steward_actors::shard::Shards;
use steward_actors::supervisor;
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::membership::View;
use steward_cluster::raft::Role;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::gateway::forward::{Leader, Whereabouts};

/// Where shards stand, as this node knows.
pub(crate) struct Standing {
    node: NodeId,
    shards: Shards,
    view: watch::Receiver<Arc<View>>,
    /// Whom a refusal named, until something newer is known of the shard.
    corrections: Arc<Mutex<BTreeMap<ShardId, NodeId>>>,
    changes: watch::Sender<u64>,
    watching: JoinHandle<()>,
}

impl Standing {
    pub(crate) fn new(node: NodeId, shards: Shards, view: watch::Receiver<Arc<View>>) -> Arc<Self> {
        let corrections = Arc::<Mutex<BTreeMap<ShardId, NodeId>>>::default();
        let changes = watch::channel(0).0;
        let watching = watch_news(shards.role_changes(), view.clone(), Arc::clone(&corrections), changes.clone());
        let watching = supervisor::spawn("whereabouts", watching);
        Arc::new(Self { node, shards, view, corrections, changes, watching })
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Whereabouts for Standing {
    fn leader(&self, shard: ShardId) -> Leader {
        if self.shards.is_led(shard) {
            return Leader::Here;
        }
        let at = |node: NodeId| if node == self.node { Leader::Unknown } else { Leader::At(node) };
        if let Some(corrected) = self.corrections.lock().get(&shard) {
            return at(*corrected);
        }
        match self.shards.driver().status(shard).map(|status| status.role) {
            Some(Role::Follower { leader: Some(leader) }) => at(leader),
            // Elected, and about to be ready.
            Some(Role::Leader { .. }) => Leader::Unknown,
            Some(Role::Follower { leader: None }) => Leader::Unknown,
            None => {
                let view = self.view.borrow();
                let hint = view.leaders.get(usize::from(shard.0)).copied().flatten();
                hint.map_or(Leader::Unknown, at)
            }
        }
    }

    fn confirm(&self, shard: ShardId) -> BoxFuture<'static, bool> {
        let shards = self.shards.clone();
        Box::pin(async move { shards.confirm(shard).await })
    }

    fn is_replica_here(&self, shard: ShardId) -> bool {
        let usable = self.shards.driver().status(shard).filter(|status| !status.is_parked);
        match usable.map(|status| status.role) {
            Some(Role::Follower { leader }) => leader.is_some(),
            Some(Role::Leader { .. }) => true,
            None => false,
        }
    }

    fn correct(&self, shard: ShardId, leader: Option<NodeId>) {
        let mut corrections = self.corrections.lock();
        match leader {
            Some(leader) if leader != self.node => corrections.insert(shard, leader),
            Some(_) | None => corrections.remove(&shard),
        };
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Passes news on; with them, what refusals said before is old.
async fn watch_news(
    mut roles: watch::Receiver<u64>,
    mut view: watch::Receiver<Arc<View>>,
    corrections: Arc<Mutex<BTreeMap<ShardId, NodeId>>>,
    changes: watch::Sender<u64>,
) {
    loop {
        tokio::select! {
            changed = roles.changed() => if changed.is_err() { return },
            changed = view.changed() => if changed.is_err() { return },
        }
        corrections.lock().clear();
        changes.send_modify(|count| *count += 1);
    }
}

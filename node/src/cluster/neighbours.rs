//! The other nodes as the node's own work sees them: who they are, and who holds a shard.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use steward_actors::shard::Shards;
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::membership::View;
use steward_cluster::peers::{Lane, NotReachable, Peers};
use steward_cluster::raft::Members;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::between::Neighbours;

/// How long the driver may take to say who holds a shard.
const INSPECT_MAX: Duration = Duration::from_secs(2);

/// The nodes that are registered, over the connections there are.
pub(crate) struct Registered {
    pub(crate) node: NodeId,
    pub(crate) peers: Peers,
    pub(crate) shards: Shards,
    pub(crate) view: watch::Receiver<Arc<View>>,
}

impl Neighbours for Registered {
    fn others(&self) -> Vec<NodeId> {
        self.view.borrow().nodes.keys().copied().filter(|node| *node != self.node).collect()
    }

    fn channel(&self, node: NodeId, lane: Lane) -> Result<Channel, NotReachable> {
        self.peers.channel(node, lane)
    }

    fn drains(&self, node: NodeId) -> bool {
        self.view.borrow().is_draining(node)
    }

    fn members(&self, shard: ShardId) -> BoxFuture<'_, Option<Members>> {
        Box::pin(async move {
            let (told, answered) = oneshot::channel();
            self.shards.driver().inspect(move |details| {
                told.send(details).ok(); // Whoever asked may have gone.
            });
            let details = timeout(INSPECT_MAX, answered).await.ok()?.ok()?;
            let held = details.iter().find(|detail| detail.shard == shard).map(|detail| detail.members.clone());
            held.or_else(|| self.reported(shard))
        })
    }
}

impl Registered {
    /// Who votes, as the shard's leader last reported: all that is known where there is no replica.
    fn reported(&self, shard: ShardId) -> Option<Members> {
        let view = self.view.borrow();
        let reported = view.members.get(usize::from(shard.0))?.as_ref()?;
        Some(Members::of_voters(&reported.voters))
    }
}

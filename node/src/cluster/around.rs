//! What the composition root makes of the other nodes for whoever asks something of them.

use std::sync::Arc;

use steward_actors::blob::{Backfill, BlobStore, Missing, backfill};
use steward_actors::elsewhere::Elsewhere;
use steward_actors::shard::Shards;
use steward_actors::supervisor;
use steward_actors::task::Workers;
use steward_cluster::clock::Clock;
use steward_cluster::ids::NodeId;
use steward_cluster::membership::View;
use steward_cluster::peers::Peers;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{PeerReach, Registered, Standing};
use crate::between::{MissingBlobs, OtherFolders, Others, WorkServer};
use crate::everything;
use crate::gateway::forward::Forwarder;

/// The other nodes, for whoever asks something of them.
pub(crate) struct Around {
    node: NodeId,
    peers: Peers,
    whereabouts: Arc<Standing>,
    neighbours: Arc<Registered>,
    /// This node's own folder.
    blobs: BlobStore,
    /// What that folder lacks.
    lacks: Missing,
}

impl Around {
    pub(crate) fn new(
        node: NodeId,
        peers: Peers,
        shards: &Shards,
        blobs: &BlobStore,
        backfill: Arc<Backfill>,
        view: watch::Receiver<Arc<View>>,
    ) -> Self {
        let whereabouts = Standing::new(node, shards.clone(), view.clone());
        let neighbours = Arc::new(Registered { node, peers: peers.clone(), shards: shards.clone(), view });
        let lacks = Missing::new(shards.clone(), blobs.clone(), backfill);
        Self { node, peers, whereabouts, neighbours, blobs: blobs.clone(), lacks }
    }

    /// The folders of the other nodes.
    pub(crate) fn folders(&self, shards: u16) -> Arc<OtherFolders> {
        Arc::new(OtherFolders::new(self.node, self.neighbours.clone(), self.blobs.clone(), shards))
    }

    /// What nodes lack that are to hold a shard.
    pub(crate) fn missing(&self) -> Arc<MissingBlobs> {
        Arc::new(MissingBlobs { node: self.node, neighbours: self.neighbours.clone(), here: self.lacks.clone() })
    }

    pub(crate) fn elsewhere(&self, node: NodeId, shards: u16) -> Arc<dyn Elsewhere> {
        Arc::new(Others::new(node, self.neighbours.clone(), self.whereabouts.clone(), shards))
    }

    pub(crate) fn forwarder(&self, node: NodeId, shards: u16, clock: &Arc<dyn Clock>) -> Arc<Forwarder> {
        let reach = Arc::new(PeerReach::new(self.peers.clone()));
        Arc::new(Forwarder::new(node, shards, self.whereabouts.clone(), reach, Arc::clone(clock)))
    }

    pub(crate) fn work(&self, shards: &Shards, workers: &Workers) -> WorkServer {
        let (lessor, hints) = (workers.lessor(), workers.hints());
        let (blobs, missing, whereabouts) = (self.blobs.clone(), self.lacks.clone(), self.whereabouts.clone());
        WorkServer { shards: shards.clone(), lessor, hints, blobs, missing, whereabouts }
    }

    /// What a subscriber to everything needs of them.
    pub(crate) fn surroundings(&self) -> everything::Surroundings {
        everything::Surroundings { neighbours: self.neighbours.clone(), whereabouts: self.whereabouts.clone() }
    }

    /// Brings the blobs that this node's replicas name and its folder lacks, until the handle is dropped.
    pub(crate) fn bring(missing: Arc<Backfill>, shards: &Shards, blobs: &BlobStore) -> AbortOnDropHandle<()> {
        let bring = backfill(missing, shards.clone(), blobs.clone());
        AbortOnDropHandle::new(supervisor::spawn("backfill", bring))
    }

    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }
}

//! What the composition root makes of the other nodes for whoever asks something of them.

use std::sync::Arc;

use steward_actors::blob::{Backfill, BlobStore, backfill};
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

use super::{Company, PeerReach, Registered, Standing};
use crate::between::{OtherFolders, Others, WorkServer};
use crate::everything;
use crate::gateway::forward::Forwarder;

/// The other nodes, for whoever asks something of them.
pub(crate) struct Around {
    peers: Peers,
    whereabouts: Arc<Standing>,
    neighbours: Arc<Registered>,
}

impl Around {
    pub(crate) fn new(node: NodeId, company: &Company, shards: &Shards, view: watch::Receiver<Arc<View>>) -> Self {
        let peers = company.peers().clone();
        let whereabouts = Standing::new(node, shards.clone(), view.clone());
        let neighbours = Arc::new(Registered { node, peers: peers.clone(), shards: shards.clone(), view });
        Self { peers, whereabouts, neighbours }
    }

    /// The same blobs, of which other nodes have copies.
    pub(crate) fn share(&self, node: NodeId, blobs: BlobStore, shards: u16) -> BlobStore {
        let copies = OtherFolders::new(node, self.neighbours.clone(), blobs.clone(), shards);
        blobs.with_copies(Arc::new(copies))
    }

    pub(crate) fn elsewhere(&self, node: NodeId, shards: u16) -> Arc<dyn Elsewhere> {
        Arc::new(Others::new(node, self.neighbours.clone(), self.whereabouts.clone(), shards))
    }

    pub(crate) fn forwarder(&self, node: NodeId, shards: u16, clock: &Arc<dyn Clock>) -> Arc<Forwarder> {
        let reach = Arc::new(PeerReach::new(self.peers.clone()));
        Arc::new(Forwarder::new(node, shards, self.whereabouts.clone(), reach, Arc::clone(clock)))
    }

    pub(crate) fn work(&self, shards: &Shards, workers: &Workers, blobs: BlobStore) -> WorkServer {
        let (lessor, hints) = (workers.lessor(), workers.hints());
        WorkServer { shards: shards.clone(), lessor, hints, blobs, whereabouts: self.whereabouts.clone() }
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

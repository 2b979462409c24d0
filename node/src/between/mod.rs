//! What the work of this node and the work of others ask of each other: commands, leases, tasks, blobs. Clients' calls go
//! another way, `gateway/forward/`.
//!
//! The composition root serves a [`WorkServer`] on the internal port, and gives workers, deliveries and the blob store
//! what reaches the others: [`Others`], [`OtherFolders`] and [`MissingBlobs`].
//!
//! # Invariants
//! - **W1 one hop**: a command is done by the node that is called or refused; it is never passed on again.
//! - **W2 bounded**: every call has a limit in time, every chunk one in size.
//! - **W3 checked**: what comes as a blob is kept only if it is the blob that was asked for.

mod folders;
mod form;
mod missing;
mod others;
mod serve;

#[cfg(test)]
mod tests;

pub(crate) use folders::OtherFolders;
pub(crate) use missing::MissingBlobs;
pub(crate) use others::Others;
pub(crate) use serve::WorkServer;

use futures_util::future::BoxFuture;
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::peers::{Lane, NotReachable};
use steward_cluster::raft::Members;
use tonic::transport::Channel;

/// The other nodes, as far as this one knows. Implemented by the composition root over connections and consensus.
pub(crate) trait Neighbours: Send + Sync + 'static {
    /// All members of the cluster but this node.
    fn others(&self) -> Vec<NodeId>;
    /// A connection to one of them.
    fn channel(&self, node: NodeId, lane: Lane) -> Result<Channel, NotReachable>;
    /// Whether a node is on its way out, by its own word or an operator's.
    fn drains(&self, node: NodeId) -> bool;
    /// Who holds the shard, by its replica here or else by its leader's last word; none when neither is known just now.
    fn members(&self, shard: ShardId) -> BoxFuture<'_, Option<Members>>;
}

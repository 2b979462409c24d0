//! Who leads which shard, as far as this node knows. Implemented by the composition root over consensus and membership.

use futures_util::future::BoxFuture;
use steward_cluster::ids::{NodeId, ShardId};
use tokio::sync::watch;

/// Who leads a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    /// This node, and its shard is ready for commands.
    Here,
    At(NodeId),
    Unknown,
}

/// Where shards are. Only hints: what they say is checked by whoever answers.
pub(crate) trait Whereabouts: Send + Sync {
    fn leader(&self, shard: ShardId) -> Leader;
    /// Makes sure that this node still leads a shard, and that everything acknowledged by now can be read here.
    fn confirm(&self, shard: ShardId) -> BoxFuture<'static, bool>;
    /// Whether what is committed of the shard can be read here.
    fn is_replica_here(&self, shard: ShardId) -> bool;
    /// The node believed to lead refused; it says who does, if it knows.
    fn correct(&self, shard: ShardId, leader: Option<NodeId>);
    /// Changes whenever any of the other answers may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
}

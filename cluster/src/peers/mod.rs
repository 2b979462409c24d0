//! How nodes talk: frames of Raft messages over one stream per pair of nodes, and connections for everything else.
//!
//! `node/` makes one [`Peers`], tells it the members and lets it serve the internal port; the Raft driver sends through
//! it and takes what comes in as a [`FrameSink`]; forwarding and the transfer of snapshots call over its channels.
//!
//! # Invariants
//! - **P1 proven**: with TLS nothing is taken from a node whose certificate names another node, cluster or authority.
//! - **P2 lossy**: frames may be lost with a link, never reordered or repeated within one.
//! - **P3 absence**: nothing here decides anything; that a node is silent is reported by nobody hearing of it.
//!
//! # Decisions
//! - The node with the smaller id dials, so that two nodes never have two links or argue over which one stays.
//! - Resets of cancelled calls are not counted against another node: nodes are trusted with each other's load, and a
//!   connection that is closed for them takes the calls of other clients with it.

mod ask;
mod connection;
mod dial;
mod directory;
mod fetch;
mod identity;
mod limits;
mod link;
pub(crate) mod metrics;
mod outbox;
mod report;
mod serve;
mod sink;
mod skew;
mod snapshot;
mod tls;
mod transport;

#[cfg(test)]
mod tests;

pub(crate) use self::ask::ask_members;
pub use self::connection::Caller;
pub use self::directory::{Lane, NotReachable, Peers, PeersConfig, PeersError, Security};
pub use self::fetch::{AttemptError, FetchError, fetch_snapshot};
pub use self::identity::{
    CLUSTER_NAME_BYTES_MAX, IdentityError, check_cluster_name, cluster_name, cluster_of, node_name,
};
pub(crate) use self::report::report_hashes;
pub use self::tls::{TlsError, TlsFiles};
pub use self::transport::PeerTransport;

use std::pin::Pin;

use crate::divergence::{Check, Verdict};
use crate::ids::{NodeId, ShardId};
use crate::raft::PeerMessage;

/// Who holds a shard: every node that has to do with it. Nothing from a node that does not lead it.
pub type HeldBy = Pin<Box<dyn Future<Output = Option<Vec<NodeId>>> + Send>>;

/// What each of some checks means.
pub type Verdicts = Pin<Box<dyn Future<Output = Vec<Verdict>> + Send>>;

/// Takes what other nodes send, and answers what they ask. The Raft driver's handle is one.
pub trait FrameSink: Send + Sync {
    /// One frame of a node; without messages it says that the node is alive. Must not block.
    fn frame(&self, from: NodeId, boot: u64, messages: Vec<PeerMessage>);

    /// Who holds a shard, if this node made sure after the question that it leads it.
    fn held_by(&self, shard: ShardId) -> HeldBy;

    /// What this node, if it leads their shards, makes of what replicas of another one come to.
    fn judge(&self, from: NodeId, checks: Vec<Check>) -> Verdicts;
}

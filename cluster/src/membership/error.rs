//! What can go wrong with etcd, and why a node is not let into a cluster.

use uuid::Uuid;

use super::trust::EtcdTlsError;
use crate::format::{Format, Obstacle};
use crate::ids::NodeId;

/// A call of etcd that gave no answer to work with.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// No answer in time, on any try.
    #[error("etcd did not answer a {step} in time")]
    Deadline {
        /// What was asked.
        step: &'static str,
    },
    /// The connection or etcd failed, on every try.
    #[error("etcd failed a {step}")]
    Failed {
        /// What was asked.
        step: &'static str,
        /// What it said last.
        source: Box<etcd_client::Error>,
    },
    /// Etcd understood and said no; asking again would change nothing.
    #[error("etcd refused a {step}")]
    Refused {
        /// What was asked.
        step: &'static str,
        /// Its reason.
        source: Box<etcd_client::Error>,
    },
}

/// Why a format was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum FinalizeError {
    /// A node stands in the way.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// Etcd did not take the wish.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
}

/// Why a node did not join. Everything but [`JoinError::Etcd`] stays so until a person changes something.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Etcd gave no answer.
    #[error("etcd could not be asked about cluster {cluster}")]
    Etcd {
        /// The cluster to join.
        cluster: String,
        /// What failed.
        source: EtcdError,
    },
    /// The files for TLS towards etcd.
    #[error("etcd can not be asked without the files for TLS")]
    EtcdTls(#[source] EtcdTlsError),
    /// The name would not be one step of a key.
    #[error("{0:?} can not name a cluster: letters, digits, dots, dashes and underscores only")]
    ClusterName(String),
    /// A key holds something this version does not understand.
    #[error("etcd holds something unreadable under {key}")]
    Unreadable {
        /// The key.
        key: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The folder is another cluster's.
    #[error("this data folder belongs to cluster {belongs}; it will not be mixed into {cluster}, which is {found}")]
    OtherCluster {
        /// The folder's cluster.
        belongs: Uuid,
        /// The name of the cluster to join.
        cluster: String,
        /// What stands behind that name.
        found: Uuid,
    },
    /// The folder has data of its own.
    #[error("this data folder belongs to a node without a cluster; it will not be mixed into {cluster}, which exists")]
    OwnData {
        /// The cluster to join.
        cluster: String,
    },
    /// Etcd has forgotten the cluster.
    #[error(
        "etcd knows no cluster {cluster}, but this data folder belongs to {belongs}: if etcd was wiped, run \
         `steward ctl cluster rebuild`"
    )]
    Wiped {
        /// The cluster to join.
        cluster: String,
        /// The folder's cluster.
        belongs: Uuid,
    },
    /// Etcd has lost part of the cluster.
    #[error(
        "etcd knows nodes of cluster {cluster} but not its config: run `steward ctl cluster rebuild` on one of them"
    )]
    ConfigLost {
        /// The cluster to join.
        cluster: String,
    },
    /// Different numbers of shards.
    #[error("this node is set to {ours} shards, cluster {cluster} has {theirs}; the number can not change")]
    Shards {
        /// The cluster to join.
        cluster: String,
        /// What this node was told.
        ours: u16,
        /// What the cluster was founded with.
        theirs: u16,
    },
    /// Different sealing keys.
    #[error("the sealing key of this node ({ours}) is not the one of cluster {cluster} ({theirs})")]
    SealKey {
        /// The cluster to join.
        cluster: String,
        /// The fingerprint of this node's key.
        ours: String,
        /// The fingerprint of the cluster's.
        theirs: String,
    },
    /// The binary is too old for what the cluster's shards hold.
    #[error(
        "cluster {cluster} has {theirs} in force, this binary knows up to {ours}: start the release that the other \
         nodes run"
    )]
    Format {
        /// The cluster to join.
        cluster: String,
        /// What this binary knows.
        ours: Format,
        /// What the cluster's shards may hold.
        theirs: Format,
    },
    /// The wished id belongs to another folder.
    #[error("{0} belongs to another data folder; ids are never used again")]
    IdTaken(NodeId),
    /// The wished id may still be in use by a node etcd has forgotten.
    #[error("{node} may belong to a node from before the rebuild; new ids start at {from}")]
    IdOfOldNode {
        /// The wished id.
        node: NodeId,
        /// The first id that is certainly free.
        from: u64,
    },
    /// The folder has another id already.
    #[error("this data folder is {node} and can not become {wished}")]
    IdDiffers {
        /// The folder's id.
        node: NodeId,
        /// The wished one.
        wished: NodeId,
    },
    /// The cluster never heard of the folder's id.
    #[error("cluster {cluster} does not know {node}, the id in this data folder")]
    IdUnknown {
        /// The cluster to join.
        cluster: String,
        /// The folder's id.
        node: NodeId,
    },
    /// Only node 1 founds a cluster.
    #[error(
        "cluster {cluster} does not exist; it is founded by node 1, or by a node that wishes for no id, not by {node}"
    )]
    NotTheFounder {
        /// The cluster to join.
        cluster: String,
        /// The wished id.
        node: NodeId,
    },
    /// A rebuild needs a folder that remembers the cluster.
    #[error("only a node of cluster {cluster} can rebuild it; this data folder belongs to none")]
    NothingToRebuild {
        /// The cluster to rebuild.
        cluster: String,
    },
    /// A rebuild would write over a cluster.
    #[error("cluster {cluster} is in etcd ({found}); there is nothing to rebuild")]
    NotWiped {
        /// The cluster to rebuild.
        cluster: String,
        /// What etcd holds.
        found: Uuid,
    },
    /// Others were faster, again and again.
    #[error("other nodes joined cluster {cluster} at the same time, {tries} times in a row")]
    Contended {
        /// The cluster to join.
        cluster: String,
        /// How often it was tried.
        tries: u32,
    },
}

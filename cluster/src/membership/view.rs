//! What a node knows of the cluster. Everyone reads it through a watch channel; `watching.rs` publishes it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::record::{Members, NodeInfo, Placement};
use crate::format::Format;
use crate::ids::{NodeId, ShardId};

/// The cluster as etcd last told it. May be old: see M5 and M6 of [`crate::membership`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The nodes that run.
    pub nodes: BTreeMap<NodeId, NodeInfo>,
    /// Every id that was ever given out.
    pub known: BTreeSet<NodeId>,
    /// Where each shard should be.
    pub placement: Vec<Option<Placement>>,
    /// Where each shard is, as its leader last said.
    pub members: Vec<Option<Members>>,
    /// Who leads each shard: a hint.
    pub leaders: Vec<Option<NodeId>>,
    /// The nodes an operator wants empty.
    pub drains: BTreeSet<NodeId>,
    /// What an operator said the shards may hold.
    pub wished_format: Format,
    /// The node that places shards.
    pub controller: Option<NodeId>,
    /// Since when etcd gives no answer, in time of the clock the node registered with.
    pub etcd_unreachable_since: Option<Duration>,
}

impl View {
    /// A view of nothing, for so many shards.
    pub(crate) fn empty(shards: u16) -> Self {
        let shards = usize::from(shards);
        Self {
            placement: vec![None; shards],
            members: vec![None; shards],
            leaders: vec![None; shards],
            ..Self::default()
        }
    }

    /// Whether etcd answers.
    #[must_use]
    pub fn etcd_reachable(&self) -> bool {
        self.etcd_unreachable_since.is_none()
    }

    /// Whether a node is on its way out, by an operator's word.
    #[must_use]
    pub fn is_draining(&self, node: NodeId) -> bool {
        self.drains.contains(&node)
    }

    /// Whether the disk of a node is nearly full, by its own word.
    #[must_use]
    pub fn is_disk_low(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|info| info.disk_low)
    }

    /// The format that all shards are to have: what an operator said, or what one of them has already.
    #[must_use]
    pub fn finalized(&self) -> Format {
        let in_force = self.members.iter().flatten().map(|members| members.format);
        in_force.max().unwrap_or_default().max(self.wished_format)
    }

    /// The term of the leader that last reported the shard's members.
    pub(crate) fn reported_term(&self, shard: ShardId) -> Option<crate::ids::Term> {
        self.members.get(usize::from(shard.0))?.as_ref().map(|members| members.term)
    }
}

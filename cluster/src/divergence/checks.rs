//! What replicas came to at the last checks, those of this node and those others told it of. Part of the driver's handle.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::verdict::{Finding, find};
use crate::ids::{LogIndex, NodeId, ShardId};
use crate::raft::Members;

/// Checks of one shard that are remembered; a replica that tells of an earlier one is judged by its next.
const CHECKS_MAX: usize = 4;

/// What one replica came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    pub shard: ShardId,
    /// The check entry.
    pub index: LogIndex,
    /// Over everything applied up to and with it.
    pub hash: u64,
}

/// The checks of all shards.
pub(crate) struct Checks {
    node: NodeId,
    shards: Vec<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    /// This node's last one.
    own: Option<Check>,
    by_index: BTreeMap<LogIndex, BTreeMap<NodeId, u64>>,
}

impl Checks {
    pub(crate) fn new(node: NodeId, shards: u16) -> Self {
        Self { node, shards: (0..shards).map(|_| Mutex::default()).collect() }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// A replica of this node came to that, now or before it was started.
    pub(crate) fn note_own(&self, check: Check) {
        if let Some(told) = self.shards.get(usize::from(check.shard.0)) {
            told.lock().own = Some(check);
        }
        self.note(self.node, check);
    }

    /// A replica of some node came to that.
    pub(crate) fn note(&self, node: NodeId, check: Check) {
        let Some(told) = self.shards.get(usize::from(check.shard.0)) else { return };
        let by_index = &mut told.lock().by_index;
        by_index.entry(check.index).or_default().insert(node, check.hash);
        while by_index.len() > CHECKS_MAX {
            by_index.pop_first();
        }
    }

    /// What this node's replica came to at its last check.
    pub(crate) fn own(&self, shard: ShardId) -> Option<Check> {
        self.shards.get(usize::from(shard.0))?.lock().own
    }

    /// What everything told of one check means.
    pub(crate) fn finding(&self, members: &Members, check: Check) -> Finding {
        let told = self.shards.get(usize::from(check.shard.0)).map(Mutex::lock);
        let at = told.as_ref().and_then(|told| told.by_index.get(&check.index));
        at.map_or(Finding::Open, |at| find(members, at))
    }

    /// A voter that came to this hash.
    pub(crate) fn voter_with(&self, members: &Members, check: Check, hash: u64) -> Option<NodeId> {
        let told = self.shards.get(usize::from(check.shard.0))?.lock();
        let at = told.by_index.get(&check.index)?;
        members.voters.iter().copied().find(|voter| at.get(voter) == Some(&hash))
    }
}

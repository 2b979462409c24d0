//! The cluster as `steward ctl cluster --json` shows it.

use serde::Deserialize;

/// Stands where no leader is known.
const NOBODY: u64 = 0;

/// All of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Picture {
    /// The format in force in all shards.
    format: u16,
    /// The format that all nodes know.
    format_known: u16,
    pub(super) shards: Vec<ShardPlace>,
}

/// Where one shard is, and what keeps it from being where it should be.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ShardPlace {
    pub(super) shard: u16,
    leader: u64,
    pub(super) voters: Vec<u64>,
    learners: Vec<u64>,
    waits_for: String,
}

impl Picture {
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The format in force in all shards, and the one that all nodes know.
    pub(super) fn formats(&self) -> (u16, u16) {
        (self.format, self.format_known)
    }

    /// Who leads most shards.
    pub(super) fn busiest(&self) -> Option<u64> {
        let leaders = self.shards.iter().map(|shard| shard.leader).filter(|leader| *leader != NOBODY);
        leaders.max_by_key(|leader| self.led_by(*leader))
    }

    /// Who leads a shard.
    pub(super) fn leader_of(&self, shard: u32) -> Option<u64> {
        let leader = self.shards.iter().find(|place| u32::from(place.shard) == shard)?.leader;
        (leader != NOBODY).then_some(leader)
    }

    /// How many shards a node leads.
    pub(super) fn led_by(&self, node: u64) -> usize {
        self.shards.iter().filter(|shard| shard.leader == node).count()
    }

    /// Whether there are so many shards, each led, each with so many replicas, and each where it should be.
    pub(super) fn is_placed(&self, shards: usize, replicas: usize) -> bool {
        let placed = |shard: &ShardPlace| {
            let is_whole = shard.voters.len() == replicas && shard.learners.is_empty();
            is_whole && shard.leader != NOBODY && shard.waits_for.is_empty()
        };
        self.shards.len() == shards && self.shards.iter().all(placed)
    }

    /// Whether a node holds nothing.
    pub(super) fn is_empty(&self, node: u64) -> bool {
        let holds = |shard: &ShardPlace| shard.voters.contains(&node) || shard.learners.contains(&node);
        !self.shards.iter().any(holds) && self.led_by(node) == 0
    }
}

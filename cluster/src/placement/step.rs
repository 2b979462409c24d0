//! What the leader of a shard does next towards the placement that is wanted. Pure; the executor calls it.
//!
//! New replicas learn first, then all voters are exchanged in one joint change, led by a replica that stays.
//!
//! # Decisions
//! - **Odd numbers only**, as in the plan: voters are exchanged all at once. When none of the wanted replicas votes yet,
//!   the leader stands in for one of them until another leads. The one exception is a shard with a single replica that
//!   moves: its old and its new place vote together for the time of a transfer, since a leader cannot remove itself.

use crate::ids::{NodeId, ShardId};
use crate::membership::{Placement, View};
use crate::raft::{PeerProgress, ShardDetail};

/// Nothing is to be done.
pub(super) const NOTHING: &str = "nothing";
/// Entries a replica may lack to count as level. Below what the driver asks of a new voter, which looks a bit later.
pub(super) const LEVEL_ENTRIES_MAX: u64 = 512;

/// A shard that this node leads.
#[derive(Clone, Copy)]
pub(super) struct Led<'a> {
    pub(super) this: NodeId,
    pub(super) detail: &'a ShardDetail,
    pub(super) placement: Option<&'a Placement>,
    pub(super) view: &'a View,
    /// This node ends: it is to lead nothing, whoever else does.
    pub(super) gives_up: bool,
    /// It has led for long enough to be moved only because another is preferred.
    pub(super) is_settled: bool,
}

/// One step of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, for now or for good.
    Stay,
    /// Others are to hold it.
    Change {
        /// Who votes.
        voters: Vec<NodeId>,
        /// Who learns.
        learners: Vec<NodeId>,
    },
    /// Another replica is to lead it.
    Transfer {
        /// Which one.
        to: NodeId,
    },
}

/// The next step, and what the shard waits for until it is where it should be.
pub(super) type Next = (Step, &'static str);

/// The next step of a shard that this node leads.
pub(super) fn next(led: &Led<'_>) -> Next {
    let members = &led.detail.members;
    if members.is_joint() {
        return (Step::Stay, "a change of voters to take effect");
    }
    if (led.gives_up || led.view.is_draining(led.this))
        && let Some(to) = led.successor(|_| true)
    {
        return (Step::Transfer { to }, "another leader, for this node is leaving");
    }
    if led.view.is_disk_low(led.this)
        && let Some(to) = led.successor(|node| !led.view.is_disk_low(node))
    {
        return (Step::Transfer { to }, "another leader, for the disk here is nearly full");
    }
    let Some(placement) = led.placement else { return (Step::Stay, "a placement") };
    let wanted = &placement.replicas;
    let missing: Vec<NodeId> = wanted.iter().filter(|node| !members.voters.contains(node)).copied().collect();
    if missing != members.learners {
        let is_begun = missing.iter().all(|node| members.learners.contains(node));
        let learners = Step::Change { voters: members.voters.clone(), learners: missing };
        return (learners, if is_begun { "replicas that are not wanted to go" } else { "new replicas to begin" });
    }
    if missing.iter().any(|node| !led.is_level(*node)) {
        return (Step::Stay, "new replicas to catch up");
    }
    if members.voters == *wanted {
        return led.prefer(placement);
    }
    if !wanted.contains(&led.this) {
        return led.stand_in(placement);
    }
    let here = wanted.iter().filter(|node| **node == led.this || led.is_level(**node)).count();
    if here * 2 <= wanted.len() {
        return (Step::Stay, "a majority of the wanted replicas to be level");
    }
    (Step::Change { voters: wanted.clone(), learners: vec![] }, "the wanted replicas to vote")
}

impl Led<'_> {
    /// Everybody votes who should; now the right one has to lead.
    fn prefer(&self, placement: &Placement) -> Next {
        // One that has said goodbye still answers for a moment: it is not given back what it just gave up.
        let stays = |node: &NodeId| {
            let view = self.view;
            view.nodes.contains_key(node) && !view.is_draining(*node) && !view.is_disk_low(*node)
        };
        let preferred = placement.preferred_leader.filter(|node| *node != self.this && stays(node));
        match preferred {
            Some(to) if self.is_settled && self.can_lead(to) => {
                (Step::Transfer { to }, "the preferred replica to lead")
            }
            Some(_) => (Step::Stay, "the preferred replica to be level, and some calm"),
            None => (Step::Stay, NOTHING),
        }
    }

    /// This node is not to hold the shard: one that is has to lead before it can go.
    fn stand_in(&self, placement: &Placement) -> Next {
        let wanted = &placement.replicas;
        if let Some(to) = self.successor(|node| wanted.contains(&node)) {
            return (Step::Transfer { to }, "a wanted replica to lead");
        }
        if wanted.iter().any(|node| self.detail.members.voters.contains(node)) {
            return (Step::Stay, "a wanted replica to be level");
        }
        let replaced = wanted.iter().rev().find(|node| placement.preferred_leader != Some(**node));
        let replaced = replaced.copied().filter(|_| wanted.len() > 1);
        let mut voters: Vec<NodeId> = wanted.iter().filter(|node| Some(**node) != replaced).copied().collect();
        voters.push(self.this);
        voters.sort_unstable();
        let learners = replaced.into_iter().collect();
        (Step::Change { voters, learners }, "a wanted replica to vote")
    }

    /// Who leads best after this node, among those that may. Different for each shard, so that none gets them all.
    fn successor(&self, may: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let able = self.detail.peers.iter().map(|peer| peer.node).filter(|node| may(*node) && self.can_lead(*node));
        let stays = |node: &NodeId| !self.view.is_draining(*node) && self.view.nodes.contains_key(node);
        let (mut staying, leaving): (Vec<NodeId>, Vec<NodeId>) = able.partition(stays);
        if staying.iter().any(|node| !self.view.is_disk_low(*node)) {
            staying.retain(|node| !self.view.is_disk_low(*node));
        }
        let preferred = self.placement.and_then(|placement| placement.preferred_leader);
        if preferred.is_some_and(|node| staying.contains(&node)) {
            return preferred;
        }
        // Two nodes that leave would hand it to each other for ever; one that ends hands it over once.
        let best = if staying.is_empty() && self.gives_up { leaving } else { staying };
        let turn = usize::from(self.detail.shard.0).checked_rem(best.len())?;
        best.get(turn).copied()
    }

    /// The nodes that must have the shard's blobs before these voters take over: those that are wanted and answer. Nobody
    /// when the voters stay the same.
    pub(super) fn keepers(&self, voters: &[NodeId]) -> Vec<NodeId> {
        if self.detail.members.voters == voters {
            return vec![];
        }
        let wanted = self.placement.map_or(&[][..], |placement| &placement.replicas);
        let keeps = |node: &NodeId| wanted.contains(node) && (*node == self.this || self.is_level(*node));
        voters.iter().copied().filter(keeps).collect()
    }

    fn can_lead(&self, node: NodeId) -> bool {
        self.detail.members.voters.contains(&node) && self.is_level(node)
    }

    fn is_level(&self, node: NodeId) -> bool {
        let status = &self.detail.status;
        let is_level = |peer: &PeerProgress| {
            // A sleeping group hears nothing because nobody has anything to say; it wakes when a node falls silent.
            let is_here = peer.is_active || status.is_asleep;
            is_here && !peer.takes_snapshot && peer.matched.0 > 0 && behind(self.detail, peer) <= LEVEL_ENTRIES_MAX
        };
        self.detail.peers.iter().any(|peer| peer.node == node && is_level(peer))
    }
}

/// Entries a replica is known to lack.
pub(super) fn behind(detail: &ShardDetail, peer: &PeerProgress) -> u64 {
    detail.status.last.0.saturating_sub(peer.matched.0)
}

/// Where a shard should be, if that is known.
pub(super) fn placement(view: &View, shard: ShardId) -> Option<&Placement> {
    view.placement.get(usize::from(shard.0))?.as_ref()
}

/// Entries the slowest of the other replicas lacks.
pub(super) fn lag(detail: &ShardDetail) -> u64 {
    detail.peers.iter().map(|peer| behind(detail, peer)).max().unwrap_or(0)
}

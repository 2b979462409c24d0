//! The plan: which shard should change its replicas or its preferred leader. Pure; the controller calls it.
//!
//! # Decisions
//! - **Odd numbers only.** Two replicas need both for every entry: twice the ways to stop, and nothing gained but a copy.
//!   So two nodes hold each shard once, and four hold it three times.
//! - **A node that is gone still counts.** When one of three nodes dies for good, its place goes to another node; while
//!   there is none, it keeps its vote and the two copies stay two. Rejected: planning as if it had never been there, by
//!   which the second copy would be dropped just when it is the last. To shrink, an operator drains the node.
//! - **Greedy, then improved.** Exact least moves are a flow problem; filling the least loaded node and then moving
//!   single replicas gets there within one replica of even, and stays put afterwards.

use std::collections::BTreeMap;

use super::{leaders, replicas};
use crate::ids::{NodeId, ShardId};
use crate::membership::Placement;

/// How present a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Registered.
    Here,
    /// Not registered right now: keeps its replicas, gets none and leads nothing.
    Away,
    /// Away for so long that its replicas go elsewhere, when there is an elsewhere.
    Gone,
}

/// A node that may hold replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) zone: String,
    pub(crate) draining: bool,
    /// Its disk is nearly full.
    pub(crate) disk_low: bool,
    pub(crate) cores: u32,
    pub(crate) presence: Presence,
}

impl Member {
    /// Whether it may be given replicas and leaderships.
    pub(super) fn takes(&self) -> bool {
        !self.draining && self.presence == Presence::Here
    }

    /// Whether it may be given leaderships when another one may not.
    pub(super) fn leads_first(&self) -> bool {
        self.takes() && !self.disk_low
    }

    /// Whether it may keep the replicas it has.
    pub(super) fn keeps(&self) -> bool {
        !self.draining && self.presence != Presence::Gone
    }
}

/// The nodes by id.
pub(super) type Nodes<'a> = BTreeMap<NodeId, &'a Member>;

/// What should change, by shard. Nothing while no node could take a replica.
pub(crate) fn plan(members: &[Member], current: &[Option<Placement>], replicas: u8) -> Vec<(ShardId, Placement)> {
    let nodes: Nodes<'_> = members.iter().map(|member| (member.id, member)).collect();
    if !nodes.values().any(|member| member.takes()) {
        return vec![];
    }
    let held: Vec<Vec<NodeId>> = current
        .iter()
        .map(|placement| placement.as_ref().map_or(vec![], |placement| placement.replicas.clone()))
        .collect();
    let led: Vec<Option<NodeId>> =
        current.iter().map(|placement| placement.as_ref().and_then(|placement| placement.preferred_leader)).collect();
    let wanted = replicas::assign(&nodes, &held, &led, seats(members, replicas));
    let leaders = leaders::assign(&nodes, &wanted, &led);
    let mut changes = vec![];
    for (((shard, old), replicas), preferred_leader) in (0u16..).zip(current).zip(wanted).zip(leaders) {
        let generation = old.as_ref().map_or(0, |old| old.generation);
        let is_same =
            old.as_ref().is_some_and(|old| old.replicas == replicas && old.preferred_leader == preferred_leader);
        if !is_same {
            changes.push((ShardId(shard), Placement { replicas, preferred_leader, generation: generation + 1 }));
        }
    }
    changes
}

/// How many replicas a shard should have: an odd number, and no more than there are nodes.
fn seats(members: &[Member], replicas: u8) -> usize {
    let nodes = members.iter().filter(|member| !member.draining).count();
    odd(nodes.min(usize::from(replicas)))
}

/// The next odd number at or below.
pub(super) fn odd(count: usize) -> usize {
    if count.is_multiple_of(2) { count.saturating_sub(1).max(1) } else { count }
}

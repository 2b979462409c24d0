//! Placement without etcd and without clocks: the same rules over a picture that somebody else carries about. For the
//! simulation, which lets reports come late, plans be old and nodes crash in between.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::absence::Absences;
use super::moves;
use super::step::{self, Led, Step};
use crate::format::Format;
use crate::ids::{NodeId, ShardId};
use crate::membership::{Members, NodeInfo, View};
use crate::raft::{Role, ShardDetail};

/// What etcd would hold, and what a controller and leaders make of it.
#[derive(Clone)]
pub struct Rehearsal {
    view: View,
    replicas: u8,
}

impl Rehearsal {
    /// All nodes are there, and nothing has been reported.
    #[must_use]
    pub fn new(nodes: BTreeSet<NodeId>, shards: u16, replicas: u8) -> Self {
        let info = |node: NodeId| NodeInfo {
            address: String::new(),
            zone: node.to_string(),
            version: String::new(),
            format: Format::NEWEST,
            cores: 2,
            data: Uuid::nil(),
            disk_low: false,
        };
        let nodes = nodes.into_iter().map(|node| (node, info(node))).collect();
        Self { view: View { nodes, ..View::empty(shards) }, replicas }
    }

    /// An operator wants these nodes empty, and no others.
    pub fn drain(&mut self, nodes: BTreeSet<NodeId>) {
        self.view.drains = nodes;
    }

    /// A node that leads a shard says where it is. It may be late: etcd takes the last word, whoever has it.
    pub fn report(&mut self, node: NodeId, detail: &ShardDetail) {
        let Role::Leader { term, ready: true } = detail.status.role else { return };
        if detail.members.is_joint() {
            return;
        }
        let (voters, learners) = (detail.members.voters.clone(), detail.members.learners.clone());
        let level = Members::level(voters, node, term);
        let members = Members { learners, lag: step::lag(detail), format: Format::NEWEST, ..level };
        self.view.members[usize::from(detail.shard.0)] = Some(members);
    }

    /// One pass of the controller. Whether it wrote anything.
    pub fn plan(&mut self) -> bool {
        let members = Absences::default().members(&self.view, Duration::ZERO);
        let writes = moves::next(&self.view, &members, self.replicas).writes;
        let has_written = !writes.is_empty();
        for (shard, placement) in writes {
            self.view.placement[usize::from(shard.0)] = Some(placement);
        }
        has_written
    }

    /// What a leader does next.
    #[must_use]
    pub fn next(&self, node: NodeId, detail: &ShardDetail) -> Step {
        let placement = step::placement(&self.view, detail.shard);
        step::next(&Led { this: node, detail, placement, view: &self.view, gives_up: false, is_settled: true }).0
    }

    /// Where a shard should be and where it is known to be, for whoever reads a failure.
    #[must_use]
    pub fn standing(&self, shard: ShardId) -> String {
        let is = self.view.members[usize::from(shard.0)].as_ref();
        format!("wanted {:?}, reported {is:?}", step::placement(&self.view, shard))
    }

    /// Whether a shard is known to be where it should be, led by whom it should be led.
    #[must_use]
    pub fn is_placed(&self, shard: ShardId) -> bool {
        let is = self.view.members[usize::from(shard.0)].as_ref();
        step::placement(&self.view, shard).zip(is).is_some_and(|(wanted, is)| {
            is.voters == wanted.replicas && is.learners.is_empty() && wanted.preferred_leader == Some(is.leader)
        })
    }
}

//! Who holds a shard, and what changes that. The group applies the changes, the log keeps both, operators read them.
//!
//! A change is written in the field numbers of the consensus library's own message, so that what a leader hands to the
//! library and what a follower reads back are the same bytes; only this file decodes those of a peer.

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};

use crate::ids::NodeId;

/// The nodes that hold a shard, by what they do for it. Two sets of voters while one replaces the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes, from now on.
    pub voters: Vec<NodeId>,
    /// Who receives entries without a vote.
    pub learners: Vec<NodeId>,
    /// Who votes as well until the change is complete.
    pub outgoing: Vec<NodeId>,
    /// Which of the outgoing voters stay as learners.
    pub(crate) next_learners: Vec<NodeId>,
    pub(crate) leaves_alone: bool,
}

impl Members {
    /// Voters, and nobody else.
    #[must_use]
    pub fn of_voters(voters: &[NodeId]) -> Self {
        Self { voters: sorted(voters.to_vec()), ..Self::default() }
    }

    /// Whether the node is among them in any role.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.all().any(|member| member == node)
    }

    /// Every member; one that changes its role may come twice.
    pub fn all(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().chain(&self.learners).chain(&self.outgoing).copied()
    }

    /// Whether a change of voters is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Nobody: a replica that has not heard yet who holds its shard.
    pub(crate) fn is_unknown(&self) -> bool {
        self.voters.is_empty()
    }

    pub(crate) fn of(state: &ConfState) -> Self {
        let nodes = |ids: &[u64]| sorted(ids.iter().copied().map(NodeId).collect());
        Self {
            voters: nodes(state.get_voters()),
            learners: nodes(state.get_learners()),
            outgoing: nodes(state.get_voters_outgoing()),
            next_learners: nodes(state.get_learners_next()),
            leaves_alone: state.get_auto_leave(),
        }
    }

    pub(crate) fn conf_state(&self) -> ConfState {
        let mut state = ConfState::from((numbers(&self.voters), numbers(&self.learners)));
        state.set_voters_outgoing(numbers(&self.outgoing));
        state.set_learners_next(numbers(&self.next_learners));
        state.set_auto_leave(self.leaves_alone);
        state
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            voters: numbers(&self.voters),
            learners: numbers(&self.learners),
            outgoing: numbers(&self.outgoing),
            next_learners: numbers(&self.next_learners),
            leaves_alone: self.leaves_alone,
        };
        stored.encode_to_vec()
    }

    /// `None` when these are not the bytes of members.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let stored = Stored::decode(bytes.clone()).ok()?;
        let nodes = |ids: Vec<u64>| ids.into_iter().map(NodeId).collect();
        Some(Self {
            voters: nodes(stored.voters),
            learners: nodes(stored.learners),
            outgoing: nodes(stored.outgoing),
            next_learners: nodes(stored.next_learners),
            leaves_alone: stored.leaves_alone,
        })
    }

    /// The change that leads from here to these voters and learners; nothing when they are what there is.
    pub(crate) fn change_to(&self, voters: &[NodeId], learners: &[NodeId]) -> Option<Bytes> {
        let mut changes = Vec::new();
        let mut change = |kind, node: &NodeId| changes.push(ChangeOne { kind, node: node.0 });
        voters.iter().filter(|node| !self.voters.contains(node)).for_each(|node| change(ADD_VOTER, node));
        learners.iter().filter(|node| !self.learners.contains(node)).for_each(|node| change(ADD_LEARNER, node));
        let leaves = |node: &&NodeId| !voters.contains(node) && !learners.contains(node);
        self.voters.iter().chain(&self.learners).filter(leaves).for_each(|node| change(REMOVE, node));
        (!changes.is_empty())
            .then(|| Bytes::from(Change { transition: 0, changes, context: Bytes::new() }.encode_to_vec()))
    }
}

/// A change as the library applies it; `None` when these are not the bytes of one. No bytes: a joint change is complete.
pub(crate) fn decode_change(bytes: &Bytes) -> Option<ConfChangeV2> {
    let change = Change::decode(bytes.clone()).ok()?;
    let mut decoded = ConfChangeV2::default();
    decoded.set_transition(match change.transition {
        0 => ConfChangeTransition::Auto,
        1 => ConfChangeTransition::Implicit,
        2 => ConfChangeTransition::Explicit,
        _ => return None,
    });
    for ChangeOne { kind, node } in change.changes {
        let mut one = ConfChangeSingle { node_id: node, ..ConfChangeSingle::default() };
        one.set_change_type(match kind {
            ADD_VOTER => ConfChangeType::AddNode,
            REMOVE => ConfChangeType::RemoveNode,
            ADD_LEARNER => ConfChangeType::AddLearnerNode,
            _ => return None,
        });
        decoded.mut_changes().push(one);
    }
    Some(decoded)
}

const ADD_VOTER: i32 = 0;
const REMOVE: i32 = 1;
const ADD_LEARNER: i32 = 2;

/// The library's `ConfChangeV2`.
#[derive(Clone, PartialEq, prost::Message)]
struct Change {
    #[prost(int32, tag = "1")]
    transition: i32,
    #[prost(message, repeated, tag = "2")]
    changes: Vec<ChangeOne>,
    #[prost(bytes = "bytes", tag = "3")]
    context: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ChangeOne {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    node: u64,
}

/// Members as the log keeps them.
#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(uint64, repeated, tag = "1")]
    voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    learners: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    outgoing: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    next_learners: Vec<u64>,
    #[prost(bool, tag = "5")]
    leaves_alone: bool,
}

fn numbers(nodes: &[NodeId]) -> Vec<u64> {
    nodes.iter().map(|node| node.0).collect()
}

fn sorted(mut nodes: Vec<NodeId>) -> Vec<NodeId> {
    nodes.sort_unstable();
    nodes
}

#[cfg(test)]
mod tests {
    use protobuf::Message as _;

    use super::*;

    const NODES: [NodeId; 4] = [NodeId(1), NodeId(2), NodeId(3), NodeId(300)];

    #[test]
    fn members_survive_their_bytes() {
        let [one, two, three, far] = NODES;
        let members = Members {
            voters: vec![one, far],
            learners: vec![two],
            outgoing: vec![one, three],
            next_learners: vec![three],
            leaves_alone: true,
        };
        let bytes = Bytes::from(members.encode());
        assert_eq!(hex(&bytes), "0a0301ac02120102".to_owned() + "1a0201032201032801");
        assert_eq!(Members::decode(&bytes), Some(members.clone()));
        assert_eq!(Members::of(&members.conf_state()), members);
        assert_eq!(Members::decode(&Bytes::from_static(b"\x0a\xff")), None);
    }

    #[test]
    fn a_change_has_the_bytes_the_library_reads() {
        let [one, two, three, far] = NODES;
        let now = Members { voters: vec![one, two], learners: vec![three], ..Members::default() };
        let bytes = now.change_to(&[one, three], &[far]).expect("something changes");
        let mut read = ConfChangeV2::default();
        read.merge_from_bytes(&bytes).expect("the library reads it");
        assert_eq!(decode_change(&bytes), Some(read));
        assert_eq!(now.change_to(&[two, one], &[three]), None);
        assert_eq!(decode_change(&Bytes::new()), Some(ConfChangeV2::default()));
        assert_eq!(decode_change(&Bytes::from_static(b"\x08\x07")), None);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

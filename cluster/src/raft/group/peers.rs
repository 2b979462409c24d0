//! What comes from peers, and how far they are.

use std::collections::BTreeMap;

use raft::ProgressState;
use raft::SnapshotStatus;
use raft::eraftpb::{Message, MessageType};

use super::Group;
use crate::ids::{LogIndex, NodeId};

/// Ticks after which a peer that was sent a snapshot and says nothing of it is sent one again.
const SNAPSHOT_TICKS_MAX: usize = 100;

/// How a leader sees one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The node that holds it.
    pub node: NodeId,
    /// The last entry it is known to hold.
    pub matched: LogIndex,
    /// Whether it was heard of within the last election time.
    pub is_active: bool,
    /// Whether it is being sent a snapshot.
    pub takes_snapshot: bool,
}

/// Peers that were sent a snapshot, and for how many ticks nothing came of it.
#[derive(Default)]
pub(super) struct Awaiting(BTreeMap<u64, usize>);

impl<T> Group<T> {
    pub(crate) fn receive(&mut self, mut message: Message) {
        if !is_sound(&message) {
            tracing::warn!(shard = self.shard.0, from = message.from, "dropped an unsound peer message");
            return;
        }
        if comes_from_leader(message.get_msg_type()) {
            self.heard += 1;
        }
        let asks_for_vote = match message.get_msg_type() {
            MessageType::MsgSnapStatus => {
                self.node.report_snapshot(message.from, SnapshotStatus::Failure);
                return;
            }
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => true,
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgPropose
            | MessageType::MsgAppend
            | MessageType::MsgAppendResponse
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgSnapshot
            | MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgUnreachable
            | MessageType::MsgCheckQuorum
            | MessageType::MsgTransferLeader
            | MessageType::MsgTimeoutNow
            | MessageType::MsgReadIndex
            | MessageType::MsgReadIndexResp
            | MessageType::MsgRequestPreVoteResponse => false,
        };
        // A replica without a state does not know what an earlier one here has seen: its vote could elect a stale leader.
        if asks_for_vote && self.members().is_unknown() {
            return;
        }
        // Said to an earlier replica here, which held more: the library would take it for damage.
        if message.get_msg_type() == MessageType::MsgHeartbeat && message.commit > self.node.raft.raft_log.last_index()
        {
            message.commit = 0;
        }
        self.note_seeded(&message);
        self.heed_term(&message);
        let (message, sleeps) = self.heed_rest(message);
        // Refusals concern messages of nodes that are no longer, or not yet, in the group.
        if let Err(reason) = self.node.step(message) {
            tracing::debug!(shard = self.shard.0, %reason, "dropped a peer message");
        }
        if sleeps {
            self.sleep();
        }
        self.ask_if_wrong();
    }

    /// The peer could not get the snapshot it was told of: it is sent another one.
    pub(super) fn count_awaiting(&mut self) {
        if !self.leads() {
            self.awaiting.0.clear();
            return;
        }
        let takes =
            |(id, progress): (&u64, &raft::Progress)| (progress.state == ProgressState::Snapshot).then_some(*id);
        let taking: Vec<u64> = self.node.raft.prs().iter().filter_map(takes).collect();
        self.awaiting.0.retain(|id, _| taking.contains(id));
        for id in taking {
            let ticks = self.awaiting.0.entry(id).or_insert(0);
            *ticks += 1;
            if *ticks >= SNAPSHOT_TICKS_MAX {
                self.awaiting.0.remove(&id);
                self.node.report_snapshot(id, SnapshotStatus::Failure);
            }
        }
    }

    /// How a leader sees the replicas on other nodes; nothing on a follower.
    pub(crate) fn peers(&self) -> Vec<PeerProgress> {
        let raft = &self.node.raft;
        if !self.leads() {
            return Vec::new();
        }
        let others = raft.prs().iter().filter(|(id, _)| **id != raft.id);
        let view = |(id, progress): (&u64, &raft::Progress)| PeerProgress {
            node: NodeId(*id),
            matched: LogIndex(progress.matched),
            is_active: progress.recent_active,
            takes_snapshot: progress.state == ProgressState::Snapshot,
        };
        others.map(view).collect()
    }
}

/// Whether only a leader sends such a message.
pub(crate) fn comes_from_leader(kind: MessageType) -> bool {
    [MessageType::MsgAppend, MessageType::MsgHeartbeat, MessageType::MsgSnapshot].contains(&kind)
}

/// The library takes term 0 at an index past the end for a match.
fn is_sound(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgPropose
        | MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgUnreachable
        | MessageType::MsgCheckQuorum
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgTransferLeader => false,
        MessageType::MsgAppend | MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
            message.log_term != 0 || message.index == 0
        }
        MessageType::MsgSnapshot => {
            let metadata = message.get_snapshot().get_metadata();
            metadata.index > 0 && metadata.term > 0 && !metadata.get_conf_state().get_voters().is_empty()
        }
        MessageType::MsgAppendResponse
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgSnapStatus
        | MessageType::MsgTimeoutNow
        | MessageType::MsgRequestPreVoteResponse => true,
    }
}

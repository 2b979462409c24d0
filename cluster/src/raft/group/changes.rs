//! Who the members of a group are: changed by entries, remembered in records, moved to the front by transfer.

use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::{Group, Writing};
use crate::failpoint::{Point, passed};
use crate::ids::{LogIndex, NodeId, Term};
use crate::log::RecordKind;
use crate::raft::members::decode_change;
use crate::raft::{ChangeError, Members};

/// Entries a learner may lack when it becomes a voter; it gets them before its vote is needed.
const BEHIND_ENTRIES_MAX: u64 = 1_024;
/// Entries a leader keeps for a replica that is behind; one further behind gets a snapshot.
const LAG_ENTRIES_MAX: u64 = 16_384;

impl<T> Group<T> {
    /// Proposes the change that leads to these voters and learners. Nothing to do is a success.
    pub(crate) fn change(&mut self, voters: &[NodeId], learners: &[NodeId]) -> Result<(), ChangeError> {
        let shard = self.shard;
        if !self.leads() {
            return Err(ChangeError::NotLeader { shard, leader: self.leader() });
        }
        if !voters.contains(&NodeId(self.node.raft.id)) {
            return Err(ChangeError::LeaderLeaves { shard });
        }
        let is_moving = self.node.raft.lead_transferee.is_some() || self.reseed.is_sought;
        if self.members().is_joint() || self.node.raft.has_pending_conf() || is_moving {
            return Err(ChangeError::Busy { shard });
        }
        if let Some(node) = voters.iter().find(|node| !self.may_vote(**node)) {
            return Err(ChangeError::Behind { shard, node: *node });
        }
        let Some(data) = self.members().change_to(voters, learners) else { return Ok(()) };
        self.wake();
        let mut entry = Entry { data, ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        let mut message = Message { from: self.node.raft.id, entries: vec![entry].into(), ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        self.node.step(message).map_err(|_| ChangeError::Busy { shard })
    }

    /// Whether a node votes, or could from now on. One that is not level yet must learn first: should the leader die, the
    /// others might not have a majority without it, and it does not vote before it has a state.
    fn may_vote(&self, node: NodeId) -> bool {
        let raft = &self.node.raft;
        let level = raft.raft_log.committed.saturating_sub(BEHIND_ENTRIES_MAX);
        let learned = |progress: &raft::Progress| progress.matched > 0 && progress.matched >= level;
        self.members().voters.contains(&node) || raft.prs().get(node.0).is_some_and(learned)
    }

    /// Asks another voter to lead. Until it does, or the library gives up after an election time, proposals wait.
    pub(crate) fn transfer(&mut self, to: NodeId) -> Result<(), ChangeError> {
        let shard = self.shard;
        if !self.leads() {
            return Err(ChangeError::NotLeader { shard, leader: self.leader() });
        }
        if self.members().is_joint() || !self.members().voters.contains(&to) {
            return Err(ChangeError::Busy { shard });
        }
        self.wake();
        self.node.transfer_leader(to.0);
        Ok(())
    }

    /// A committed change takes effect.
    pub(super) fn apply_change(&mut self, entry: &Entry) {
        passed(Point::ChangeCommitted);
        let change = decode_change(&entry.data);
        let applied = change.map(|change| self.node.apply_conf_change(&change));
        match applied {
            Some(Ok(state)) => {
                self.node.mut_store().set_members(entry.index, Members::of(&state));
                self.owes_members = true;
                self.step_down_if_out();
            }
            // The same on every replica, so they still agree about the members.
            Some(Err(reason)) => tracing::warn!(shard = self.shard.0, %reason, "a change of members has no effect"),
            None => tracing::warn!(shard = self.shard.0, index = entry.index, "a change of members cannot be read"),
        }
    }

    /// A leader removed by a change that its predecessor began leads no more; the library leaves that to us.
    fn step_down_if_out(&mut self) {
        if self.leads() && !self.members().contains(NodeId(self.node.raft.id)) {
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
    }

    pub(super) fn write_members(&mut self, writing: &mut Writing) {
        if std::mem::take(&mut self.owes_members) {
            let log = self.node.store();
            // Nothing waits for it: until it is durable a restart goes through the changes again.
            let (since, bytes) = (log.members_since(), log.members().encode());
            writing.batch.push(self.shard, RecordKind::Members, Term(self.node.raft.term), since, &bytes);
        }
    }

    /// Forgets entries a durable snapshot covers and asks for its mark. False when it covers nothing new.
    pub(crate) fn snapshot_taken(&mut self, index: LogIndex) -> bool {
        let index = index.0.min(self.node.raft.raft_log.applied()).min(self.kept_for_peers());
        if index < self.node.store().first() {
            return false;
        }
        self.node.mut_store().compact(index);
        self.mark = Some(LogIndex(index));
        true
    }

    /// A snapshot of the state at `index` lies ready for peers.
    pub(crate) fn offer_snapshot(&mut self, index: LogIndex) {
        if !self.reseed.is_sought {
            self.node.mut_store().offer(index.0);
        }
    }

    /// What a leader keeps for peers that are nearly there. Those far behind, and those away, get a snapshot.
    fn kept_for_peers(&self) -> u64 {
        let raft = &self.node.raft;
        let near = raft.raft_log.last_index().saturating_sub(LAG_ENTRIES_MAX);
        let held = raft.prs().iter().map(|(_, progress)| progress.matched).filter(|matched| *matched >= near);
        held.min().filter(|_| self.leads()).unwrap_or(u64::MAX)
    }

    pub(super) fn write_mark(&mut self, writing: &mut Writing) {
        let Some(index) = self.mark.take() else { return };
        let store = self.node.store();
        let term = raft::Storage::term(store, index.0).expect("the log was compacted to this index");
        // Nothing waits for it: until it is durable a restart merely finds more entries.
        writing.batch.push(self.shard, RecordKind::SnapshotMark, Term(term), index, &[]);
    }
}

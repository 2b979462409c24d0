//! A replica whose state is wrong: asks the leader for a snapshot although its log is as it should be.
//!
//! # Invariants
//! - **S1 until it comes**: the wish outlasts elections and lost messages. An installed snapshot ends it, or that this
//!   node has to lead: where nobody takes over there is nobody to learn from.
//! - **S2 no source**: meanwhile the replica is no ready leader, offers no snapshot and does not sleep.

use raft::eraftpb::{Message, MessageType};
use raft::{INVALID_INDEX, Progress, ProgressState, SnapshotStatus, StateRole};

use super::Group;

/// Ticks that a replica leads against its will before it does lead: others may be wrong as well, or away.
const UNWILLING_TICKS_MAX: usize = 40;

/// The wish to be given another replica's state.
#[derive(Default)]
pub(super) struct Reseed {
    pub(super) is_sought: bool,
    /// Ticks it led meanwhile.
    unwilling_ticks: usize,
    /// Whether being ready has changed without the library.
    pub(super) owes_role: bool,
}

/// Whether a replica is to get a snapshot, or has been sent one.
pub(super) fn needs_snapshot(progress: &Progress) -> bool {
    progress.state == ProgressState::Snapshot || progress.pending_request_snapshot != INVALID_INDEX
}

impl<T> Group<T> {
    /// From now on the state here counts as wrong. False when nobody else votes, or it did so already.
    pub(crate) fn reseed(&mut self) -> bool {
        if self.reseed.is_sought || self.votes_alone() {
            return false;
        }
        self.reseed = Reseed { is_sought: true, unwilling_ticks: 0, owes_role: true };
        self.node.mut_store().withdraw_offer();
        self.wake();
        self.pursue_seed();
        true
    }

    /// Gives the leadership away, or asks the leader for its snapshot; what is under way already changes nothing.
    pub(super) fn pursue_seed(&mut self) {
        if !self.reseed.is_sought {
            return;
        }
        match self.node.raft.state {
            StateRole::Leader => self.abdicate(),
            StateRole::Follower => self.ask_for_snapshot(),
            StateRole::PreCandidate | StateRole::Candidate => {}
        }
    }

    /// After every message: on a busy shard all is committed only for moments.
    pub(super) fn ask_if_wrong(&mut self) {
        if self.reseed.is_sought && self.node.raft.state == StateRole::Follower {
            self.ask_for_snapshot();
        }
    }

    /// The library takes nothing in while it waits for the snapshot, which must hold all this replica has. So all of that
    /// must be committed, in this term: a leader that needs this replica's vote for it could never take one.
    fn ask_for_snapshot(&mut self) {
        let log = &self.node.raft.raft_log;
        if log.committed == log.last_index() {
            // Refused without a leader, before its first entry is here, and when it is asked for already.
            self.node.request_snapshot().unwrap_or_default();
        }
    }

    /// A leader of a later term may not know yet that what an earlier one was asked for is committed: it is asked anew.
    pub(super) fn heed_term(&mut self, message: &Message) {
        if message.term > self.node.raft.term {
            self.node.raft.pending_request_snapshot = INVALID_INDEX;
        }
    }

    fn abdicate(&mut self) {
        self.reseed.unwilling_ticks += 1;
        if self.reseed.unwilling_ticks > UNWILLING_TICKS_MAX {
            tracing::error!(shard = self.shard.0, "nobody takes over from a replica that differs, it goes on as it is");
            self.reseed = Reseed { owes_role: true, ..Reseed::default() };
            return;
        }
        let raft = &self.node.raft;
        if raft.lead_transferee.is_some() || self.members().is_joint() {
            return;
        }
        let votes = |id: &u64| *id != raft.id && self.members().voters.iter().any(|voter| voter.0 == *id);
        let others = raft.prs().iter().filter(|(id, progress)| votes(id) && progress.recent_active);
        let heir = others.max_by_key(|(id, progress)| (progress.matched, **id)).map(|(id, _)| *id);
        if let Some(heir) = heir {
            self.node.transfer_leader(heir);
        }
    }

    /// A replica says that it holds what its snapshot brought. The library would see that only if it held less before,
    /// and would send one that asked for it the same again.
    pub(super) fn note_seeded(&mut self, message: &Message) {
        let raft = &self.node.raft;
        let is_answer = message.get_msg_type() == MessageType::MsgAppendResponse && !message.reject;
        if !is_answer || !self.leads() || message.term != raft.term {
            return;
        }
        let waits = |progress: &Progress| {
            progress.state == ProgressState::Snapshot && message.index >= progress.pending_snapshot
        };
        if raft.prs().get(message.from).is_some_and(waits) {
            self.node.report_snapshot(message.from, SnapshotStatus::Finish);
        }
    }
}

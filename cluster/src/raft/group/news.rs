//! How followers hear what is committed: with the next entry, or in a message of its own when none comes for a while.
//!
//! # Invariants
//! - **W1 told**: what a leader committed is told to its followers in the end, by an append or, should that be lost, by a
//!   heartbeat.

use raft::eraftpb::{Message, MessageType};

use super::Group;

/// What the followers of a group were told.
#[derive(Default)]
pub(super) struct News {
    /// The highest commit index an append carried in this term.
    told: u64,
    term: u64,
    /// The core has this group on its list.
    is_noted: bool,
}

impl News {
    pub(super) fn note(&mut self, message: &Message) {
        if message.get_msg_type() != MessageType::MsgAppend {
            return;
        }
        if message.term != self.term {
            (self.told, self.term) = (0, message.term);
        }
        self.told = self.told.max(message.commit);
    }
}

impl<T> Group<T> {
    /// Whether followers have something to hear and the core does not know it yet; it does from now on.
    pub(crate) fn notes_untold(&mut self) -> bool {
        self.owes_news() && !std::mem::replace(&mut self.news.is_noted, true)
    }

    /// Tells the followers how far they may go, unless an entry did. Whether there is something to send.
    pub(crate) fn tell_commit(&mut self) -> bool {
        self.news.is_noted = false;
        let owes = self.owes_news();
        if owes {
            self.node.raft.bcast_append();
        }
        owes
    }

    fn owes_news(&self) -> bool {
        let raft = &self.node.raft;
        let told = if self.news.term == raft.term { self.news.told } else { 0 };
        // A group that sleeps told it in its last heartbeats.
        let is_alone = raft.prs().iter().count() == 1;
        self.leads() && raft.raft_log.committed > told && !is_alone && !self.rest.is_asleep()
    }
}

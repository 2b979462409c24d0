//! How followers hear what is committed: with the next entry, or in a message of its own when none comes for a while.
//!
//! # Invariants
//! - **W1 told**: what a leader committed is told to its followers in the end, by an append, by a message of its own or,
//!   should these be lost, by a heartbeat.
//! - **W2 held**: a message of its own tells nobody of more than it is known to hold, and nobody answers it.

use raft::eraftpb::{Message, MessageType};

use super::Group;

/// What a heartbeat carries that only tells what is committed.
const NEWS: &[u8] = b"news";

/// What the followers of a group were told.
#[derive(Default)]
pub(super) struct News {
    /// The highest commit index an append carried in this term.
    told: u64,
    term: u64,
    /// The core has this group on its list.
    is_noted: bool,
    /// To be sent.
    messages: Vec<Message>,
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

/// Whether a message is the library's answer to news.
pub(super) fn answers_news(message: &Message) -> bool {
    message.get_msg_type() == MessageType::MsgHeartbeatResponse && message.context[..] == *NEWS
}

impl<T> Group<T> {
    /// Whether followers have something to hear and the core does not know it yet; it does from now on.
    pub(crate) fn notes_untold(&mut self) -> bool {
        self.owes_news() && !std::mem::replace(&mut self.news.is_noted, true)
    }

    /// Tells the followers how far they may go, unless an entry did. Whether there is something to send.
    pub(crate) fn tell_commit(&mut self) -> bool {
        self.news.is_noted = false;
        if !self.owes_news() {
            return false;
        }
        let raft = &self.node.raft;
        let (committed, term) = (raft.raft_log.committed, raft.term);
        let message = |(to, progress): (&u64, &raft::Progress)| {
            let mut message = Message { from: raft.id, to: *to, term, ..Message::default() };
            message.set_msg_type(MessageType::MsgHeartbeat);
            message.commit = committed.min(progress.matched);
            message.context = NEWS.into();
            message
        };
        self.news.messages = raft.prs().iter().filter(|(id, _)| **id != raft.id).map(message).collect();
        (self.news.told, self.news.term) = (committed, term);
        true
    }

    pub(super) fn take_news(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.news.messages)
    }

    fn owes_news(&self) -> bool {
        let raft = &self.node.raft;
        let told = if self.news.term == raft.term { self.news.told } else { 0 };
        // A group that sleeps told it in its last heartbeats.
        let is_alone = raft.prs().iter().count() == 1;
        self.leads() && raft.raft_log.committed > told && !is_alone && !self.rest.is_asleep()
    }
}

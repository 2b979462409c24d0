//! From proposals to entries, and back to whoever proposed them.

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};

use super::Group;
use crate::ids::Term;
use crate::raft::{ProposeError, Round};

/// Appended proposals of one group that wait for their commit; more are refused as overload.
pub const IN_FLIGHT_MAX: usize = 4096;

/// A proposal taken in and not yet appended.
pub(super) struct Queued<T> {
    term: Term,
    data: Bytes,
    pub(super) token: T,
}

/// A proposal appended and not yet committed.
pub(super) struct InFlight<T> {
    index: u64,
    pub(super) term: u64,
    pub(super) token: T,
}

impl<T> Group<T> {
    pub(crate) fn propose(&mut self, term: Term, data: Bytes, token: T) {
        self.wake();
        self.queued.push(Queued { term, data, token });
    }

    pub(super) fn append_queued(&mut self, round: &mut Round<T>) {
        // While leadership moves the library takes nothing: soon somebody else leads, or nobody else wanted to.
        if self.queued.is_empty() || self.node.raft.lead_transferee.is_some() {
            return;
        }
        let shard = self.shard;
        let leads = self.leads();
        let (leader, current) = (self.leader(), Term(self.node.raft.term));
        let mut index = self.node.raft.raft_log.last_index();
        let mut entries = Vec::with_capacity(self.queued.len());
        let appended_before = self.in_flight.len();
        for Queued { term: decided, data, token } in self.queued.drain(..) {
            let refusal = if !leads {
                ProposeError::NotLeader { shard, leader }
            } else if decided != current {
                ProposeError::StaleTerm { shard, decided, current }
            } else if self.in_flight.len() >= IN_FLIGHT_MAX {
                ProposeError::Overloaded { shard }
            } else {
                index += 1;
                entries.push(Entry { data, ..Entry::default() });
                self.in_flight.push_back(InFlight { index, term: current.0, token });
                continue;
            };
            round.rejected.push((token, refusal));
        }
        if entries.is_empty() {
            return;
        }
        let mut message = Message { from: self.node.raft.id, entries: entries.into(), ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        // The library appends all of them or none; none when too many bytes wait.
        if self.node.step(message).is_err() {
            let refused = self.in_flight.drain(appended_before..);
            round.rejected.extend(refused.map(|proposal| (proposal.token, ProposeError::Overloaded { shard })));
        }
    }

    /// The token of the proposal that became this entry; proposals another leader's entries replaced are answered.
    pub(super) fn claim(&mut self, index: u64, term: u64, round: &mut Round<T>) -> Option<T> {
        while self.in_flight.front().is_some_and(|proposal| proposal.index <= index)
            && let Some(proposal) = self.in_flight.pop_front()
        {
            if (proposal.index, proposal.term) == (index, term) {
                return Some(proposal.token);
            }
            round.rejected.push((proposal.token, ProposeError::OutcomeUnknown { shard: self.shard }));
        }
        None
    }
}

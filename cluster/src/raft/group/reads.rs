//! Reads that must not come from a deposed leader: all that wait are confirmed by one round of heartbeats.

use std::collections::VecDeque;

use raft::ReadState;

use super::Group;
use crate::ids::LogIndex;
use crate::raft::{ProposeError, Round};

/// The reads of one group.
pub(super) struct Reads<T> {
    waiting: Vec<T>,
    /// The question under way and whom its answer serves; further reads wait for the next one.
    asked: Option<(u64, Vec<T>)>,
    /// Confirmed, and waiting until the entries before them are handed over.
    confirmed: VecDeque<(u64, Vec<T>)>,
    last_question: u64,
}

impl<T> Default for Reads<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), asked: None, confirmed: VecDeque::new(), last_question: 0 }
    }
}

impl<T> Reads<T> {
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        let asked = self.asked.take().into_iter().chain(self.confirmed.drain(..)).flat_map(|(_, tokens)| tokens);
        self.waiting.drain(..).chain(asked)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.asked.is_none() && self.confirmed.is_empty()
    }
}

impl<T> Group<T> {
    /// Takes in a read; its token comes back when everything committed by now is handed over, or with a refusal.
    pub(crate) fn read(&mut self, token: T) {
        self.wake();
        self.reads.waiting.push(token);
    }

    pub(super) fn start_reads(&mut self, round: &mut Round<T>) {
        if self.reads.is_idle() {
            return;
        }
        if !self.leads() {
            let refusal = ProposeError::NotLeader { shard: self.shard, leader: self.leader() };
            round.rejected.extend(self.reads.drain().map(|token| (token, refusal)));
            return;
        }
        // Before its first own commit a leader does not know what is committed, and the library forgets the question.
        if self.reads.asked.is_none() && !self.reads.waiting.is_empty() && self.node.raft.commit_to_current_term() {
            self.reads.last_question += 1;
            let question = self.reads.last_question;
            self.reads.asked = Some((question, std::mem::take(&mut self.reads.waiting)));
            self.node.read_index(question.to_be_bytes().to_vec());
        }
    }

    pub(super) fn answer_reads(&mut self, confirmed: &[ReadState], round: &mut Round<T>) {
        for ReadState { index, request_ctx } in confirmed {
            let is_answer = |(question, _): &mut (u64, Vec<T>)| request_ctx[..] == question.to_be_bytes();
            if let Some((_, tokens)) = self.reads.asked.take_if(is_answer) {
                self.reads.confirmed.push_back((*index, tokens));
            }
        }
        let applied = self.node.raft.raft_log.applied();
        while self.reads.confirmed.front().is_some_and(|(index, _)| *index <= applied)
            && let Some((index, tokens)) = self.reads.confirmed.pop_front()
        {
            let shard = self.shard;
            round.reads.extend(tokens.into_iter().map(|token| (shard, LogIndex(index), token)));
        }
        if !self.leads() {
            self.start_reads(round);
        }
    }
}

//! One turn of a group: what the library wants written, sent, applied, in the order it wants it.

use raft::Ready;
use raft::eraftpb::{Entry, Message};

use super::reseed::Reseed;
use super::{Group, Writing};
use crate::ids::{LogIndex, Term};
use crate::log::{Position, RecordKind};
use crate::raft::storage::is_change;
use crate::raft::vote::Vote;
use crate::raft::{CommittedEntry, Members, Round};

/// Turns one group takes in one round before the others get theirs.
pub(super) const TURNS_MAX: usize = 4;

/// What happens once a batch is durable.
#[derive(Default)]
pub(super) struct Pending {
    batch: u64,
    /// The library's number of this turn.
    ready: u64,
    messages: Vec<Message>,
    /// Where the entries of this turn start: in the shard's log and in the batch.
    first_index: u64,
    first_record: usize,
    terms: Vec<u64>,
    /// The snapshot that replaces everything before.
    install: Option<LogIndex>,
}

impl<T> Group<T> {
    pub(super) fn take_turn(&mut self, writing: &mut Writing, round: &mut Round<T>) {
        let mut ready = self.node.ready();
        // A leader may replicate before its own disk has the entries; nobody else has messages here.
        self.send(ready.take_messages(), round);
        let mut pending = self.write(&mut ready, writing);
        pending.messages = ready.take_persisted_messages();
        let confirmed = ready.take_read_states();
        let committed = ready.take_committed_entries();
        self.node.advance_append_async(ready);
        self.hand_over(committed, round);
        self.note_role(round);
        self.answer_reads(&confirmed, round);
        self.keep(pending, round);
    }

    /// Everything this group wrote up to this batch is durable.
    pub(crate) fn persisted(&mut self, batch: u64, positions: &[Position], round: &mut Round<T>) {
        while self.pending.front().is_some_and(|pending| pending.batch <= batch)
            && let Some(pending) = self.pending.pop_front()
        {
            let places = positions.iter().skip(pending.first_record);
            for ((index, term), position) in (pending.first_index..).zip(&pending.terms).zip(places) {
                self.node.mut_store().note_position(index, *term, *position);
            }
            // The library must know first: a message may promise what this turn wrote.
            self.node.on_persist_ready(pending.ready);
            if let Some(index) = pending.install {
                self.node.advance_apply_to(index.0);
                self.in_store = index.0;
                round.installs.push((self.shard, index));
            }
            self.send(pending.messages, round);
        }
        self.node.mut_store().shrink_cache();
    }

    /// Puts a turn's hard state, snapshot and entries into the batch and into the log in memory.
    fn write(&mut self, ready: &mut Ready, writing: &mut Writing) -> Pending {
        let mut pending = Pending { ready: ready.number(), ..Pending::default() };
        let vote = ready.hs().map(Vote::of);
        if let Some(vote) = vote.filter(|vote| vote.promises_more_than(self.written)) {
            pending.batch = self.write_vote(vote, writing);
        }
        if !ready.snapshot().is_empty() {
            pending.install = Some(self.install(ready, writing));
            pending.batch = writing.number;
        }
        let entries = ready.take_entries();
        if let Some(head) = entries.first() {
            pending.batch = writing.number;
            pending.first_index = head.index;
            pending.first_record = writing.batch.records().len();
            pending.terms = entries.iter().map(|entry| entry.term).collect();
        }
        for entry in &entries {
            let kind = if is_change(entry) { RecordKind::Change } else { RecordKind::Entry };
            writing.batch.push(self.shard, kind, Term(entry.term), LogIndex(entry.index), &entry.data);
        }
        self.node.mut_store().append(&entries);
        if let Some(vote) = vote.filter(|vote| self.passes_change(vote.commit)) {
            pending.batch = self.write_vote(vote, writing);
        }
        pending
    }

    /// Whether a change of members is committed by now that was not when this was asked last. Never looks at an entry twice:
    /// a log has many behind the last commit index that was written.
    fn passes_change(&mut self, commit: u64) -> bool {
        let behind = std::mem::replace(&mut self.looked_for_changes, commit).max(self.written.commit);
        self.node.store().has_change(behind, commit)
    }

    /// The commit index is written along with a vote, and when it passes a change of members. A node that forgot that a
    /// change is committed would look for votes among the members before it, who need not know those after it.
    fn write_vote(&mut self, vote: Vote, writing: &mut Writing) -> u64 {
        let (term, commit) = (Term(vote.term), LogIndex(vote.commit));
        writing.batch.push(self.shard, RecordKind::HardState, term, commit, &vote.encode());
        self.written = vote;
        writing.number
    }

    /// Replaces the log by a snapshot; its data is on this node's disk already, the store takes it in once this is durable.
    fn install(&mut self, ready: &Ready, writing: &mut Writing) -> LogIndex {
        let metadata = ready.snapshot().get_metadata();
        let (index, term) = (LogIndex(metadata.index), Term(metadata.term));
        let members = Members::of(metadata.get_conf_state());
        writing.batch.push(self.shard, RecordKind::Purge, term, index, &[]);
        writing.batch.push(self.shard, RecordKind::SnapshotMark, term, index, &[]);
        writing.batch.push(self.shard, RecordKind::Members, term, index, &members.encode());
        self.node.mut_store().install(metadata.index, metadata.term, members);
        // What these were about is behind the snapshot.
        self.mark = None;
        self.owes_members = false;
        self.reseed = Reseed::default();
        index
    }

    /// Sets a turn aside until its batch is durable; one that wrote nothing only waits for the turns before it.
    fn keep(&mut self, mut pending: Pending, round: &mut Round<T>) {
        if pending.batch == 0 {
            match self.pending.back() {
                Some(earlier) => pending.batch = earlier.batch,
                None => {
                    self.node.on_persist_ready(pending.ready);
                    self.send(pending.messages, round);
                    return;
                }
            }
        }
        self.pending.push_back(pending);
    }

    fn hand_over(&mut self, committed: Vec<Entry>, round: &mut Round<T>) {
        let Some(last) = committed.last().map(|entry| (entry.index, entry.term)) else { return };
        for entry in committed {
            let token = self.claim(entry.index, entry.term, round);
            if is_change(&entry) {
                self.apply_change(&entry);
            }
            if entry.index > self.in_store {
                round.committed.push(self.handed_over(entry, token));
            }
        }
        self.node.advance_apply_to(last.0);
        self.ready_term = last.1;
    }

    /// The entry as the applier gets it: a change of members only moves the applied index.
    pub(super) fn handed_over(&self, entry: Entry, token: Option<T>) -> CommittedEntry<T> {
        let data = if is_change(&entry) { bytes::Bytes::new() } else { entry.data };
        CommittedEntry { shard: self.shard, index: LogIndex(entry.index), term: Term(entry.term), data, token }
    }
}

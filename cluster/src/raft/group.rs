//! One consensus group on this node: the library's state machine, what waits for the disk, and who waits for a commit.
//!
//! The core calls it for touched groups only; the order of the steps inside a round is the library's contract.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{RawNode, Ready, StateRole};

use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::log::{Batch, Position, RecordKind};
use crate::raft::storage::GroupLog;
use crate::raft::vote::Vote;
use crate::raft::{CommittedEntry, ElectionTicks, PeerMessage, ProposeError, Role, Round, ShardStatus};

/// Appended proposals of one group that wait for their commit; more are refused as overload.
pub const IN_FLIGHT_MAX: usize = 4096;

/// Turns one group takes in one round before the others get theirs.
const TURNS_MAX: usize = 4;

/// A proposal taken in and not yet appended.
struct Queued<T> {
    term: Term,
    data: Bytes,
    token: T,
}

/// A proposal appended and not yet committed.
struct InFlight<T> {
    index: u64,
    term: u64,
    token: T,
}

/// What happens once a batch is durable.
#[derive(Default)]
struct Pending {
    batch: u64,
    /// The library's number of this turn.
    ready: u64,
    messages: Vec<Message>,
    /// Where the entries of this turn start: in the shard's log and in the batch.
    first_index: u64,
    first_record: usize,
    terms: Vec<u64>,
}

/// The batch being filled by all groups of a round.
pub(crate) struct Writing {
    pub(crate) number: u64,
    pub(crate) batch: Batch,
}

/// One group.
pub(crate) struct Group<T> {
    shard: ShardId,
    node: RawNode<GroupLog>,
    elections: ElectionTicks,
    seed: u64,
    role: Role,
    /// The newest term an entry was committed in while this node led it.
    ready_term: u64,
    written: Vote,
    mark: Option<LogIndex>,
    queued: Vec<Queued<T>>,
    in_flight: VecDeque<InFlight<T>>,
    pending: VecDeque<Pending>,
}

impl<T> Group<T> {
    pub(crate) fn new(shard: ShardId, node: RawNode<GroupLog>, elections: ElectionTicks, seed: u64) -> Self {
        let written = Vote::of(&node.raft.hard_state());
        Self {
            shard,
            node,
            elections,
            seed,
            role: Role::Follower { leader: None },
            ready_term: 0,
            written,
            mark: None,
            queued: Vec::new(),
            in_flight: VecDeque::new(),
            pending: VecDeque::new(),
        }
    }

    /// Whether this node is the only voter, so that no clock and no peer matters to the group.
    pub(crate) fn votes_alone(&self) -> bool {
        let voters = self.node.raft.prs().conf().voters().ids();
        voters.len() == 1 && voters.contains(self.node.raft.id)
    }

    pub(crate) fn campaign(&mut self) {
        self.node.campaign().expect("a follower may always campaign");
    }

    pub(crate) fn tick(&mut self) {
        // The library draws from the thread's randomness; drawing again makes a seeded run repeat.
        if self.node.raft.election_elapsed == 0 {
            let timeout = self.elections.draw(&mut self.seed);
            self.node.raft.set_randomized_election_timeout(timeout);
        }
        self.node.tick();
    }

    pub(crate) fn receive(&mut self, message: Message) {
        if !is_sound(&message) {
            tracing::warn!(shard = self.shard.0, from = message.from, "dropped an unsound peer message");
            return;
        }
        // Refusals concern messages of nodes that are no longer, or not yet, in the group.
        if let Err(reason) = self.node.step(message) {
            tracing::debug!(shard = self.shard.0, %reason, "dropped a peer message");
        }
    }

    pub(crate) fn propose(&mut self, term: Term, data: Bytes, token: T) {
        self.queued.push(Queued { term, data, token });
    }

    /// Forgets entries a durable snapshot covers and asks for its mark. False when it covers nothing new.
    pub(crate) fn snapshot_taken(&mut self, index: LogIndex) -> bool {
        let index = index.0.min(self.node.raft.raft_log.applied()).min(self.held_by_all());
        if index < self.node.store().first() {
            return false;
        }
        self.node.mut_store().compact(index);
        self.mark = Some(LogIndex(index));
        true
    }

    /// What a leader must keep for its peers, since it sends them entries only, never a snapshot.
    fn held_by_all(&self) -> u64 {
        let raft = &self.node.raft;
        let held = raft.prs().iter().map(|(_, progress)| progress.matched).min();
        held.filter(|_| raft.state == StateRole::Leader).unwrap_or(u64::MAX)
    }

    /// Takes the group's turns of one round. True when it wants another round at once.
    pub(crate) fn round(&mut self, writing: &mut Writing, round: &mut Round<T>) -> bool {
        self.append_queued(round);
        self.write_mark(writing);
        for _ in 0..TURNS_MAX {
            if !self.node.has_ready() {
                return false;
            }
            self.take_turn(writing, round);
        }
        self.node.has_ready()
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
            self.send(pending.messages, round);
        }
        self.node.mut_store().shrink_cache();
    }

    /// Gives up on everything that waits; the driver is stopping.
    pub(crate) fn abandon(&mut self, rejected: &mut Vec<(T, ProposeError)>) {
        rejected.extend(self.queued.drain(..).map(|queued| (queued.token, ProposeError::Stopped)));
        let unknown = ProposeError::OutcomeUnknown { shard: self.shard };
        rejected.extend(self.in_flight.drain(..).map(|proposal| (proposal.token, unknown)));
    }

    pub(crate) fn status(&self) -> ShardStatus {
        let log = &self.node.raft.raft_log;
        ShardStatus {
            role: self.role,
            term: Term(self.node.raft.term),
            first: LogIndex(self.node.store().first()),
            last: LogIndex(log.last_index()),
            committed: LogIndex(log.committed),
            applied: LogIndex::default(),
        }
    }

    fn append_queued(&mut self, round: &mut Round<T>) {
        if self.queued.is_empty() {
            return;
        }
        let shard = self.shard;
        let leads = self.node.raft.state == StateRole::Leader;
        let (leader, current) = (known(self.node.raft.leader_id), Term(self.node.raft.term));
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
        // The library appends all of them or none; none when too many bytes wait or leadership is being moved.
        if self.node.step(message).is_err() {
            let refused = self.in_flight.drain(appended_before..);
            round.rejected.extend(refused.map(|proposal| (proposal.token, ProposeError::Overloaded { shard })));
        }
    }

    fn write_mark(&mut self, writing: &mut Writing) {
        let Some(index) = self.mark.take() else { return };
        let store = self.node.store();
        let term = raft::Storage::term(store, index.0).expect("the log was compacted to this index");
        // Nothing waits for it: until it is durable a restart merely finds more entries.
        writing.batch.push(self.shard, RecordKind::SnapshotMark, Term(term), index, &[]);
    }

    fn take_turn(&mut self, writing: &mut Writing, round: &mut Round<T>) {
        let mut ready = self.node.ready();
        assert!(ready.snapshot().is_empty(), "{} was sent a snapshot, which no peer does", self.shard);
        // A leader may replicate before its own disk has the entries; nobody else has messages here.
        self.send(ready.take_messages(), round);
        let mut pending = self.write(&mut ready, writing);
        pending.messages = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        self.node.advance_append_async(ready);
        self.hand_over(committed, round);
        self.note_role(round);
        self.keep(pending, round);
    }

    /// Puts a turn's hard state and entries into the batch and the entries into the log in memory.
    fn write(&mut self, ready: &mut Ready, writing: &mut Writing) -> Pending {
        let mut pending = Pending { ready: ready.number(), ..Pending::default() };
        // The hard state goes first: a torn batch may then lose entries of a term, never the term of entries.
        if let Some(vote) = ready.hs().map(Vote::of)
            && vote.promises_more_than(self.written)
        {
            let index = LogIndex(vote.commit);
            writing.batch.push(self.shard, RecordKind::HardState, Term(vote.term), index, &vote.encode());
            self.written = vote;
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
            let (term, index) = (Term(entry.term), LogIndex(entry.index));
            writing.batch.push(self.shard, RecordKind::Entry, term, index, &entry.data);
        }
        self.node.mut_store().append(&entries);
        pending
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
            round.committed.push(CommittedEntry {
                shard: self.shard,
                index: LogIndex(entry.index),
                term: Term(entry.term),
                data: entry.data,
                token,
            });
        }
        self.node.advance_apply_to(last.0);
        self.ready_term = last.1;
    }

    /// The token of the proposal that became this entry; proposals another leader's entries replaced are answered.
    fn claim(&mut self, index: u64, term: u64, round: &mut Round<T>) -> Option<T> {
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

    fn note_role(&mut self, round: &mut Round<T>) {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Leader => Role::Leader { term: Term(raft.term), ready: self.ready_term == raft.term },
            StateRole::Follower | StateRole::PreCandidate | StateRole::Candidate => {
                Role::Follower { leader: known(raft.leader_id) }
            }
        };
        if role == self.role {
            return;
        }
        if self.in_flight.front().is_some_and(|proposal| raft.state != StateRole::Leader || proposal.term != raft.term)
        {
            let unknown = ProposeError::OutcomeUnknown { shard: self.shard };
            round.rejected.extend(self.in_flight.drain(..).map(|proposal| (proposal.token, unknown)));
        }
        self.role = role;
        round.roles.push((self.shard, role));
    }

    fn send(&self, messages: Vec<Message>, round: &mut Round<T>) {
        let shard = self.shard;
        round.messages.extend(messages.into_iter().map(|message| PeerMessage { shard, message }));
    }
}

fn known(leader: u64) -> Option<NodeId> {
    (leader != raft::INVALID_ID).then_some(NodeId(leader))
}

/// The library takes term 0 at an index past the end for a match, and snapshots of peers are not supported yet.
fn is_sound(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgSnapshot | MessageType::MsgPropose => false,
        MessageType::MsgAppend | MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
            message.log_term != 0 || message.index == 0
        }
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgAppendResponse
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader
        | MessageType::MsgTimeoutNow
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgRequestPreVoteResponse => true,
    }
}

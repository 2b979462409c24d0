//! One consensus group on this node: the library's state machine, what waits for the disk, and who waits for a commit.
//!
//! The core calls it for touched groups only. Each file below holds one part of it: [`turn`] the library's contract of a
//! round, [`proposals`] what becomes entries, [`reads`] what must be confirmed, [`changes`] who the members are,
//! [`peers`] what comes from others, [`news`] what followers hear of commits, [`rest`] when nothing happens, [`reseed`] what a wrong replica does.

mod changes;
mod news;
mod peers;
mod proposals;
mod reads;
mod reseed;
mod rest;
mod turn;

use std::collections::VecDeque;

use raft::{RawNode, StateRole};

use self::news::{News, answers_news};
use self::peers::Awaiting;
use self::proposals::{InFlight, Queued};
use self::reads::Reads;
use self::reseed::Reseed;
use self::rest::Rest;
use self::turn::Pending;
use crate::format::Format;
use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::log::Batch;
use crate::raft::storage::GroupLog;
use crate::raft::vote::Vote;
use crate::raft::{CommittedEntry, ElectionTicks, Members, PeerMessage, ProposeError, Role, Round, ShardStatus};

pub use self::peers::PeerProgress;
pub(crate) use self::peers::comes_from_leader;
pub use self::proposals::IN_FLIGHT_MAX;

/// The batch being filled by all groups of a round.
pub(crate) struct Writing {
    pub(crate) number: u64,
    pub(crate) batch: Batch,
}

/// What is known of a group when it starts.
pub(crate) struct Known {
    /// How far the store is.
    pub(crate) applied: LogIndex,
    /// From where on the library goes through committed entries again.
    pub(crate) resumed: LogIndex,
    /// Whether its members must be written yet.
    pub(crate) is_new: bool,
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
    /// Changes of members that are committed up to here are written, if there are any.
    looked_for_changes: u64,
    mark: Option<LogIndex>,
    /// Whether the members changed since they were written.
    owes_members: bool,
    /// Entries up to here are in the store already.
    in_store: u64,
    queued: Vec<Queued<T>>,
    in_flight: VecDeque<InFlight<T>>,
    pending: VecDeque<Pending>,
    reads: Reads<T>,
    rest: Rest,
    awaiting: Awaiting,
    /// Messages of leaders so far.
    heard: u64,
    news: News,
    reseed: Reseed,
}

impl<T> Group<T> {
    pub(crate) fn new(
        shard: ShardId,
        node: RawNode<GroupLog>,
        elections: ElectionTicks,
        seed: u64,
        known: Known,
    ) -> Self {
        let written = Vote::of(&node.raft.hard_state());
        Self {
            shard,
            node,
            elections,
            seed,
            role: Role::Follower { leader: None },
            ready_term: 0,
            written,
            looked_for_changes: written.commit,
            mark: None,
            owes_members: known.is_new,
            in_store: known.applied.0.max(known.resumed.0),
            queued: Vec::new(),
            in_flight: VecDeque::new(),
            pending: VecDeque::new(),
            reads: Reads::default(),
            rest: Rest::default(),
            awaiting: Awaiting::default(),
            heard: 0,
            news: News::default(),
            reseed: Reseed::default(),
        }
    }

    /// The entries the store lacks and the library will not hand over again, as [`Known`] says.
    pub(crate) fn missed(&self, known: (LogIndex, LogIndex)) -> raft::Result<Vec<CommittedEntry<T>>> {
        let (applied, resumed) = known;
        if applied >= resumed {
            return Ok(Vec::new());
        }
        let context = raft::GetEntriesContext::empty(false);
        let entries = raft::Storage::entries(self.node.store(), applied.0 + 1, resumed.0 + 1, None, context)?;
        Ok(entries.into_iter().map(|entry| self.handed_over(entry, None)).collect())
    }

    /// Whether this node is the only voter, so that no clock and no peer matters to the group.
    pub(crate) fn votes_alone(&self) -> bool {
        let voters = self.node.raft.prs().conf().voters().ids();
        voters.len() == 1 && voters.contains(self.node.raft.id)
    }

    pub(crate) fn campaign(&mut self) {
        self.node.campaign().expect("a follower may always campaign");
    }

    /// Takes the group's turns of one round. True when it wants another round at once.
    pub(crate) fn round(&mut self, writing: &mut Writing, round: &mut Round<T>) -> bool {
        self.write_members(writing);
        let last_heartbeats = self.take_last_heartbeats();
        self.send(last_heartbeats, round);
        let news = self.take_news();
        self.send(news, round);
        self.append_queued(round);
        self.start_reads(round);
        self.write_mark(writing);
        if std::mem::take(&mut self.reseed.owes_role) {
            self.note_role(round);
        }
        for _ in 0..turn::TURNS_MAX {
            if !self.node.has_ready() {
                break;
            }
            self.take_turn(writing, round);
        }
        self.write_members(writing);
        if self.node.store().takes_wish() {
            round.snapshots_wanted.push(self.shard);
        }
        self.node.has_ready()
    }

    /// Gives up on everything that waits; the driver is stopping, or the replica leaves.
    pub(crate) fn abandon(&mut self, rejected: &mut Vec<(T, ProposeError)>) {
        rejected.extend(self.queued.drain(..).map(|queued| (queued.token, ProposeError::Stopped)));
        let unknown = ProposeError::OutcomeUnknown { shard: self.shard };
        rejected.extend(self.in_flight.drain(..).map(|proposal| (proposal.token, unknown)));
        rejected.extend(self.reads.drain().map(|token| (token, ProposeError::Stopped)));
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
            is_asleep: self.rest.is_asleep(),
            is_parked: self.reseed.is_sought,
            format: Format::FIRST,
        }
    }

    pub(crate) fn members(&self) -> &Members {
        self.node.store().members()
    }

    /// How many messages of leaders there were.
    pub(crate) fn heard(&self) -> u64 {
        self.heard
    }

    pub(crate) fn vote(&self) -> Vote {
        Vote::of(&self.node.raft.hard_state())
    }

    pub(crate) fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    fn leader(&self) -> Option<NodeId> {
        known(self.node.raft.leader_id)
    }

    fn note_role(&mut self, round: &mut Round<T>) {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Leader => {
                let ready = self.ready_term == raft.term && !self.reseed.is_sought;
                Role::Leader { term: Term(raft.term), ready }
            }
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

    fn send(&mut self, messages: Vec<raft::eraftpb::Message>, round: &mut Round<T>) {
        let shard = self.shard;
        messages.iter().for_each(|message| self.news.note(message));
        let messages = messages.into_iter().filter(|message| !answers_news(message));
        round.messages.extend(messages.map(|message| PeerMessage { shard, message }));
    }
}

fn known(leader: u64) -> Option<NodeId> {
    (leader != raft::INVALID_ID).then_some(NodeId(leader))
}

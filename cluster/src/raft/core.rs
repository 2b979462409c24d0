//! The consensus of all shards of one node, without threads, clocks or disks. The driver and the simulation run it.
//!
//! Inputs are method calls; [`Core::round`] then says what to write, send, apply and answer. Idle groups cost nothing.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::log::{Batch, LogReader, Position, RecordKind, RecoveredShard};
use crate::raft::group::{Group, PeerProgress, Writing};
use crate::raft::links::Links;
use crate::raft::open::{self, Start};
use crate::raft::vote::Vote;
use crate::raft::{ChangeError, ElectionTicks, Members, PeerMessage, ProposeError, Round, ShardStatus, StartError};

/// Bytes of one proposal. Larger things are blobs, and an entry must fit one record of the log.
pub const PROPOSAL_BYTES_MAX: usize = 8 << 20;

/// What the core of one node is made of.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// This node; not 0.
    pub node: NodeId,
    /// How many shards there are.
    pub shards: u16,
    /// Who holds every shard of a cluster that begins now. Empty on a node that joins one: leaders bring it its shards.
    pub founders: Vec<NodeId>,
    /// Heartbeat and election times.
    pub elections: ElectionTicks,
    /// Where the randomness of elections starts.
    pub seed: u64,
    /// Payload bytes of durable entries each shard keeps in memory; older ones are read back from the log.
    pub cached_bytes_max: usize,
}

/// All groups of one node. `T` is what a caller wants back when its proposal is applied or refused.
pub struct Core<T> {
    config: CoreConfig,
    reader: LogReader,
    logger: slog::Logger,
    groups: Vec<Option<Group<T>>>,
    /// What this node promised in shards it does not hold now.
    votes: Vec<Vote>,
    /// Groups with something to do, each once.
    touched: Vec<u16>,
    is_touched: Vec<bool>,
    /// Groups that may have committed something their followers have not heard of.
    untold: Vec<u16>,
    links: Links,
    /// Shards that leave with the next batch, and those that are gone when a batch is durable.
    leaving: Vec<u16>,
    left: VecDeque<(u64, u16)>,
    /// Batches that are not durable yet and the groups that wrote them.
    batches: VecDeque<(u64, Vec<u16>)>,
    next_batch: u64,
    /// A written batch, emptied, for its memory.
    spare: Option<Batch>,
    /// What inputs produced since the last round.
    gathered: Round<T>,
}

impl<T> Core<T> {
    /// Starts every group from the recovered log and the store's applied indexes.
    pub fn open(
        config: &CoreConfig,
        recovered: Vec<RecoveredShard>,
        applied: &[(ShardId, LogIndex)],
        reader: &LogReader,
    ) -> Result<Self, StartError> {
        if config.node == NodeId(raft::INVALID_ID) {
            return Err(StartError::NodeZero);
        }
        let shards = usize::from(config.shards);
        let mut core = Self {
            config: config.clone(),
            reader: reader.clone(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            groups: (0..shards).map(|_| None).collect(),
            votes: vec![Vote::default(); shards],
            touched: Vec::with_capacity(shards),
            is_touched: vec![false; shards],
            untold: Vec::new(),
            links: Links::new(config.elections.lost_after()),
            leaving: Vec::new(),
            left: VecDeque::new(),
            batches: VecDeque::new(),
            next_batch: 1,
            spare: None,
            gathered: Round::default(),
        };
        for (shard, vote, start) in open::starts(config, recovered, applied)? {
            core.votes[usize::from(shard.0)] = vote;
            if let Some(start) = start {
                core.begin(shard, start)?;
            }
        }
        Ok(core)
    }

    /// Moves the clock of every group that has peers and is awake, by one tick: groups that woke meanwhile have not waited
    /// for longer. Silence of nodes is counted in all `ticks` since the last call. Gives the ticks before which
    /// nothing can come of the next call, unless there is an input: one while any group is awake.
    pub fn tick(&mut self, ticks: usize) -> usize {
        self.tell_commits();
        for node in self.links.tick(ticks) {
            self.lost(node);
        }
        let mut is_awake = false;
        for at in 0..self.config.shards {
            if self.groups[usize::from(at)].as_mut().is_some_and(Group::tick) {
                self.touch(at);
                is_awake = true;
            }
        }
        if is_awake { 1 } else { self.links.next_loss().unwrap_or(usize::MAX) }
    }

    /// Tells followers what is committed, where no entry did meanwhile. A message of its own for each commit would double
    /// what nodes say to each other.
    fn tell_commits(&mut self) {
        for at in std::mem::take(&mut self.untold) {
            if self.groups[usize::from(at)].as_mut().is_some_and(Group::tell_commit) {
                self.touch(at);
            }
        }
    }

    /// A frame came from a node, whether or not it holds messages; `boot` names the process there. It came so many ticks
    /// after those that [`Core::tick`] was told of.
    pub fn heard(&mut self, from: NodeId, boot: u64, uncounted: usize) {
        if self.links.heard(from, boot, uncounted) {
            self.lost(from);
        }
    }

    /// Takes in a message of a peer. The snapshot it names, if any, is durable on this node.
    pub fn receive(&mut self, message: PeerMessage) {
        let shard = message.shard;
        let Some(place) = self.groups.get_mut(usize::from(shard.0)) else { return };
        if place.is_none() && message.comes_from_leader() {
            // A leader has made this node a learner; its snapshot follows.
            let start = Start::unknown(self.votes[usize::from(shard.0)]);
            match start.group(shard, &self.config, self.reader.clone(), &self.logger) {
                Ok(group) => *place = Some(group),
                Err(error) => tracing::error!(shard = shard.0, %error, "a replica cannot begin"),
            }
        }
        if let Some(group) = place {
            group.receive(message.message);
            self.touch(shard.0);
        }
    }

    /// Takes in a proposal decided in `term`. The token comes back with the entry or with the reason of the refusal.
    pub fn propose(&mut self, shard: ShardId, term: Term, data: Bytes, token: T) {
        if data.is_empty() || data.len() > PROPOSAL_BYTES_MAX {
            let size = ProposeError::Size { shard, bytes: data.len(), bytes_max: PROPOSAL_BYTES_MAX };
            self.gathered.rejected.push((token, size));
            return;
        }
        match self.group_mut(shard) {
            Some(group) => {
                group.propose(term, data, token);
                self.touch(shard.0);
            }
            None => self.gathered.rejected.push((token, self.absent(shard))),
        }
    }

    /// Takes in a read: its token comes back once this node is known to lead and everything committed by now is applied.
    pub fn read(&mut self, shard: ShardId, token: T) {
        match self.group_mut(shard) {
            Some(group) => {
                group.read(token);
                self.touch(shard.0);
            }
            None => self.gathered.rejected.push((token, self.absent(shard))),
        }
    }

    /// Begins to change who holds a shard that this node leads, to these voters and learners.
    ///
    /// # Errors
    /// When it has to wait, or somebody else has to do it.
    pub fn change(&mut self, shard: ShardId, voters: &[NodeId], learners: &[NodeId]) -> Result<(), ChangeError> {
        self.group_mut(shard).ok_or(ChangeError::NoSuchShard { shard })?.change(voters, learners)?;
        self.touch(shard.0);
        Ok(())
    }

    /// Begins to move the leadership of a shard that this node leads.
    ///
    /// # Errors
    /// When it has to wait, or somebody else has to do it.
    pub fn transfer(&mut self, shard: ShardId, to: NodeId) -> Result<(), ChangeError> {
        self.group_mut(shard).ok_or(ChangeError::NoSuchShard { shard })?.transfer(to)?;
        self.touch(shard.0);
        Ok(())
    }

    /// Lets a shard leave this node, whose replica is no member any more. Whoever calls has asked the shard's leader, which
    /// made sure that it still leads, after it had seen `heard` messages of leaders here: a later one may be of a leader
    /// that took this node in again and counts on what it holds. False when the shard stays.
    pub fn leave(&mut self, shard: ShardId, heard: u64) -> bool {
        let Some(place) = self.groups.get_mut(usize::from(shard.0)) else { return false };
        let stays = |group: &Group<T>| group.leads() || group.heard() != heard;
        let Some(mut group) = place.take_if(|group| !stays(group)) else { return false };
        group.abandon(&mut self.gathered.rejected);
        self.votes[usize::from(shard.0)] = group.vote();
        self.leaving.push(shard.0);
        true
    }

    /// Has the state of a shard, which is wrong, replaced by the snapshot of another replica: asks its leader for one
    /// until it comes. Meanwhile this node is no ready leader of it, gives a leadership away, and offers no snapshot.
    /// False when there is nobody else to learn from, or it is under way already.
    pub fn reseed(&mut self, shard: ShardId) -> bool {
        let begins = self.group_mut(shard).is_some_and(Group::reseed);
        if begins {
            self.touch(shard.0);
        }
        begins
    }

    /// How many messages of leaders a shard has seen here, for [`Core::leave`].
    pub fn heard_of_leaders(&self, shard: ShardId) -> u64 {
        self.group(shard).map_or(0, Group::heard)
    }

    /// Batch `number` is durable; `positions` says where its records lie. Batches become durable in order, and come back
    /// empty.
    pub fn persisted(&mut self, number: u64, positions: &[Position], emptied: Batch) {
        self.spare = Some(emptied);
        let (expected, shards) = self.batches.pop_front().expect("only submitted batches become durable");
        assert_eq!(number, expected, "batches become durable in order");
        for shard in shards {
            if let Some(group) = &mut self.groups[usize::from(shard)] {
                group.persisted(number, positions, &mut self.gathered);
                self.touch(shard);
            }
        }
        while let Some((batch, shard)) = self.left.front().copied()
            && batch <= number
        {
            self.left.pop_front();
            // Unless it is back already, and what the state machine has is its.
            if self.groups[usize::from(shard)].is_none() {
                self.gathered.left.push(ShardId(shard));
            }
        }
    }

    /// A durable snapshot of the shard's store covers its log up to `index`.
    pub fn snapshot_taken(&mut self, shard: ShardId, index: LogIndex) {
        if self.group_mut(shard).is_some_and(|group| group.snapshot_taken(index)) {
            self.touch(shard.0);
        }
    }

    /// A durable snapshot of the shard's store at `index` lies ready for peers.
    pub fn offer_snapshot(&mut self, shard: ShardId, index: LogIndex) {
        if let Some(group) = self.group_mut(shard) {
            group.offer_snapshot(index);
        }
    }

    /// One round over the touched groups: everything they want done, their writes in one batch.
    pub fn round(&mut self) -> Round<T> {
        let mut round = std::mem::take(&mut self.gathered);
        let mut writing = Writing { number: self.next_batch, batch: self.spare.take().unwrap_or_default() };
        let mut writers = Vec::new();
        for shard in std::mem::take(&mut self.leaving) {
            writing.batch.push(ShardId(shard), RecordKind::Purge, Term(0), LogIndex(0), &[]);
            self.left.push_back((writing.number, shard));
        }
        let touched = std::mem::take(&mut self.touched);
        for &shard in &touched {
            self.is_touched[usize::from(shard)] = false;
            let records = writing.batch.records().len();
            let Some(group) = &mut self.groups[usize::from(shard)] else { continue };
            let goes_on = group.round(&mut writing, &mut round);
            if group.notes_untold() {
                self.untold.push(shard);
            }
            if goes_on {
                self.touch(shard);
            }
            if writing.batch.records().len() > records {
                writers.push(shard);
            }
        }
        round.touched = touched;
        if writing.batch.is_empty() {
            self.spare = Some(writing.batch);
        } else {
            self.batches.push_back((writing.number, writers));
            self.next_batch += 1;
            round.batch = Some((writing.number, writing.batch));
        }
        round
    }

    /// How many shards there are, here or elsewhere.
    pub(crate) fn shards(&self) -> u16 {
        self.config.shards
    }

    /// Whether a round would find something to do.
    pub fn has_work(&self) -> bool {
        !self.touched.is_empty() || !self.leaving.is_empty() || !self.gathered.is_empty()
    }

    /// Batches handed out and not reported durable.
    pub fn batches_in_flight(&self) -> usize {
        self.batches.len()
    }

    /// Answers everything that waits: the core is about to be dropped.
    pub fn abandon(&mut self) -> Vec<(T, ProposeError)> {
        let mut rejected = std::mem::take(&mut self.gathered.rejected);
        for group in self.groups.iter_mut().flatten() {
            group.abandon(&mut rejected);
        }
        rejected
    }

    /// How a shard stands; nothing when this node does not hold it.
    pub fn status(&self, shard: ShardId) -> Option<ShardStatus> {
        self.group(shard).map(Group::status)
    }

    /// Who holds a shard, as far as this node knows; nothing when it does not hold it itself.
    pub fn members(&self, shard: ShardId) -> Option<&Members> {
        self.group(shard).map(Group::members)
    }

    /// How far the other replicas of a shard are that this node leads.
    pub fn peers(&self, shard: ShardId) -> Vec<PeerProgress> {
        self.group(shard).map(Group::peers).unwrap_or_default()
    }

    fn begin(&mut self, shard: ShardId, start: Start) -> Result<(), StartError> {
        let missed = start.missed();
        let mut group = start.group(shard, &self.config, self.reader.clone(), &self.logger)?;
        let missed = group.missed(missed).map_err(|source| StartError::Library { shard, source })?;
        self.gathered.committed.extend(missed);
        if group.votes_alone() {
            // Nobody else could win, so there is nothing to wait for.
            group.campaign();
        }
        self.groups[usize::from(shard.0)] = Some(group);
        self.touch(shard.0);
        Ok(())
    }

    fn lost(&mut self, node: NodeId) {
        for at in 0..self.config.shards {
            if self.groups[usize::from(at)].as_mut().is_some_and(|group| group.lost(node)) {
                self.touch(at);
            }
        }
    }

    fn group(&self, shard: ShardId) -> Option<&Group<T>> {
        self.groups.get(usize::from(shard.0))?.as_ref()
    }

    fn group_mut(&mut self, shard: ShardId) -> Option<&mut Group<T>> {
        self.groups.get_mut(usize::from(shard.0))?.as_mut()
    }

    /// Why a shard that is not here takes nothing.
    fn absent(&self, shard: ShardId) -> ProposeError {
        if shard.0 < self.config.shards {
            ProposeError::NotLeader { shard, leader: None }
        } else {
            ProposeError::NoSuchShard { shard }
        }
    }

    fn touch(&mut self, shard: u16) {
        if !std::mem::replace(&mut self.is_touched[usize::from(shard)], true) {
            self.touched.push(shard);
        }
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;

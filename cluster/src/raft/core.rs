//! The consensus of all shards of one node, without threads, clocks or disks. The driver and the simulation run it.
//!
//! Inputs are method calls; [`Core::round`] then says what to write, send, apply and answer. Idle groups cost nothing.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::log::{Batch, LogReader, Position, RecoveredShard};
use crate::raft::group::{Group, Writing};
use crate::raft::open::Start;
use crate::raft::{ElectionTicks, PeerMessage, ProposeError, Round, ShardStatus, StartError};

/// Bytes of one proposal. Larger things are blobs, and an entry must fit one record of the log.
pub const PROPOSAL_BYTES_MAX: usize = 8 << 20;

/// What the core of one node is made of.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// This node; not 0.
    pub node: NodeId,
    /// How many shards there are; this node holds all of them.
    pub shards: u16,
    /// The nodes that vote in every shard. One voter needs no ticks and no peers.
    pub voters: Vec<NodeId>,
    /// Heartbeat and election times.
    pub elections: ElectionTicks,
    /// Where the randomness of elections starts.
    pub seed: u64,
    /// Payload bytes of durable entries each shard keeps in memory; older ones are read back from the log.
    pub cached_bytes_max: usize,
}

/// All groups of one node. `T` is what a caller wants back when its proposal is applied or refused.
pub struct Core<T> {
    groups: Vec<Group<T>>,
    /// Groups with something to do, each once.
    touched: Vec<u16>,
    is_touched: Vec<bool>,
    /// Groups with peers, which heed the clock.
    ticking: Vec<u16>,
    /// Batches that are not durable yet and the groups that wrote them.
    batches: VecDeque<(u64, Vec<u16>)>,
    next_batch: u64,
    /// A written batch, emptied, for its memory.
    spare: Option<Batch>,
    /// What inputs produced since the last round.
    gathered: Round<T>,
}

impl<T> Core<T> {
    /// Starts every group from the recovered log and the store's applied indexes; a missing shard is a new one.
    pub fn open(
        config: &CoreConfig,
        recovered: Vec<RecoveredShard>,
        applied: &[(ShardId, LogIndex)],
        reader: &LogReader,
    ) -> Result<Self, StartError> {
        if config.node == NodeId(raft::INVALID_ID) {
            return Err(StartError::NodeZero);
        }
        if !config.voters.contains(&config.node) {
            return Err(StartError::NotAVoter { node: config.node, voters: config.voters.clone() });
        }
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let mut groups = Vec::with_capacity(usize::from(config.shards));
        for (shard, start) in starts(config.shards, recovered, applied)? {
            groups.push(start.group(shard, config, reader.clone(), &logger)?);
        }
        Ok(Self::of(groups))
    }

    /// Moves the clock of every group that has peers.
    pub fn tick(&mut self) {
        for at in 0..self.ticking.len() {
            let shard = self.ticking[at];
            self.groups[usize::from(shard)].tick();
            self.touch(shard);
        }
    }

    /// Takes in a message of a peer.
    pub fn receive(&mut self, message: PeerMessage) {
        if let Some(group) = self.groups.get_mut(usize::from(message.shard.0)) {
            group.receive(message.message);
            self.touch(message.shard.0);
        }
    }

    /// Takes in a proposal decided in `term`. The token comes back with the entry or with the reason of the refusal.
    pub fn propose(&mut self, shard: ShardId, term: Term, data: Bytes, token: T) {
        if data.is_empty() || data.len() > PROPOSAL_BYTES_MAX {
            let size = ProposeError::Size { shard, bytes: data.len(), bytes_max: PROPOSAL_BYTES_MAX };
            self.gathered.rejected.push((token, size));
            return;
        }
        match self.groups.get_mut(usize::from(shard.0)) {
            Some(group) => {
                group.propose(term, data, token);
                self.touch(shard.0);
            }
            None => self.gathered.rejected.push((token, ProposeError::NoSuchShard { shard })),
        }
    }

    /// Batch `number` is durable; `positions` says where its records lie. Batches become durable in order, and come back
    /// empty.
    pub fn persisted(&mut self, number: u64, positions: &[Position], emptied: Batch) {
        self.spare = Some(emptied);
        let (expected, shards) = self.batches.pop_front().expect("only submitted batches become durable");
        assert_eq!(number, expected, "batches become durable in order");
        for shard in shards {
            self.groups[usize::from(shard)].persisted(number, positions, &mut self.gathered);
            self.touch(shard);
        }
    }

    /// A durable snapshot of the shard's store covers its log up to `index`.
    pub fn snapshot_taken(&mut self, shard: ShardId, index: LogIndex) {
        if let Some(group) = self.groups.get_mut(usize::from(shard.0))
            && group.snapshot_taken(index)
        {
            self.touch(shard.0);
        }
    }

    /// One round over the touched groups: everything they want done, their writes in one batch.
    pub fn round(&mut self) -> Round<T> {
        let mut round = std::mem::take(&mut self.gathered);
        let mut writing = Writing { number: self.next_batch, batch: self.spare.take().unwrap_or_default() };
        let mut writers = Vec::new();
        let touched = std::mem::take(&mut self.touched);
        for &shard in &touched {
            self.is_touched[usize::from(shard)] = false;
            let records = writing.batch.records().len();
            if self.groups[usize::from(shard)].round(&mut writing, &mut round) {
                self.touch(shard);
            }
            if writing.batch.records().len() > records {
                writers.push(shard);
            }
        }
        round.touched = touched;
        if !writers.is_empty() {
            self.batches.push_back((writing.number, writers));
            self.next_batch += 1;
            round.batch = Some((writing.number, writing.batch));
        } else {
            self.spare = Some(writing.batch);
        }
        round
    }

    /// Whether a round would find something to do.
    pub fn has_work(&self) -> bool {
        !self.touched.is_empty() || !self.gathered.is_empty()
    }

    /// Batches handed out and not reported durable.
    pub fn batches_in_flight(&self) -> usize {
        self.batches.len()
    }

    /// Answers everything that waits: the core is about to be dropped.
    pub fn abandon(&mut self) -> Vec<(T, ProposeError)> {
        let mut rejected = std::mem::take(&mut self.gathered.rejected);
        for group in &mut self.groups {
            group.abandon(&mut rejected);
        }
        rejected
    }

    /// How a shard stands.
    pub fn status(&self, shard: ShardId) -> Option<ShardStatus> {
        self.groups.get(usize::from(shard.0)).map(Group::status)
    }

    fn of(groups: Vec<Group<T>>) -> Self {
        let mut core = Self {
            touched: Vec::with_capacity(groups.len()),
            is_touched: vec![false; groups.len()],
            ticking: Vec::new(),
            batches: VecDeque::new(),
            next_batch: 1,
            spare: None,
            gathered: Round::default(),
            groups,
        };
        for (shard, group) in (0..).zip(&mut core.groups) {
            if group.votes_alone() {
                // Nobody else could win, so there is nothing to wait for.
                group.campaign();
                core.touched.push(shard);
                core.is_touched[usize::from(shard)] = true;
            } else {
                core.ticking.push(shard);
            }
        }
        core
    }

    fn touch(&mut self, shard: u16) {
        if !std::mem::replace(&mut self.is_touched[usize::from(shard)], true) {
            self.touched.push(shard);
        }
    }
}

/// What every configured shard starts from, in order.
fn starts(
    shards: u16,
    recovered: Vec<RecoveredShard>,
    applied: &[(ShardId, LogIndex)],
) -> Result<Vec<(ShardId, Start)>, StartError> {
    let mut found: Vec<Option<RecoveredShard>> = (0..shards).map(|_| None).collect();
    for recovered in recovered {
        let shard = recovered.shard;
        *found.get_mut(usize::from(shard.0)).ok_or(StartError::UnknownShard { shard, shards })? = Some(recovered);
    }
    let mut starts = Vec::with_capacity(found.len());
    for (number, recovered) in (0..).zip(found) {
        let shard = ShardId(number);
        let applied = applied.iter().find(|(of, _)| *of == shard).map_or(LogIndex(0), |(_, index)| *index);
        let recovered =
            recovered.unwrap_or(RecoveredShard { shard, hard_state: None, snapshot: None, entries: Vec::new() });
        starts.push((shard, Start::new(recovered, applied)?));
    }
    Ok(starts)
}

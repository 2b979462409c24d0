//! One simulated node: its lives over one disk and one store, and what is asked of the production core meanwhile. How
//! the core's rounds get to disk and store stands in `rounds.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use steward_cluster::ids::{LogIndex, NodeId, ShardId, Term};
use steward_cluster::log::{Batch, Log, LogConfig, LogError, Position, RecoveredShard};
use steward_cluster::raft::{Core, CoreConfig, ElectionTicks, Members, PeerMessage, ShardDetail, StartError};

use crate::disk::FusedDisk;
use crate::fault::Fault;
use crate::invariants::{Violation, r1_durability, r6_reads};
use crate::oracle::{self, Oracle};
use crate::rounds::Work;
use crate::store::Store;

/// Small, so that purged segments are dropped within a run.
const SEGMENT_BYTES: u64 = 4 << 10;
/// Small, so that payloads are read back from the log.
const CACHED_BYTES_MAX: usize = 1 << 10;
/// Set in the tokens of reads, to tell them from those of proposals.
pub(crate) const READ: u64 = 1 << 63;

/// A node; its disk and its store's durable part outlive its lives.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) store: Store,
    /// How often it was started.
    pub(crate) lives: u32,
    pub(crate) life: Option<Life>,
    pub(crate) disk: FusedDisk,
    pub(crate) fault: Fault,
    config: CoreConfig,
}

/// What a crash takes away.
pub(crate) struct Life {
    pub(crate) core: Core<u64>,
    pub(crate) log: Log,
    /// Batches on their way to the disk.
    pub(crate) writes: VecDeque<(u64, Batch)>,
    /// Batches that are durable, on their way back to the core.
    pub(crate) durable: VecDeque<(u64, Vec<Position>)>,
    /// Rounds on their way to the store.
    pub(crate) rounds: VecDeque<Work>,
    /// The terms in which each shard said here that it is ready.
    pub(crate) terms: Vec<Vec<Term>>,
    /// The shards this node leads and is ready in.
    pub(crate) ready: Vec<bool>,
}

impl Node {
    pub(crate) fn new(id: NodeId, founders: Vec<NodeId>, shards: u16, seed: u64, fault: Fault) -> Self {
        let elections = ElectionTicks { heartbeat: 2, silence_min: 8, silence_max: 16, rest_after: 6 };
        // A batch that is nowhere can not be read back.
        let cached_bytes_max = if fault == Fault::EarlyDurable { usize::MAX } else { CACHED_BYTES_MAX };
        let founders = if founders.contains(&id) { founders } else { Vec::new() };
        let config = CoreConfig { node: id, shards, founders, elections, seed, cached_bytes_max };
        Self { id, store: Store::new(shards), lives: 0, life: None, disk: FusedDisk::new(), config, fault }
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.config.shards).map(ShardId)
    }

    /// Starts from what the disk and the store hold. Has no life afterwards when the power went meanwhile.
    pub(crate) fn start(&mut self) -> Result<(), Violation> {
        let config =
            LogConfig { segment_bytes: SEGMENT_BYTES, reserve_bytes: 0, floor_bytes: 0, sync_delay: Duration::ZERO };
        let (log, recovered) = match Log::open(Arc::new(self.disk.clone()), config) {
            Ok(opened) => opened,
            Err(LogError::Io { .. }) => return Ok(()),
            Err(unsound) => panic!("{} does not start: {unsound}", self.id),
        };
        for found in &recovered {
            let base = found.snapshot.map_or(LogIndex(0), |(index, _)| index);
            self.store.settle_incoming(found.shard, base);
        }
        let core = loop {
            match self.open_core(&log, recovered.clone()) {
                Ok(core) => break core,
                Err(StartError::StoreBehindLog { shard, first, .. }) => {
                    let rebuilt = self.store.rebuild(shard);
                    assert!(
                        rebuilt.0 + 1 >= first.0,
                        "{shard} was purged up to {first:?}, its snapshot is of {rebuilt:?}"
                    );
                }
                Err(behind @ StartError::LogBehindStore { .. }) => {
                    return Err(r1_durability::log_behind_store(behind.to_string()));
                }
                Err(other) => panic!("{} does not start: {other}", self.id),
            }
        };
        // A shard that left is forgotten here too when the power went in between.
        for shard in self.shards().filter(|shard| core.status(*shard).is_none()) {
            self.store.clear(shard);
        }
        self.lives += 1;
        let shards = usize::from(self.config.shards);
        self.life = Some(Life {
            core,
            log,
            writes: VecDeque::new(),
            durable: VecDeque::new(),
            rounds: VecDeque::new(),
            terms: vec![Vec::new(); shards],
            ready: vec![false; shards],
        });
        Ok(())
    }

    fn open_core(&self, log: &Log, recovered: Vec<RecoveredShard>) -> Result<Core<u64>, StartError> {
        let applied: Vec<_> = self
            .shards()
            .map(|shard| {
                let applied = self.store.applied(shard);
                let first = recovered.iter().find(|found| found.shard == shard).and_then(|found| found.snapshot);
                let may_lie =
                    self.fault == Fault::AppliedTwice && applied > first.map_or(LogIndex(0), |(index, _)| index);
                (shard, if may_lie { LogIndex(applied.0 - 1) } else { applied })
            })
            .collect();
        Core::open(&self.config, recovered, &applied, &log.reader())
    }

    /// Pulls the plug.
    pub(crate) fn crash(&mut self, rng: &mut StdRng) {
        self.life = None;
        self.store.crash();
        self.disk.crash(rng);
    }

    pub(crate) fn propose(&mut self, oracle: &mut Oracle, shard: ShardId, term: Term, padding: usize) {
        let by = self.name();
        let Some(life) = &mut self.life else { return };
        let number = oracle.propose(shard, term, by);
        let mut data = number.to_le_bytes().to_vec();
        data.resize(data.len() + padding, 0);
        let is_passed_off = self.fault == Fault::TermUnchecked;
        let current = life.core.status(shard).map(|status| status.term);
        let term = current.filter(|_| is_passed_off).unwrap_or(term);
        life.core.propose(shard, term, Bytes::from(data), number);
    }

    /// Asks for a read; its answer is checked against what was acknowledged by now.
    pub(crate) fn read(&mut self, oracle: &mut Oracle, shard: ShardId) -> Result<(), Violation> {
        let number = oracle.read(shard);
        self.read_as(oracle, shard, number)
    }

    /// Asks this node, as a leader, whether another one that has heard so much still holds a shard.
    pub(crate) fn ask_about(
        &mut self,
        oracle: &mut Oracle,
        shard: ShardId,
        who: (NodeId, u64),
    ) -> Result<(), Violation> {
        let number = oracle.read(shard);
        oracle.leaving.insert(number, who);
        self.read_as(oracle, shard, number)
    }

    fn read_as(&mut self, oracle: &mut Oracle, shard: ShardId, number: u64) -> Result<(), Violation> {
        let leads = self.life.as_ref().is_some_and(|life| life.ready[usize::from(shard.0)]);
        if self.fault == Fault::StaleRead && leads {
            return r6_reads::on_answer(oracle, &self.store, number);
        }
        if let Some(life) = &mut self.life {
            life.core.read(shard, number | READ);
        }
        Ok(())
    }

    pub(crate) fn change(&mut self, oracle: &mut Oracle, shard: ShardId, voters: &[NodeId], learners: &[NodeId]) {
        if let Some(life) = &mut self.life
            && life.core.change(shard, voters, learners).is_ok()
        {
            oracle.changes += 1;
        }
    }

    pub(crate) fn transfer(&mut self, shard: ShardId, to: NodeId) {
        if let Some(life) = &mut self.life {
            life.core.transfer(shard, to).ok(); // Whoever can not, need not.
        }
    }

    /// A shard as its driver would see it.
    pub(crate) fn detail(&self, shard: ShardId) -> Option<ShardDetail> {
        let core = &self.life.as_ref()?.core;
        let (status, members) = (core.status(shard)?, core.members(shard)?.clone());
        Some(ShardDetail { shard, status, members, peers: core.peers(shard), heard: core.heard_of_leaders(shard) })
    }

    pub(crate) fn reseed(&mut self, shard: ShardId) -> bool {
        self.life.as_mut().is_some_and(|life| life.core.reseed(shard))
    }

    /// Who holds a shard, as this node sees it.
    pub(crate) fn members(&self, shard: ShardId) -> Option<&Members> {
        self.life.as_ref()?.core.members(shard)
    }

    pub(crate) fn is_parked(&self, shard: ShardId) -> bool {
        self.life.as_ref().and_then(|life| life.core.status(shard)).is_some_and(|status| status.is_parked)
    }

    /// How a shard stands here, in words.
    pub(crate) fn standing(&self, shard: ShardId) -> String {
        let Some(life) = &self.life else { return "down".to_owned() };
        let Some(status) = life.core.status(shard) else { return "not here".to_owned() };
        let (peers, store) = (life.core.peers(shard), self.store.applied(shard));
        format!("{status:?} {:?} {peers:?}, store at {store:?}", life.core.members(shard))
    }

    /// How much it has heard of leaders of a shard.
    pub(crate) fn heard_of_leaders(&self, shard: ShardId) -> u64 {
        self.life.as_ref().map_or(0, |life| life.core.heard_of_leaders(shard))
    }

    pub(crate) fn leave(&mut self, shard: ShardId, heard: u64) {
        if let Some(life) = &mut self.life {
            life.core.leave(shard, heard);
        }
    }

    /// The clock moves, by more than one tick when the driver slept because all groups do.
    pub(crate) fn tick(&mut self, ticks: usize) {
        if let Some(life) = &mut self.life {
            life.core.tick(ticks);
        }
    }

    /// A sign of life from a node in its so manyeth life.
    pub(crate) fn heard(&mut self, from: NodeId, lives: u32) {
        self.life.iter_mut().for_each(|life| life.core.heard(from, u64::from(lives), 0));
    }

    pub(crate) fn receive(&mut self, message: PeerMessage) {
        self.life.iter_mut().for_each(|life| life.core.receive(message.clone()));
    }

    /// Whether nothing will happen without an input.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_busy() && self.life.as_ref().is_some_and(|life| !life.core.has_work())
    }

    pub(crate) fn name(&self) -> oracle::Life {
        (self.id, self.lives)
    }
}

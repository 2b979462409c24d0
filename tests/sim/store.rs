//! A model of the state store: what each shard has applied, what of it is durable, and the snapshots taken of it.

use steward_cluster::ids::{LogIndex, ShardId, Term};

/// An applied entry: its term and the number of the proposal it carries, 0 for a leader's first entry.
pub(crate) type Entry = (Term, u64);

/// The store of one node. Position `i` of a shard holds the entry of index `i + 1`.
pub(crate) struct Store {
    shards: Vec<Shard>,
}

#[derive(Clone, Default)]
struct Shard {
    applied: Vec<Entry>,
    durable: usize,
    snapshot: Vec<Entry>,
}

impl Store {
    pub(crate) fn new(shards: u16) -> Self {
        Self { shards: vec![Shard::default(); usize::from(shards)] }
    }

    pub(crate) fn entries(&self, shard: ShardId) -> &[Entry] {
        &self.shards[usize::from(shard.0)].applied
    }

    pub(crate) fn applied(&self, shard: ShardId) -> LogIndex {
        index(self.entries(shard).len())
    }

    pub(crate) fn push(&mut self, shard: ShardId, entry: Entry) {
        self.shards[usize::from(shard.0)].applied.push(entry);
    }

    /// What survives a power cut.
    pub(crate) fn durable(&self, shard: ShardId) -> LogIndex {
        index(self.shards[usize::from(shard.0)].durable)
    }

    pub(crate) fn sync(&mut self) {
        for shard in &mut self.shards {
            shard.durable = shard.applied.len();
        }
    }

    /// Takes a durable snapshot of the shard's durable state, but of no more than `max`; gives the index of the newest
    /// snapshot. An older state never replaces it: the log may be gone up to there.
    pub(crate) fn take_snapshot(&mut self, shard: ShardId, max: LogIndex) -> LogIndex {
        let shard = &mut self.shards[usize::from(shard.0)];
        let length = (0..shard.durable).take_while(|at| index(*at) < max).count();
        if length > shard.snapshot.len() {
            shard.snapshot = shard.applied[..length].to_vec();
        }
        index(shard.snapshot.len())
    }

    pub(crate) fn crash(&mut self) {
        for shard in &mut self.shards {
            shard.applied.truncate(shard.durable);
        }
    }

    /// The engine refused to open: all is gone but the snapshots.
    pub(crate) fn lose(&mut self) {
        for shard in &mut self.shards {
            shard.applied.clear();
            shard.durable = 0;
        }
    }

    /// Fills the shard from its snapshot; gives the index it holds then.
    pub(crate) fn rebuild(&mut self, shard: ShardId) -> LogIndex {
        let shard = &mut self.shards[usize::from(shard.0)];
        shard.applied.clone_from(&shard.snapshot);
        shard.durable = shard.applied.len();
        index(shard.durable)
    }
}

fn index(length: usize) -> LogIndex {
    LogIndex(u64::try_from(length).expect("a length in memory fits 64 bits"))
}

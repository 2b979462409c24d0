//! A model of the state store: what each shard has applied, what of it is durable, and the snapshots taken of it.

use std::collections::BTreeMap;

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
    /// Fetched from peers, durable, and not in place yet.
    incoming: BTreeMap<LogIndex, Vec<Entry>>,
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

    pub(crate) fn sync(&mut self) {
        for shard in &mut self.shards {
            shard.durable = shard.applied.len();
        }
    }

    /// Takes a durable snapshot of the shard's durable state; gives the index of the newest snapshot. An older state never
    /// replaces it: the log may be gone up to there.
    pub(crate) fn take_snapshot(&mut self, shard: ShardId) -> LogIndex {
        let shard = &mut self.shards[usize::from(shard.0)];
        if shard.durable > shard.snapshot.len() {
            shard.snapshot = shard.applied[..shard.durable].to_vec();
        }
        index(shard.snapshot.len())
    }

    /// The snapshot at an index, if it is still the newest.
    pub(crate) fn snapshot(&self, shard: ShardId, at: LogIndex) -> Option<Vec<Entry>> {
        let snapshot = &self.shards[usize::from(shard.0)].snapshot;
        (index(snapshot.len()) == at).then(|| snapshot.clone())
    }

    /// A snapshot came from a peer.
    pub(crate) fn fetched(&mut self, shard: ShardId, snapshot: Vec<Entry>) {
        self.shards[usize::from(shard.0)].incoming.insert(index(snapshot.len()), snapshot);
    }

    /// Puts the fetched snapshot in place of what there is. Nothing of it is durable but the snapshot itself. One that was
    /// put in place before may be so again: a replica that wants another state gets that of the same index.
    pub(crate) fn install(&mut self, shard: ShardId, at: LogIndex) {
        let shard = &mut self.shards[usize::from(shard.0)];
        let placed = Some(&shard.snapshot).filter(|snapshot| index(snapshot.len()) == at).cloned();
        let incoming = shard.incoming.remove(&at).or(placed).expect("a snapshot is fetched before it is installed");
        shard.applied.clone_from(&incoming);
        shard.snapshot = incoming;
        shard.durable = 0;
    }

    /// At a start: a fetched snapshot counts only when the log says that it replaced everything before.
    pub(crate) fn settle_incoming(&mut self, shard: ShardId, base: LogIndex) {
        let shard = &mut self.shards[usize::from(shard.0)];
        if let Some(incoming) = shard.incoming.remove(&base) {
            shard.snapshot = incoming;
        }
        shard.incoming.clear();
    }

    /// The shard is gone from this node. It may be on its way back already.
    pub(crate) fn clear(&mut self, shard: ShardId) {
        let shard = &mut self.shards[usize::from(shard.0)];
        *shard = Shard { incoming: std::mem::take(&mut shard.incoming), ..Shard::default() };
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

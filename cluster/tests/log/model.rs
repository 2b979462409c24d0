//! What a log should remember, kept in plain maps; and random but lawful writes, as a Raft driver would make them.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};
use steward_cluster::log::{Batch, LogReader, RecordKind, RecoveredShard};

use crate::push;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) hard_state: Option<Vec<u8>>,
    pub(crate) snapshot: Option<(u64, u64)>,
    /// Index, term and payload.
    pub(crate) entries: Vec<(u64, u64, Vec<u8>)>,
    pub(crate) changes: BTreeSet<u64>,
    pub(crate) members: Option<(u64, Vec<u8>)>,
}

/// All shards that ever wrote a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) shards: BTreeMap<u16, Shard>,
}

impl Shard {
    fn covered(&self) -> u64 {
        self.snapshot.map_or(0, |(index, _)| index)
    }

    fn last(&self) -> (u64, u64) {
        self.entries.last().map_or(self.snapshot.unwrap_or((0, 0)), |(index, term, _)| (*index, *term))
    }
}

impl Model {
    /// What recovery found, with every payload read back.
    pub(crate) fn of(recovered: Vec<RecoveredShard>, reader: &LogReader) -> Self {
        let mut shards = BTreeMap::new();
        for found in recovered {
            let mut entries = Vec::new();
            for (index, term, position) in found.entries {
                let record = reader.read(position).expect("a recovered entry can be read");
                let kind = if found.changes.contains(&index) { RecordKind::Change } else { RecordKind::Entry };
                assert_eq!((record.shard, record.kind), (found.shard, kind));
                assert_eq!((record.index, record.term), (index, term));
                entries.push((index.0, term.0, record.payload.to_vec()));
            }
            let snapshot = found.snapshot.map(|(index, term)| (index.0, term.0));
            let hard_state = found.hard_state.map(|bytes| bytes.to_vec());
            let changes = found.changes.iter().map(|index| index.0).collect();
            let members = found.members.map(|(since, bytes)| (since.0, bytes.to_vec()));
            shards.insert(found.shard.0, Shard { hard_state, snapshot, entries, changes, members });
        }
        Self { shards }
    }

    /// Makes up a lawful batch and takes it in.
    pub(crate) fn write(&mut self, random: &mut SmallRng, batch: &mut Batch) {
        for _ in 0..random.random_range(1..5) {
            let number = random.random_range(0..3);
            let shard = self.shards.entry(number).or_default();
            match random.random_range(0..10) {
                0..5 => shard.append(random, number, batch),
                5 => shard.conflict(random, number, batch),
                6 => shard.vote(random, number, batch),
                7 => shard.members(random, number, batch),
                8 => shard.compact(random, number, batch),
                _ => shard.install(random, number, batch),
            }
        }
        self.shards.retain(|_, shard| *shard != Shard::default());
    }
}

impl Shard {
    fn append(&mut self, random: &mut SmallRng, number: u16, batch: &mut Batch) {
        for _ in 0..random.random_range(1..4) {
            let (index, term) = self.last();
            let mut payload = vec![0; random.random_range(0..60)];
            random.fill_bytes(&mut payload);
            let kind = if random.random_bool(0.2) { RecordKind::Change } else { RecordKind::Entry };
            push(batch, number, kind, term.max(1), index + 1, &payload);
            if kind == RecordKind::Change {
                self.changes.insert(index + 1);
            }
            self.entries.push((index + 1, term.max(1), payload));
        }
    }

    /// A new leader overwrites the end of the log.
    fn conflict(&mut self, random: &mut SmallRng, number: u16, batch: &mut Batch) {
        let (last, term) = self.last();
        let from = random.random_range(self.covered()..=last) + 1;
        self.entries.retain(|(index, ..)| *index < from);
        self.changes.retain(|index| *index < from);
        push(batch, number, RecordKind::Entry, term + 1, from, b"conflict");
        self.entries.push((from, term + 1, b"conflict".to_vec()));
    }

    /// The members since some entry, which need not be there any more.
    fn members(&mut self, random: &mut SmallRng, number: u16, batch: &mut Batch) {
        let (since, term) = self.last();
        let bytes = random.random::<u64>().to_le_bytes();
        push(batch, number, RecordKind::Members, term, since, &bytes);
        self.members = Some((since, bytes.to_vec()));
    }

    fn vote(&mut self, random: &mut SmallRng, number: u16, batch: &mut Batch) {
        let bytes = random.random::<u64>().to_le_bytes();
        push(batch, number, RecordKind::HardState, self.last().1, 0, &bytes);
        self.hard_state = Some(bytes.to_vec());
    }

    /// A snapshot of its own lets the shard forget the start of its log.
    fn compact(&mut self, random: &mut SmallRng, number: u16, batch: &mut Batch) {
        if self.entries.is_empty() {
            return;
        }
        let (index, term, _) = self.entries[random.random_range(0..self.entries.len())];
        push(batch, number, RecordKind::SnapshotMark, term, index, b"");
        self.snapshot = Some((index, term));
        self.entries.retain(|(at, ..)| *at > index);
        self.changes.retain(|at| *at > index);
    }

    /// A snapshot of another replica replaces everything.
    fn install(&mut self, random: &mut SmallRng, number: u16, batch: &mut Batch) {
        let (last, term) = self.last();
        let snapshot = (random.random_range(self.covered()..last + 5) + 1, term + 1);
        push(batch, number, RecordKind::Purge, 0, 0, b"");
        push(batch, number, RecordKind::SnapshotMark, snapshot.1, snapshot.0, b"");
        push(batch, number, RecordKind::Members, snapshot.1, snapshot.0, b"installed");
        self.snapshot = Some(snapshot);
        self.members = Some((snapshot.0, b"installed".to_vec()));
        self.entries.clear();
        self.changes.clear();
    }
}

//! One group's log as the consensus library sees it: terms in memory, recent payloads in memory, the rest on disk.
//!
//! Owned by a group; nobody else reads it.
//!
//! # Invariants
//! - **G1 contiguous**: terms are held for every index from the snapshot's successor to the last one.
//! - **G2 readable**: a payload leaves memory only after its place in the log is known.
//! - **G3 absence**: nothing is written here; the group puts the same entries into the batch of the round.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::ids::{LogIndex, NodeId, Term};
use crate::log::{LogReader, Position};
use crate::raft::vote::Vote;

/// What an entry costs beside its payload when a reader limits bytes.
const ENTRY_OVERHEAD_BYTES: u64 = 32;

/// An entry without its payload.
#[derive(Clone, Copy, Debug)]
struct Slot {
    term: u64,
    /// Known once the entry is durable.
    position: Option<Position>,
}

/// The log of one group.
pub(crate) struct GroupLog {
    vote: Vote,
    voters: Vec<u64>,
    /// Index and term of the last entry that only a snapshot holds.
    base: (u64, u64),
    slots: VecDeque<Slot>,
    /// Payloads of the last entries; the back one belongs to the last index.
    cache: VecDeque<Bytes>,
    cached_bytes: usize,
    cached_bytes_max: usize,
    reader: LogReader,
}

impl GroupLog {
    /// A log holding what was recovered. Entries follow `base` without a gap; the caller has checked that.
    pub(crate) fn new(
        vote: Vote,
        voters: &[NodeId],
        base: (LogIndex, Term),
        entries: impl Iterator<Item = (Term, Position)>,
        cached_bytes_max: usize,
        reader: LogReader,
    ) -> Self {
        Self {
            vote,
            voters: voters.iter().map(|node| node.0).collect(),
            base: (base.0.0, base.1.0),
            slots: entries.map(|(term, position)| Slot { term: term.0, position: Some(position) }).collect(),
            cache: VecDeque::new(),
            cached_bytes: 0,
            cached_bytes_max,
            reader,
        }
    }

    pub(crate) fn first(&self) -> u64 {
        self.base.0 + 1
    }

    pub(crate) fn last(&self) -> u64 {
        self.base.0 + widen(self.slots.len())
    }

    /// Appends entries, replacing the tail where they overlap it.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(head) = entries.first() else { return };
        assert!(
            head.index >= self.first() && head.index <= self.last() + 1,
            "entries from {} do not follow a log of [{}, {}]",
            head.index,
            self.first(),
            self.last()
        );
        self.truncate(head.index);
        for entry in entries {
            self.slots.push_back(Slot { term: entry.term, position: None });
            self.cached_bytes += entry.data.len();
            self.cache.push_back(entry.data.clone());
        }
    }

    /// Notes where a durable entry lies. An entry replaced meanwhile has another term and stays untouched.
    pub(crate) fn note_position(&mut self, index: u64, term: u64, position: Position) {
        if let Some(slot) = self.slot_mut(index)
            && slot.term == term
        {
            slot.position = Some(position);
        }
    }

    /// Drops the oldest payloads beyond the limit, as far as the disk has them.
    pub(crate) fn shrink_cache(&mut self) {
        while self.cached_bytes > self.cached_bytes_max {
            let oldest = self.slots.len() - self.cache.len();
            if self.slots.get(oldest).is_none_or(|slot| slot.position.is_none()) {
                return;
            }
            self.drop_oldest_payload();
        }
    }

    /// Forgets everything up to `index`; a snapshot holds it now.
    pub(crate) fn compact(&mut self, index: u64) {
        let term = self.slot(index).expect("the caller compacts within the log").term;
        while self.base.0 < index {
            if self.cache.len() == self.slots.len() {
                self.drop_oldest_payload();
            }
            self.slots.pop_front();
            self.base.0 += 1;
        }
        self.base.1 = term;
    }

    fn truncate(&mut self, from: u64) {
        while self.last() >= from {
            self.slots.pop_back();
            if let Some(payload) = self.cache.pop_back() {
                self.cached_bytes -= payload.len();
            }
        }
    }

    fn drop_oldest_payload(&mut self) {
        if let Some(payload) = self.cache.pop_front() {
            self.cached_bytes -= payload.len();
        }
    }

    fn offset(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first())?).ok()
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(self.offset(index)?)
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        let offset = self.offset(index)?;
        self.slots.get_mut(offset)
    }

    fn entry(&self, index: u64) -> raft::Result<Entry> {
        let offset = self.offset(index).ok_or(StorageError::Compacted)?;
        let slot = self.slots.get(offset).ok_or(StorageError::Unavailable)?;
        let uncached = self.slots.len() - self.cache.len();
        let cached = offset.checked_sub(uncached).and_then(|at| self.cache.get(at));
        let data = match (cached, slot.position) {
            (Some(payload), _) => payload.clone(),
            (None, Some(position)) => self.read(position, index, slot.term)?,
            (None, None) => return Err(StorageError::Unavailable.into()),
        };
        Ok(Entry { index, term: slot.term, data, ..Entry::default() })
    }

    fn read(&self, position: Position, index: u64, term: u64) -> raft::Result<Bytes> {
        let record = self.reader.read(position).map_err(|source| StorageError::Other(source.into()))?;
        if record.index != LogIndex(index) || record.term != Term(term) {
            let found = format!("the log holds another record where entry {index} of term {term} belongs");
            return Err(StorageError::Other(found.into()).into());
        }
        Ok(record.payload)
    }
}

impl Storage for GroupLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let members = ConfState::from((self.voters.clone(), Vec::new()));
        Ok(RaftState::new(self.vote.into_hard_state(), members))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0u64;
        let mut entries = Vec::new();
        for index in low..high {
            let entry = self.entry(index)?;
            bytes = bytes.saturating_add(widen(entry.data.len()) + ENTRY_OVERHEAD_BYTES);
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        if index < self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        Ok(self.slot(index).ok_or(StorageError::Unavailable)?.term)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        // A peer that needs purged entries waits: the log is purged only up to what every replica holds.
        Err(StorageError::SnapshotTemporarilyUnavailable.into())
    }
}

fn widen(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory fits 64 bits")
}

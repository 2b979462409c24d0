//! One group's log as the consensus library sees it: terms in memory, recent payloads in memory, the rest on disk.
//!
//! Owned by a group; nobody else reads it.
//!
//! # Invariants
//! - **G1 contiguous**: terms are held for every index from the snapshot's successor to the last one.
//! - **G2 readable**: a payload leaves memory only after its place in the log is known.
//! - **G3 from a snapshot**: once members have changed, entry 1 is never sent. A new replica begins with a snapshot, which
//!   tells it the members; entries alone would tell it only how they changed.
//! - **G4 absence**: nothing is written here; the group puts the same entries into the batch of the round.

use std::cell::Cell;
use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::ids::{LogIndex, Term};
use crate::log::{LogReader, Position};
use crate::raft::Members;
use crate::raft::vote::Vote;

/// What an entry costs beside its payload when a reader limits bytes.
const ENTRY_OVERHEAD_BYTES: u64 = 32;

/// An entry without its payload.
#[derive(Clone, Copy, Debug)]
struct Slot {
    term: u64,
    /// Whether it changes the members.
    is_change: bool,
    /// Known once the entry is durable.
    position: Option<Position>,
}

/// The log of one group.
pub(crate) struct GroupLog {
    vote: Vote,
    members: Members,
    /// The entry that made them the members.
    members_since: u64,
    /// Where the state machine's newest snapshot stands that a peer could be sent.
    offered: Option<u64>,
    /// Whether a peer needs a snapshot that nobody has offered.
    lacks_snapshot: Cell<bool>,
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
        (members_since, members): (LogIndex, Members),
        base: (LogIndex, Term),
        entries: impl Iterator<Item = (Term, bool, Position)>,
        cached_bytes_max: usize,
        reader: LogReader,
    ) -> Self {
        let slot = |(term, is_change, position): (Term, bool, Position)| Slot {
            term: term.0,
            is_change,
            position: Some(position),
        };
        Self {
            vote,
            members,
            members_since: members_since.0,
            offered: None,
            lacks_snapshot: Cell::new(false),
            base: (base.0.0, base.1.0),
            slots: entries.map(slot).collect(),
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
            self.slots.push_back(Slot { term: entry.term, is_change: is_change(entry), position: None });
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

    /// Begins anew behind an installed snapshot.
    pub(crate) fn install(&mut self, index: u64, term: u64, members: Members) {
        self.slots.clear();
        self.cache.clear();
        self.cached_bytes = 0;
        self.base = (index, term);
        self.offered = None;
        self.set_members(index, members);
    }

    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    pub(crate) fn members_since(&self) -> LogIndex {
        LogIndex(self.members_since)
    }

    pub(crate) fn set_members(&mut self, since: u64, members: Members) {
        self.members = members;
        self.members_since = since;
    }

    /// Whether an entry behind the first index and up to the second one changes the members.
    pub(crate) fn has_change(&self, behind: u64, up_to: u64) -> bool {
        let from = self.offset(behind.max(self.base.0) + 1).unwrap_or_default();
        let until = self.offset(up_to + 1).unwrap_or_default().min(self.slots.len());
        self.slots.range(from.min(until)..until).any(|slot| slot.is_change)
    }

    /// A snapshot of the state at `index` can be sent, if it is of these members and the log goes on from there.
    pub(crate) fn offer(&mut self, index: u64) {
        if index > 0 && index >= self.members_since && index >= self.base.0 && index <= self.last() {
            self.offered = Some(index);
        }
    }

    /// What was offered is not to be sent any more.
    pub(crate) fn withdraw_offer(&mut self) {
        self.offered = None;
    }

    /// Whether a snapshot was asked for in vain since the last call.
    pub(crate) fn takes_wish(&self) -> bool {
        self.lacks_snapshot.take()
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
        let mut entry = Entry { index, term: slot.term, data, ..Entry::default() };
        if slot.is_change {
            entry.set_entry_type(EntryType::EntryConfChangeV2);
        }
        Ok(entry)
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
        Ok(RaftState::new(self.vote.into_hard_state(), self.members.conf_state()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        // Asked so for what is to be sent to a peer. Until the members change for the first time all of them know them.
        if low == 1 && self.members_since > 0 && context.can_async() {
            return Err(StorageError::Compacted.into());
        }
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
        if index < self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        Ok(self.slot(index).ok_or(StorageError::Unavailable)?.term)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let usable = |index: &u64| *index >= request_index && *index >= self.members_since && *index >= self.base.0;
        let Some(index) = self.offered.filter(usable) else {
            self.lacks_snapshot.set(true);
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        };
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = index;
        metadata.term = self.term(index)?;
        metadata.set_conf_state(self.members.conf_state());
        Ok(snapshot)
    }
}

/// Whether an entry changes the members.
pub(crate) fn is_change(entry: &Entry) -> bool {
    match entry.get_entry_type() {
        EntryType::EntryNormal => false,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => true,
    }
}

fn widen(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory fits 64 bits")
}

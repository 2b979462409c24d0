//! Reads all segments at the start of a node and says what they hold, or refuses. Only [`super::Log::open`] calls it.

use std::collections::BTreeMap;

use bytes::Bytes;
use memchr::memmem;

use super::disk::Disk;
use super::error::LogError;
use super::liveness::Liveness;
use super::record::{self, Head, Position, RecordKind};
use super::segment::{
    FORMAT_VERSION, GROUP_BODY_BYTES_MAX, GROUP_HEADER_BYTES, GROUP_MARKER, GroupHeader, GroupPlace, PAGE_BYTES,
    SEGMENT_HEADER_BYTES, SegmentHeader, file_name, read_segment_header, segment_of,
};
use crate::ids::{LogIndex, ShardId, Term};

/// What the log knows of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredShard {
    pub shard: ShardId,
    /// The latest one written.
    pub hard_state: Option<Bytes>,
    /// The latest snapshot mark.
    pub snapshot: Option<(LogIndex, Term)>,
    /// Gapless, beginning right behind the snapshot, or at 1 without one.
    pub entries: Vec<(LogIndex, Term, Position)>,
    /// Which of the entries change the members, ascending.
    pub changes: Vec<LogIndex>,
    /// The latest members written, and the entry they go back to.
    pub members: Option<(LogIndex, Bytes)>,
}

impl RecoveredShard {
    /// Whether only a promise is left of it: it moved away, or was about to come.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.members.is_none() && self.snapshot.is_none() && self.entries.is_empty()
    }
}

/// What all segments hold, and where writing goes on.
pub(crate) struct Recovered {
    pub(crate) shards: Vec<RecoveredShard>,
    pub(crate) liveness: Liveness,
    pub(crate) next_sequence: u64,
    /// The newest segment; none in an empty folder.
    pub(crate) newest: Option<Tail>,
    /// Whether the newest segment is of an older format, so that what follows belongs into a new one.
    pub(crate) is_older: bool,
    /// A last segment whose creation never became durable; to be removed. It stands behind `newest`.
    pub(crate) unborn: Option<u64>,
}

/// Where a segment ends, and the part of it of which nothing proves that it is durable.
pub(crate) struct Tail {
    pub(crate) segment: u64,
    /// How many of its bytes count.
    pub(crate) len: u64,
    /// The last group to the end, from the start of its page on: what stands before it was synced before it was written.
    pub(crate) doubtful: Vec<u8>,
}

/// Reads everything; changes nothing.
pub(crate) fn recover(disk: &dyn Disk) -> Result<Recovered, LogError> {
    let names = disk.list().map_err(LogError::io("list", "folder"))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_of(name)).collect();
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        if pair[0] + 1 != pair[1] {
            let missing = file_name(pair[0] + 1);
            return Err(LogError::damaged(&missing, 0, "segment is missing between two others"));
        }
    }
    let mut recovery = Recovery::default();
    let mut newest = None;
    let mut unborn = None;
    for (at, number) in numbers.iter().enumerate() {
        let is_last = at + 1 == numbers.len();
        match recovery.read_segment(disk, *number, is_last)? {
            Some(tail) => newest = Some(tail),
            None => unborn = Some(*number),
        }
    }
    Ok(Recovered {
        shards: recovery.folds.into_iter().map(|(shard, fold)| fold.finish(shard)).collect::<Result<_, _>>()?,
        liveness: recovery.liveness,
        next_sequence: recovery.next_sequence.unwrap_or(1),
        newest,
        is_older: recovery.version.is_some_and(|version| version < FORMAT_VERSION),
        unborn,
    })
}

#[derive(Default)]
struct Recovery {
    folds: BTreeMap<ShardId, Fold>,
    liveness: Liveness,
    /// Unknown until the first segment names it.
    next_sequence: Option<u64>,
    /// The format of the segment read last.
    version: Option<u32>,
}

impl Recovery {
    /// Takes in one segment and says where it ends; nothing when it was never born.
    fn read_segment(&mut self, disk: &dyn Disk, number: u64, is_last: bool) -> Result<Option<Tail>, LogError> {
        let file = file_name(number);
        let len = disk.len(&file).map_err(LogError::io("measure", &file))?;
        let len = usize::try_from(len).map_err(|_| LogError::damaged(&file, 0, "segment is larger than memory"))?;
        let bytes = disk.read(&file, 0, len).map_err(LogError::io("read", &file))?;
        let segment = SegmentBytes { number, file: &file, bytes: &bytes };
        let first_sequence = match read_segment_header(&bytes, number) {
            SegmentHeader::Sound { version, first_sequence } => {
                self.version = Some(version);
                first_sequence
            }
            SegmentHeader::Newer { version } => {
                return Err(LogError::NewerFormat { file, found: version, known: FORMAT_VERSION });
            }
            // The header is durable before anything else is written, so only a file this short can lack one. The
            // first segment apart, it has one before it: that is dropped only after this one was born.
            SegmentHeader::Bad { .. } if is_last && len <= SEGMENT_HEADER_BYTES && self.may_be_unborn(number) => {
                return Ok(None);
            }
            SegmentHeader::Bad { why } => return Err(LogError::damaged(&file, 0, why)),
        };
        if self.next_sequence.is_some_and(|expected| expected != first_sequence) {
            let why = format!("segment begins with group {first_sequence}, the one before it ends elsewhere");
            return Err(LogError::damaged(&file, 20, why));
        }
        self.next_sequence = Some(first_sequence);
        self.liveness.open_segment(number);
        self.read_groups(&segment, first_sequence, is_last).map(Some)
    }

    fn may_be_unborn(&self, number: u64) -> bool {
        number == 1 || self.next_sequence.is_some()
    }

    fn read_groups(&mut self, segment: &SegmentBytes<'_>, first: u64, is_last: bool) -> Result<Tail, LogError> {
        let mut at = SEGMENT_HEADER_BYTES;
        let mut last_group = 0;
        let mut sequence = first;
        while at < segment.bytes.len() {
            match segment.group_at(at, sequence) {
                Ok(group) => {
                    for (head, range) in &group.records {
                        self.take_record(segment, *head, range.clone())?;
                    }
                    last_group = at;
                    at = group.end;
                    sequence += 1;
                    self.next_sequence = Some(sequence);
                }
                // Nothing valid behind it: the power went during the last write, or this is what an older life of the
                // file left.
                Err(bad) if is_last && segment.next_group(bad.behind).is_none() => break,
                Err(bad) => return Err(segment.damaged(bad.offset, bad.why)),
            }
        }
        let doubtful_from = last_group / PAGE_BYTES * PAGE_BYTES;
        let doubtful = segment.bytes[doubtful_from..at].to_vec();
        Ok(Tail { segment: segment.number, len: offset(at), doubtful })
    }

    fn take_record(&mut self, segment: &SegmentBytes<'_>, head: Head, record: Placed) -> Result<(), LogError> {
        let position = Position {
            segment: segment.number,
            offset: offset(record.start),
            len: u32::try_from(record.payload_end - record.start).expect("a record's length is limited"),
        };
        self.liveness.note(head, position);
        let payload = &segment.bytes[record.payload_start..record.payload_end];
        let fold = self.folds.entry(head.shard).or_default();
        fold.take(head, position, payload).map_err(|why| segment.damaged(record.start, why))
    }
}

/// A record inside its segment's bytes.
#[derive(Clone)]
struct Placed {
    start: usize,
    payload_start: usize,
    payload_end: usize,
}

struct Group {
    records: Vec<(Head, Placed)>,
    end: usize,
}

/// A spot where a group should be and is not.
struct Bad {
    /// The first byte known to be wrong: a record of the group, or its header.
    offset: usize,
    /// Where another group could begin.
    behind: usize,
    why: String,
}

struct SegmentBytes<'a> {
    number: u64,
    file: &'a str,
    bytes: &'a [u8],
}

impl SegmentBytes<'_> {
    fn damaged(&self, at: usize, why: String) -> LogError {
        LogError::damaged(self.file, offset(at), why)
    }

    fn header_at(&self, at: usize) -> Option<GroupHeader> {
        let place = GroupPlace { segment: self.number, offset: offset(at) };
        GroupHeader::decode(&self.bytes[at..], place)
    }

    /// The next place from `from` on where a group was once written.
    fn next_group(&self, from: usize) -> Option<usize> {
        let from = from.min(self.bytes.len());
        let mut marked = memmem::find_iter(&self.bytes[from..], &GROUP_MARKER).map(|at| from + at);
        marked.find(|at| self.header_at(*at).is_some())
    }

    fn group_at(&self, at: usize, sequence: u64) -> Result<Group, Bad> {
        let bad = |why: &str| Bad { offset: at, behind: at + 1, why: why.to_owned() };
        let header = self.header_at(at).ok_or_else(|| bad("no group begins here"))?;
        let body = usize::try_from(header.body_bytes).ok().filter(|body| *body <= GROUP_BODY_BYTES_MAX);
        let body = body.ok_or_else(|| bad("group length is over the limit"))?;
        let start = at + GROUP_HEADER_BYTES;
        let end = start + body;
        // The header is sound, so what it spans is one write: only what comes behind it can prove that it was synced.
        let bad = |offset: usize, why: &str| Bad { offset, behind: end, why: why.to_owned() };
        if header.sequence != sequence {
            let why = format!("group {} stands where group {sequence} belongs", header.sequence);
            return Err(Bad { offset: at, behind: at, why });
        }
        if end > self.bytes.len() {
            return Err(bad(at, "group is cut off"));
        }
        let mut records = Vec::new();
        let mut next = start;
        while next < end {
            let found = record::decode(&self.bytes[next..end]).map_err(|why| bad(next, why))?;
            let placed =
                Placed { start: next, payload_start: next + found.payload.start, payload_end: next + found.len };
            records.push((found.head, placed));
            next += found.len;
        }
        Ok(Group { records, end })
    }
}

/// One shard's state while its records pass by.
#[derive(Default)]
struct Fold {
    hard_state: Option<Bytes>,
    snapshot: Option<(LogIndex, Term)>,
    /// Gapless. What lies between the snapshot and the first one may have been dropped under a later mark.
    entries: Vec<(LogIndex, Term, Position)>,
    changes: Vec<LogIndex>,
    members: Option<(LogIndex, Bytes)>,
}

impl Fold {
    fn take(&mut self, head: Head, position: Position, payload: &[u8]) -> Result<(), String> {
        match head.kind {
            RecordKind::Entry | RecordKind::Change => return self.take_entry(head, position),
            RecordKind::Members => self.members = Some((head.index, Bytes::copy_from_slice(payload))),
            RecordKind::HardState => self.hard_state = Some(Bytes::copy_from_slice(payload)),
            RecordKind::SnapshotMark => self.take_mark(head),
            RecordKind::Purge => {
                self.snapshot = None;
                self.members = None;
                self.entries.clear();
                self.changes.clear();
            }
        }
        Ok(())
    }

    fn take_entry(&mut self, head: Head, position: Position) -> Result<(), String> {
        let Head { shard, index, term, kind } = head;
        if self.snapshot.is_some_and(|(covered, _)| index <= covered) || index == LogIndex(0) {
            return Err(format!("entry {} of {shard} stands behind a snapshot that covers it", index.0));
        }
        if let Some((first, ..)) = self.entries.first() {
            let keep = index.0.saturating_sub(first.0);
            let keep = usize::try_from(keep).ok().filter(|keep| *keep <= self.entries.len());
            let keep =
                keep.ok_or_else(|| format!("entry {} of {shard} leaves a gap behind the one before it", index.0))?;
            self.entries.truncate(keep);
        }
        self.entries.push((index, term, position));
        self.changes.retain(|change| *change < index);
        if kind == RecordKind::Change {
            self.changes.push(index);
        }
        Ok(())
    }

    fn take_mark(&mut self, head: Head) {
        if self.snapshot.is_some_and(|(covered, _)| head.index < covered) {
            return;
        }
        self.snapshot = Some((head.index, head.term));
        let known = self.entries.iter().find(|(index, ..)| *index == head.index);
        if known.is_some_and(|(_, term, _)| *term != head.term) {
            // The snapshot is of another history than these entries.
            self.entries.clear();
            self.changes.clear();
        }
        let covered = self.entries.partition_point(|(index, ..)| *index <= head.index);
        self.entries.drain(..covered);
        self.changes.retain(|change| *change > head.index);
    }

    fn finish(self, shard: ShardId) -> Result<RecoveredShard, LogError> {
        let covered = self.snapshot.map_or(0, |(index, _)| index.0);
        if let Some((first, _, position)) = self.entries.first()
            && first.0 != covered + 1
        {
            let why = format!("{shard} begins with entry {}, the snapshot ends with {covered}", first.0);
            return Err(LogError::damaged(&file_name(position.segment), position.offset, why));
        }
        let Self { hard_state, snapshot, entries, changes, members } = self;
        Ok(RecoveredShard { shard, hard_state, snapshot, entries, changes, members })
    }
}

fn offset(at: usize) -> u64 {
    u64::try_from(at).expect("a length in memory fits 64 bits")
}

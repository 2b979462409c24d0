//! One record of the log and the batch that collects records before they are written together.
//!
//! The Raft driver fills a [`Batch`]; append, recovery and reader share the encoding below. Its bytes are golden.

use std::ops::Range;

use bytes::Bytes;

use crate::ids::{LogIndex, ShardId, Term};

/// A record may not be larger; a longer length on disk is damage.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;
const CRC_BYTES: usize = 4;
const VARINT_BYTES_MAX: usize = 10;

/// What a record means to recovery. The numbers stand on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// One entry of the shard's log. An index at or below an earlier one voids that one and all behind it.
    Entry,
    /// Term, vote and commit of the shard as its driver encodes them. The latest one counts.
    HardState,
    /// A durable snapshot covers all entries through this index; they may be dropped.
    SnapshotMark,
    /// Voids all entries, marks and members of the shard written so far; its hard state stays, since a vote must not be
    /// forgotten. Written before the mark of an installed snapshot, and when a replica leaves the node.
    Purge,
    /// An entry like the others that changes who holds the shard, not what it holds.
    Change,
    /// Who holds the shard since the entry at this index. The latest one counts.
    Members,
}

impl RecordKind {
    fn number(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::HardState => 2,
            Self::SnapshotMark => 3,
            Self::Purge => 4,
            Self::Change => 5,
            Self::Members => 6,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Entry),
            2 => Some(Self::HardState),
            3 => Some(Self::SnapshotMark),
            4 => Some(Self::Purge),
            5 => Some(Self::Change),
            6 => Some(Self::Members),
            _ => None,
        }
    }
}

/// One record as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub shard: ShardId,
    pub kind: RecordKind,
    pub term: Term,
    pub index: LogIndex,
    pub payload: Bytes,
}

/// Where a record stands: its segment, its first byte there, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub segment: u64,
    pub offset: u64,
    pub len: u32,
}

/// Everything of a record but its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) shard: ShardId,
    pub(crate) kind: RecordKind,
    pub(crate) term: Term,
    pub(crate) index: LogIndex,
}

/// Records that are written, synced and recovered together. A buffer to use again after [`Batch::clear`].
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    payload_bytes: usize,
    largest_record: usize,
    /// Each record's head and length, in order.
    records: Vec<(Head, usize)>,
}

impl Batch {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record behind the others.
    pub fn push(&mut self, shard: ShardId, kind: RecordKind, term: Term, index: LogIndex, payload: &[u8]) {
        let head = Head { shard, kind, term, index };
        let before = self.bytes.len();
        encode(&mut self.bytes, head, payload);
        self.payload_bytes += payload.len();
        let len = self.bytes.len() - before;
        self.largest_record = self.largest_record.max(len);
        self.records.push((head, len));
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many bytes the records take in the log.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the records, keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.payload_bytes = 0;
        self.largest_record = 0;
        self.records.clear();
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    pub(crate) fn largest_record(&self) -> usize {
        self.largest_record
    }

    pub(crate) fn records(&self) -> &[(Head, usize)] {
        &self.records
    }
}

fn encode(out: &mut Vec<u8>, head: Head, payload: &[u8]) {
    let mut fields = [0_u8; 1 + 3 * VARINT_BYTES_MAX];
    fields[0] = head.kind.number();
    let mut used = 1;
    for value in [u64::from(head.shard.0), head.term.0, head.index.0] {
        used += put_varint(&mut fields[used..], value);
    }
    let mut length = [0_u8; VARINT_BYTES_MAX];
    let body = u64::try_from(used + payload.len()).expect("a length in memory fits 64 bits");
    let length_used = put_varint(&mut length, body);
    let crc = crc32c::crc32c(&length[..length_used]);
    let crc = crc32c::crc32c_append(crc, &fields[..used]);
    let crc = crc32c::crc32c_append(crc, payload);
    out.extend_from_slice(&length[..length_used]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&fields[..used]);
    out.extend_from_slice(payload);
}

/// A record found at the start of some bytes.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) head: Head,
    /// Where the payload stands in the bytes given.
    pub(crate) payload: Range<usize>,
    /// How many bytes the record takes; ends where the payload ends.
    pub(crate) len: usize,
}

/// Reads the record at the start of `bytes`; the error says which field is wrong.
pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, &'static str> {
    let mut rest = Cursor { bytes, at: 0 };
    let body = rest.varint().ok_or("record length is cut off or too long")?;
    let body = usize::try_from(body).ok().filter(|body| *body <= RECORD_BYTES_MAX);
    let body = body.ok_or("record length is over the limit")?;
    let length_end = rest.at;
    let crc = rest.take(CRC_BYTES).and_then(|crc| crc.try_into().ok()).map(u32::from_le_bytes);
    let crc = crc.ok_or("record checksum is cut off")?;
    let body_start = rest.at;
    let body_bytes = rest.take(body).ok_or("record is cut off")?;
    if crc32c::crc32c_append(crc32c::crc32c(&bytes[..length_end]), body_bytes) != crc {
        return Err("record checksum does not match");
    }
    let len = rest.at;
    // From here on the bytes are what was written; a failure means a writer that knew more than this reader.
    let mut rest = Cursor { bytes: &bytes[..len], at: body_start };
    let kind = rest.take(1).and_then(|kind| RecordKind::from_number(kind[0])).ok_or("record kind is unknown")?;
    let shard = rest.varint().and_then(|shard| u16::try_from(shard).ok()).ok_or("record shard is out of range")?;
    let term = rest.varint().ok_or("record term is cut off")?;
    let index = rest.varint().ok_or("record index is cut off")?;
    let head = Head { shard: ShardId(shard), kind, term: Term(term), index: LogIndex(index) };
    Ok(Decoded { head, payload: rest.at..len, len })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return None;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// Writes `value` to the start of `out`, low seven bits first, and says how many bytes it took.
fn put_varint(out: &mut [u8], mut value: u64) -> usize {
    let mut used = 0;
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits fit a byte");
        value >>= 7;
        out[used] = if value == 0 { low } else { low | 0x80 };
        used += 1;
        if value == 0 {
            return used;
        }
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

//! The bytes of a snapshot file. Written by [`super::write`], read by [`super::read`].
//!
//! ```text
//! header   magic 8 · format 2 · shard 2 · index 8 · term 8 · chunks 8 · keys 8 · crc32c of these 4
//! chunk    length 4 · crc32c of the payload 4 · payload: (key length 2 · value length 4 · key · value)*
//! trailer  magic 8 · blake3 of all chunks, then the header 32
//! ```
//! Numbers are big-endian. The layout is the same in all formats so far: they say what may stand in the values.

use bytes::{Buf, BufMut};

use crate::format::Format;
use crate::ids::{LogIndex, ShardId, Term};
use crate::store::keys::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

pub(super) const HEADER_BYTES: usize = 48;
pub(super) const CHUNK_HEAD_BYTES: usize = 8;
pub(super) const TRAILER_BYTES: usize = TRAILER_MAGIC.len() + blake3::OUT_LEN;
pub(super) const TRAILER_MAGIC: [u8; 8] = *b"STWSNEND";
/// A chunk is closed once it is this long.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// No chunk is longer: one that was almost full, and then took the largest record.
pub(super) const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + RECORD_HEAD_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX;

const MAGIC: [u8; 8] = *b"STWSNAP\0";
const RECORD_HEAD_BYTES: usize = 6;
const CHECKSUM_BYTES: usize = 4;

/// What stands before the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: Format,
    pub(super) shard: ShardId,
    pub(super) index: LogIndex,
    pub(super) term: Term,
    pub(super) chunks: u64,
    pub(super) keys: u64,
}

/// Why header bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Magic,
    Checksum,
    Format(Format),
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = bytes.as_mut_slice();
        rest.put_slice(&MAGIC);
        rest.put_u16(self.format.0);
        rest.put_u16(self.shard.0);
        rest.put_u64(self.index.0);
        rest.put_u64(self.term.0);
        rest.put_u64(self.chunks);
        rest.put_u64(self.keys);
        let checksum = crc32c::crc32c(bytes.split_at(HEADER_BYTES - CHECKSUM_BYTES).0);
        bytes.split_at_mut(HEADER_BYTES - CHECKSUM_BYTES).1.copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderFault> {
        let (mut fields, mut checksum) = bytes.split_at(HEADER_BYTES - CHECKSUM_BYTES);
        if !fields.starts_with(&MAGIC) {
            return Err(HeaderFault::Magic);
        }
        if crc32c::crc32c(fields) != checksum.get_u32() {
            return Err(HeaderFault::Checksum);
        }
        fields.advance(MAGIC.len());
        let format = Format(fields.get_u16());
        if format > Format::NEWEST {
            return Err(HeaderFault::Format(format));
        }
        Ok(Self {
            format,
            shard: ShardId(fields.get_u16()),
            index: LogIndex(fields.get_u64()),
            term: Term(fields.get_u64()),
            chunks: fields.get_u64(),
            keys: fields.get_u64(),
        })
    }
}

/// Appends a record to a chunk's payload.
pub(super) fn put_record(payload: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    payload.put_u16(u16::try_from(key.len()).expect("keys are shorter than KEY_BYTES_MAX"));
    payload.put_u32(u32::try_from(value.len()).expect("values are shorter than VALUE_BYTES_MAX"));
    payload.put_slice(key);
    payload.put_slice(value);
}

/// Takes the next record off a payload; none when what is left is not one.
pub(super) fn take_record<'a>(payload: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let key_len = usize::from(payload.try_get_u16().ok()?);
    let value_len = usize::try_from(payload.try_get_u32().ok()?).ok()?;
    let (key, rest) = payload.split_at_checked(key_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    *payload = rest;
    Some((key, value))
}

/// What precedes a chunk's payload.
pub(super) fn chunk_head(payload: &[u8]) -> [u8; CHUNK_HEAD_BYTES] {
    let mut head = [0; CHUNK_HEAD_BYTES];
    let mut rest = head.as_mut_slice();
    rest.put_u32(u32::try_from(payload.len()).expect("chunks are shorter than CHUNK_BYTES_MAX"));
    rest.put_u32(crc32c::crc32c(payload));
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_bytes_are_golden() {
        let (format, shard) = (Format::FIRST, ShardId(7));
        let header = Header { format, shard, index: LogIndex(513), term: Term(3), chunks: 2, keys: 9 };
        let bytes = header.encode();
        let golden = "535457534e4150000001000700000000000002010000000000000003000000000000000200000000000000090ba9cd0e";
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(Header::decode(&bytes), Ok(header));
    }

    #[test]
    fn a_newer_format_is_named() {
        let (format, shard) = (Format(Format::NEWEST.0 + 1), ShardId(1));
        let bytes = Header { format, shard, index: LogIndex(1), term: Term(1), chunks: 0, keys: 0 }.encode();
        assert_eq!(Header::decode(&bytes), Err(HeaderFault::Format(format)));
    }
}

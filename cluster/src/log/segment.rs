//! How a segment file is named, headed and divided into groups. Append writes these bytes, recovery reads them.

/// The newest layout this release writes and reads. 2 brought records about members.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// Magic, version and the place of the checksum stay where they are in every later version.
const MAGIC: [u8; 8] = *b"STWDLOG\n";
pub(crate) const SEGMENT_HEADER_BYTES: usize = 32;

/// What a kernel reads and writes at once.
pub(crate) const PAGE_BYTES: usize = 4096;

pub(crate) const GROUP_MARKER: [u8; 4] = [0xa7, 0x53, 0x47, 0xf1];
pub(crate) const GROUP_HEADER_BYTES: usize = 20;
/// A group's records may not take more bytes; a longer length on disk is damage.
pub(crate) const GROUP_BODY_BYTES_MAX: usize = 256 << 20;

const NAME_END: &str = ".log";
const NAME_DIGITS: usize = 16;

/// The file of a segment. Names sort like numbers.
pub(crate) fn file_name(segment: u64) -> String {
    format!("{segment:0NAME_DIGITS$x}{NAME_END}")
}

/// The segment a file holds, or nothing when it is not one of ours.
pub(crate) fn segment_of(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(NAME_END).filter(|digits| digits.len() == NAME_DIGITS)?;
    let segment = u64::from_str_radix(digits, 16).ok()?;
    (file_name(segment) == file).then_some(segment)
}

/// The first bytes of a segment; `first_sequence` is that of the first group it will hold.
pub(crate) fn segment_header(segment: u64, first_sequence: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&segment.to_le_bytes());
    header[20..28].copy_from_slice(&first_sequence.to_le_bytes());
    let crc = crc32c::crc32c(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What the first bytes of a file say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SegmentHeader {
    Sound { version: u32, first_sequence: u64 },
    Newer { version: u32 },
    Bad { why: &'static str },
}

/// Reads the header of the file that should hold `segment`.
pub(crate) fn read_segment_header(bytes: &[u8], segment: u64) -> SegmentHeader {
    let Some(header) = bytes.get(..SEGMENT_HEADER_BYTES) else {
        return SegmentHeader::Bad { why: "segment header is cut off" };
    };
    if header[..8] != MAGIC {
        return SegmentHeader::Bad { why: "segment header does not begin like a log file" };
    }
    if crc32c::crc32c(&header[..28]) != u32_at(header, 28) {
        return SegmentHeader::Bad { why: "segment header checksum does not match" };
    }
    let version = u32_at(header, 8);
    if version > FORMAT_VERSION {
        return SegmentHeader::Newer { version };
    }
    if u64_at(header, 12) != segment {
        return SegmentHeader::Bad { why: "segment header names another segment" };
    }
    SegmentHeader::Sound { version, first_sequence: u64_at(header, 20) }
}

/// Where a group stands. Part of its checksum, so that bytes of a group elsewhere are no group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupPlace {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// What stands before the records of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) sequence: u64,
    pub(crate) body_bytes: u32,
}

impl GroupHeader {
    pub(crate) fn encode(self, place: GroupPlace) -> [u8; GROUP_HEADER_BYTES] {
        let mut header = [0; GROUP_HEADER_BYTES];
        header[..4].copy_from_slice(&GROUP_MARKER);
        header[4..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        header[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        let crc = group_crc(place, &header[..16]);
        header[16..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// The header at the start of `bytes`, if they hold one that was written to this place.
    pub(crate) fn decode(bytes: &[u8], place: GroupPlace) -> Option<Self> {
        let header = bytes.get(..GROUP_HEADER_BYTES)?;
        let sound = header[..4] == GROUP_MARKER && group_crc(place, &header[..16]) == u32_at(header, 16);
        sound.then(|| Self { sequence: u64_at(header, 8), body_bytes: u32_at(header, 4) })
    }
}

fn group_crc(place: GroupPlace, fields: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&place.segment.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &place.offset.to_le_bytes());
    crc32c::crc32c_append(crc, fields)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes make a u32"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes make a u64"))
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;

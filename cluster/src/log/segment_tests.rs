//! Golden bytes of the headers, and that neither a newer format nor a misplaced group passes for ours.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// These bytes are on the disks of running nodes: a change here needs a new format version.
#[test]
fn headers_are_golden() {
    assert_eq!(hex(&segment_header(2, 9)), "535457444c4f470a0200000002000000000000000900000000000000ba514cec");
    let header = GroupHeader { sequence: 9, body_bytes: 300 };
    assert_eq!(hex(&header.encode(GroupPlace { segment: 2, offset: 32 })), "a75347f12c010000090000000000000020483dcc");
}

#[test]
fn names_sort_like_numbers_and_nothing_else_is_a_segment() {
    assert_eq!(file_name(0x1f), "000000000000001f.log");
    assert_eq!(segment_of("000000000000001f.log"), Some(0x1f));
    for other in ["lock", "1f.log", "000000000000001F.log", "+00000000000001f.log", "000000000000001f.log~"] {
        assert_eq!(segment_of(other), None, "{other}");
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let mut header = segment_header(2, 9);
    header[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    assert!(matches!(read_segment_header(&header, 2), SegmentHeader::Bad { .. }));
    let crc = crc32c::crc32c(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(read_segment_header(&header, 2), SegmentHeader::Newer { version: FORMAT_VERSION + 1 });
}

#[test]
fn a_group_is_one_only_where_it_was_written() {
    let header = GroupHeader { sequence: 9, body_bytes: 300 };
    let bytes = header.encode(GroupPlace { segment: 2, offset: 32 });
    assert_eq!(GroupHeader::decode(&bytes, GroupPlace { segment: 2, offset: 32 }), Some(header));
    assert_eq!(GroupHeader::decode(&bytes, GroupPlace { segment: 2, offset: 33 }), None);
    assert_eq!(GroupHeader::decode(&bytes, GroupPlace { segment: 3, offset: 32 }), None);
}

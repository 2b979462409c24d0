//! Golden bytes of every record kind, and that no changed bit is ever decoded.

use proptest::prelude::*;

use super::*;

fn batch_of(records: &[(u16, RecordKind, u64, u64, &[u8])]) -> Batch {
    let mut batch = Batch::new();
    for (shard, kind, term, index, payload) in records {
        batch.push(ShardId(*shard), *kind, Term(*term), LogIndex(*index), payload);
    }
    batch
}

/// These bytes are on the disks of running nodes: a change here needs a new format version.
#[test]
fn bytes_are_golden() {
    let batch = batch_of(&[
        (7, RecordKind::Entry, 3, 300, b"abc"),
        (300, RecordKind::HardState, 128, 0, b""),
        (0, RecordKind::SnapshotMark, 1, u64::MAX, b"x"),
        (63, RecordKind::Purge, 0, 0, b""),
    ]);
    let hex: String = batch.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
}

const GOLDEN: &str =
    "0826f693da010703ac0261626306704f9e6202ac028001000e8e97f690030001ffffffffffffffffff01780444255203043f0000";

#[test]
fn a_batch_forgets_and_is_used_again() {
    let mut batch = batch_of(&[(1, RecordKind::Entry, 1, 1, b"first")]);
    batch.clear();
    assert!(batch.is_empty() && batch.byte_len() == 0 && batch.payload_bytes() == 0 && batch.largest_record() == 0);
    batch.push(ShardId(1), RecordKind::Entry, Term(1), LogIndex(2), b"second");
    assert_eq!(batch.bytes(), batch_of(&[(1, RecordKind::Entry, 1, 2, b"second")]).bytes());
}

fn kinds() -> impl Strategy<Value = RecordKind> {
    prop::sample::select(vec![RecordKind::Entry, RecordKind::HardState, RecordKind::SnapshotMark, RecordKind::Purge])
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        kind in kinds(),
        shard: u16,
        term: u64,
        index: u64,
        payload in prop::collection::vec(any::<u8>(), 0..300),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = batch_of(&[(shard, kind, term, index, &payload)]).bytes().to_vec();
        let len = bytes.len();
        bytes.extend(behind);
        let decoded = decode(&bytes).unwrap();
        prop_assert_eq!(decoded.head, Head { shard: ShardId(shard), kind, term: Term(term), index: LogIndex(index) });
        prop_assert_eq!(decoded.len, len);
        prop_assert_eq!(&bytes[decoded.payload], &payload[..]);
    }

    #[test]
    fn no_changed_bit_is_served(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        bit: prop::sample::Index,
        behind in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = batch_of(&[(7, RecordKind::Entry, 3, 300, &payload)]).bytes().to_vec();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes.extend(behind);
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        decode(&bytes).ok();
    }
}

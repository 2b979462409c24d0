//! Dead segments go, live state stays: hard states and marks of quiet shards outlive the segment they stood in.

use steward_cluster::log::disk::{Disk, MemoryDisk};
use steward_cluster::log::{Batch, Log, RecordKind};

use crate::model::Model;
use crate::{entry, open, push, segments};

const SEGMENT_BYTES: u64 = 400;

fn found(disk: &MemoryDisk) -> Model {
    let (log, found) = open(disk, SEGMENT_BYTES).unwrap();
    Model::of(found, &log.reader())
}

fn record(shard: u16, kind: RecordKind, term: u64, index: u64, payload: &[u8]) -> Batch {
    let mut batch = Batch::new();
    push(&mut batch, shard, kind, term, index, payload);
    batch
}

fn fill(log: &mut Log, shard: u16, indices: std::ops::RangeInclusive<u64>) {
    indices.for_each(|index| drop(log.append(&entry(shard, 1, index, &[1; 50])).unwrap()));
}

#[test]
fn covered_segments_go_and_the_state_of_quiet_shards_moves_on() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
    // Shard 9 votes once, takes a snapshot once, and is never heard of again.
    log.append(&record(9, RecordKind::HardState, 4, 0, b"vote")).unwrap();
    log.append(&record(9, RecordKind::SnapshotMark, 3, 77, b"")).unwrap();
    fill(&mut log, 1, 1..=40);
    let before = segments(&disk);
    log.drop_dead_segments().unwrap();
    assert_eq!(segments(&disk), before, "without a mark nothing is dead");
    log.append(&record(1, RecordKind::SnapshotMark, 1, 38, b"")).unwrap();
    let expected = found(&disk);

    let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
    log.drop_dead_segments().unwrap();
    assert!(segments(&disk) <= 2, "{before} segments, left: {:?}", disk.list().unwrap());
    assert_eq!(found(&disk), expected);
    assert_eq!(expected.shards[&9].hard_state.as_deref(), Some(&b"vote"[..]));
    assert_eq!(expected.shards[&9].snapshot, Some((77, 3)));
    assert_eq!(expected.shards[&1].entries.len(), 2);
}

#[test]
fn one_shard_without_a_snapshot_holds_the_log() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
    fill(&mut log, 2, 1..=1);
    fill(&mut log, 1, 1..=40);
    log.append(&record(1, RecordKind::SnapshotMark, 1, 40, b"")).unwrap();
    let before = segments(&disk);
    log.drop_dead_segments().unwrap();
    assert_eq!(segments(&disk), before);
    // The shard leaves this node.
    log.append(&record(2, RecordKind::Purge, 0, 0, b"")).unwrap();
    log.drop_dead_segments().unwrap();
    assert!(segments(&disk) <= 2, "left: {:?}", disk.list().unwrap());
    assert!(found(&disk).shards[&1].entries.is_empty());
}

#[test]
fn an_older_mark_does_not_take_back_a_newer_one() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
    fill(&mut log, 1, 1..=20);
    log.append(&record(1, RecordKind::SnapshotMark, 1, 20, b"")).unwrap();
    log.append(&record(1, RecordKind::SnapshotMark, 1, 10, b"")).unwrap();
    log.drop_dead_segments().unwrap();
    assert!(segments(&disk) <= 2, "left: {:?}", disk.list().unwrap());
    let shard = &found(&disk).shards[&1];
    assert_eq!((shard.snapshot, shard.entries.len()), (Some((20, 1)), 0));
}

#[test]
fn entries_behind_a_mark_of_another_term_are_void() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
    fill(&mut log, 1, 1..=3);
    log.append(&record(1, RecordKind::SnapshotMark, 1, 1, b"")).unwrap();
    assert_eq!(found(&disk).shards[&1].entries.len(), 2);
    log.append(&record(1, RecordKind::SnapshotMark, 2, 2, b"")).unwrap();
    assert!(found(&disk).shards[&1].entries.is_empty());
}

#[test]
fn entries_of_another_history_do_not_outlive_an_installed_snapshot() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
    fill(&mut log, 1, 1..=20);
    let mut batch = Batch::new();
    push(&mut batch, 1, RecordKind::Purge, 0, 0, b"");
    push(&mut batch, 1, RecordKind::SnapshotMark, 2, 10, b"");
    push(&mut batch, 1, RecordKind::Entry, 2, 11, b"new");
    log.append(&batch).unwrap();
    log.drop_dead_segments().unwrap();
    let shard = &found(&disk).shards[&1];
    assert_eq!((shard.snapshot, &shard.entries[..]), (Some((10, 2)), &[(11, 2, b"new".to_vec())][..]));
}

//! A sync that fails and leaves the page cache as if it had not: what a restart reads there may never have reached the disk.

use steward_cluster::log::disk::MemoryDisk;
use steward_cluster::log::{Batch, RecordKind};

use crate::model::Model;
use crate::{DiskHandle, entry, open, push};

const SEGMENT_BYTES: u64 = 300;

fn found(disk: &impl DiskHandle) -> Model {
    let (log, found) = open(disk, SEGMENT_BYTES).unwrap();
    Model::of(found, &log.reader())
}

/// All that no sync wrote is gone.
fn cut_power(disk: &MemoryDisk) {
    disk.crash(|_, _, bytes| bytes.clear(), |_| false);
}

/// The node may have said that it holds the entry, or voted, once it was started again.
#[test]
fn what_a_restart_found_after_a_failed_sync_survives_a_power_cut() {
    // Some of the appends begin a segment, in a new file or in one that another segment was in.
    for before in 0..20 {
        let disk = MemoryDisk::new();
        let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
        for index in 1..=before {
            log.append(&entry(1, 1, index, &[7; 60])).unwrap();
            let mut covered = Batch::new();
            push(&mut covered, 1, RecordKind::SnapshotMark, 1, index - 1, b"");
            log.append(&covered).unwrap();
            log.drop_dead_segments().unwrap();
        }
        disk.fail_next_sync();
        log.append(&entry(1, 1, before + 1, b"unknown")).unwrap_err();
        drop(log);
        let promised = found(&disk);
        cut_power(&disk);
        assert_eq!(found(&disk), promised, "after {before} entries");
        let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
        let last = promised.shards.get(&1).and_then(|shard| shard.entries.last()).map_or(0, |(index, ..)| *index);
        log.append(&entry(1, 1, last + 1, b"goes on")).unwrap();
        cut_power(&disk);
        assert_eq!(found(&disk).shards[&1].entries.last().unwrap().0, last + 1);
    }
}

/// A start whose own sync fails has promised nothing, and the next one must not rely on it.
#[test]
fn a_start_that_fails_is_no_proof_either() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
    log.append(&entry(1, 1, 1, b"durable")).unwrap();
    disk.fail_next_sync();
    log.append(&entry(1, 1, 2, b"unknown")).unwrap_err();
    drop(log);
    for _ in 0..3 {
        disk.fail_next_sync();
        open(&disk, SEGMENT_BYTES).map(|_| ()).unwrap_err();
    }
    let promised = found(&disk);
    assert_eq!(promised.shards[&1].entries.len(), 2);
    cut_power(&disk);
    assert_eq!(found(&disk), promised);
}

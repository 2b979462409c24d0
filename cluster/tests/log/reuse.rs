//! Dead segments that become new ones: what stood in them is never taken for what stands in them now.

use std::sync::Arc;

use steward_cluster::log::disk::{Disk, FolderDisk, MemoryDisk};
use steward_cluster::log::{Batch, Log, LogConfig, LogError, Position, RecordKind};

use crate::model::Model;
use crate::watched::{Step, WatchedDisk};
use crate::{DiskHandle, config, disk_of, entry, files, open, push, segments};

/// Longer than the page that a write fills up, so that bytes of an older life stay.
const SEGMENT_BYTES: u64 = 12 << 10;
/// Twelve groups fill a segment.
const PAYLOAD_BYTES: usize = 1000;
const GROUPS: u64 = 13;
const MARKER: [u8; 4] = [0xa7, 0x53, 0x47, 0xf1];

/// One entry of the only shard; every group is as long as every other one, so they stand at the same places in every
/// segment.
fn group(index: u64) -> Batch {
    entry(1, 1_000_000, 1_000_000 + index, &[u8::try_from(index % 251).unwrap(); PAYLOAD_BYTES])
}

fn mark(index: u64) -> Batch {
    let mut batch = Batch::new();
    push(&mut batch, 1, RecordKind::SnapshotMark, 1_000_000, 1_000_000 + index, b"");
    batch
}

/// A log that begins with a mark, as entries that begin at a million ask for.
fn begun(disk: &impl DiskHandle) -> Log {
    let (mut log, _) = open(disk, SEGMENT_BYTES).unwrap();
    log.append(&mark(0)).unwrap();
    log
}

/// Fills one segment and makes all before it dead. Says where the last entry stands.
fn fill(log: &mut Log, index: &mut u64) -> Position {
    let mut last = None;
    for _ in 0..GROUPS {
        *index += 1;
        last = log.append(&group(*index)).unwrap().pop();
    }
    log.append(&mark(*index)).unwrap();
    log.drop_dead_segments().unwrap();
    last.unwrap()
}

fn spares(disk: &dyn Disk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.ends_with(".spare")).collect()
}

fn found(disk: &impl DiskHandle) -> Model {
    let (log, found) = open(disk, SEGMENT_BYTES).unwrap();
    Model::of(found, &log.reader())
}

fn last_index(model: &Model) -> u64 {
    let shard = &model.shards[&1];
    let covered = shard.snapshot.map_or(0, |(index, _)| index);
    shard.entries.last().map_or(covered, |(index, ..)| *index) - 1_000_000
}

#[test]
fn a_new_segment_is_named_when_its_header_is_durable_in_a_spare() {
    let memory = MemoryDisk::new();
    let disk = WatchedDisk::new(memory.shared());
    let (mut log, mut index) = (begun(&disk), 0);
    while spares(&memory).is_empty() {
        fill(&mut log, &mut index);
    }
    let before = segments(&memory);
    let (spare, next) = (spares(&memory).pop().unwrap(), format!("{:016x}.log", last_segment(&memory) + 1));
    let start = disk.steps().len();
    while segments(&memory) == before {
        index += 1;
        log.append(&group(index)).unwrap();
    }
    let steps = disk.steps().split_off(start);
    let opened = steps.iter().position(|step| *step == Step::Open(spare.clone())).unwrap();
    let header = [
        Step::Open(spare.clone()),
        Step::Write(spare.clone(), 32),
        Step::Sync(spare.clone()),
        Step::Rename(spare.clone(), next),
        Step::SyncDir,
    ];
    assert_eq!(steps[opened..opened + header.len()], header);
    assert!(spares(&memory).is_empty());
}

fn last_segment(disk: &dyn Disk) -> u64 {
    let names = disk.list().unwrap();
    let numbers = names.iter().filter_map(|name| u64::from_str_radix(name.strip_suffix(".log")?, 16).ok());
    numbers.max().unwrap()
}

/// Every group of the file was a sound one of the same length at the same place, several lives long.
#[test]
fn groups_of_older_lives_are_no_groups() {
    let memory = MemoryDisk::new();
    let (mut log, mut index) = (begun(&memory), 0);
    for _ in 0..6 {
        fill(&mut log, &mut index);
    }
    let mut had_older = 0;
    for _ in 0..GROUPS {
        index += 1;
        log.append(&group(index)).unwrap();
        let (_, newest) = files(&memory).into_iter().rfind(|(name, _)| name.ends_with(".log")).unwrap();
        had_older += usize::from(walk(&newest).1.windows(MARKER.len()).any(|bytes| bytes == MARKER));
        assert_eq!(last_index(&found(&disk_of(&files(&memory)))), index);
    }
    assert!(had_older > 5, "{had_older} times there were groups of an older life behind the newest");
}

/// The groups of a segment, read without their checksums as long as one begins where the last one ends, and what is
/// behind them.
fn walk(segment: &[u8]) -> (usize, &[u8]) {
    let (mut at, mut groups, mut sequence) = (32, 0, segment[20..28].to_vec());
    while segment[at..].starts_with(&MARKER) && segment[at + 8..at + 16] == sequence {
        let body = u32::from_le_bytes(segment[at + 4..at + 8].try_into().unwrap());
        at += 20 + usize::try_from(body).unwrap();
        groups += 1;
        sequence = (u64::from_le_bytes(sequence.try_into().unwrap()) + 1).to_le_bytes().to_vec();
    }
    (groups, &segment[at..])
}

#[test]
fn a_changed_byte_before_bytes_of_an_older_life_is_found() {
    let memory = MemoryDisk::new();
    let (mut log, mut index) = (begun(&memory), 0);
    for _ in 0..6 {
        fill(&mut log, &mut index);
    }
    let before = segments(&memory);
    while segments(&memory) == before {
        index += 1;
        log.append(&group(index)).unwrap();
    }
    log.append(&group(index + 1)).unwrap();
    let mut changed = files(&memory);
    let newest = changed.iter_mut().rfind(|(name, _)| name.ends_with(".log")).unwrap();
    newest.1[100] ^= 1;
    let refusal = open(&disk_of(&changed), SEGMENT_BYTES).map(|_| ()).unwrap_err();
    assert!(matches!(refusal, LogError::Damaged { .. }), "{refusal}");
}

/// Whatever release reads it: bytes behind the last group are in the newest segment alone, where they pass for a write
/// that the power ended.
#[test]
fn a_segment_that_another_one_follows_ends_with_its_last_group() {
    let memory = MemoryDisk::new();
    let (mut log, mut index, mut seen) = (begun(&memory), 0, 0);
    for _ in 0..6 {
        fill(&mut log, &mut index);
        for _ in 0..2 * GROUPS {
            index += 1;
            // Of many lengths, so that no segment ends where one before it did.
            let payload = vec![7; usize::try_from(index * 379 % 1500).unwrap()];
            log.append(&entry(1, 1_000_000, 1_000_000 + index, &payload)).unwrap();
        }
        let mut segments = files(&memory);
        segments.retain(|(name, _)| name.ends_with(".log"));
        segments.pop();
        for (name, bytes) in &segments {
            let (groups, behind) = walk(bytes);
            assert!(groups > 1 && behind.is_empty(), "{name}: {groups} groups, {} bytes behind them", behind.len());
            seen += 1;
        }
    }
    assert!(seen > 4, "only {seen} segments had one behind them");
}

/// The power goes at every change of the disk on the way into a spare, and leaves as much or as little as it may.
#[test]
fn a_cut_on_the_way_into_a_spare_loses_nothing() {
    for (bytes_stay, names_stay) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut changes = 0;
        loop {
            let memory = MemoryDisk::new();
            let disk = WatchedDisk::new(memory.shared());
            let (mut log, mut index) = (begun(&disk), 0);
            for _ in 0..4 {
                fill(&mut log, &mut index);
            }
            assert!(!spares(&memory).is_empty());
            let begun = last_segment(&memory);
            disk.cut_power_after(Some(changes));
            let acked = (1..=2 * GROUPS).take_while(|more| log.append(&group(index + more)).is_ok()).count();
            if acked == usize::try_from(2 * GROUPS).unwrap() {
                assert!(last_segment(&memory) > begun + 1);
                break;
            }
            index += u64::try_from(acked).unwrap();
            let torn = |_: &str, _: &[u8], bytes: &mut Vec<u8>| {
                if !bytes_stay {
                    bytes.clear()
                }
            };
            memory.crash(torn, |_| names_stay);
            disk.cut_power_after(None);
            let last = last_index(&found(&disk));
            assert!(
                last == index || last == index + 1,
                "{changes} changes: {index} were acknowledged, {last} are there"
            );
            let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
            (1..=2 * GROUPS).for_each(|more| drop(log.append(&group(last + more)).unwrap()));
            assert_eq!(last_index(&found(&disk)), last + 2 * GROUPS);
            changes += 1;
        }
        assert!(changes > 50, "only {changes} changes");
    }
}

/// Somebody wiped the folder, or an older release wrote to it meanwhile: the same numbers come again.
#[test]
fn a_spare_ends_with_its_process() {
    let memory = MemoryDisk::new();
    let (mut log, mut index) = (begun(&memory), 0);
    for _ in 0..4 {
        fill(&mut log, &mut index);
    }
    drop(log);
    assert!(!spares(&memory).is_empty());
    let logs = memory.list().unwrap().into_iter().filter(|name| name.ends_with(".log"));
    logs.for_each(|name| memory.remove(&name).unwrap());
    let (_, found) = open(&memory, SEGMENT_BYTES).unwrap();
    assert!(found.is_empty());
    assert_eq!(memory.list().unwrap(), ["0000000000000001.log"]);
}

#[test]
fn spares_are_given_up_before_space_is_low() {
    let memory = MemoryDisk::new();
    let (mut log, mut index) = (begun(&memory), 0);
    for _ in 0..6 {
        fill(&mut log, &mut index);
    }
    // Many segments die at once.
    for _ in 0..6 * GROUPS {
        index += 1;
        log.append(&group(index)).unwrap();
    }
    fill(&mut log, &mut index);
    assert_eq!(spares(&memory).len(), 2);
    memory.set_free_bytes(LogConfig::default().reserve_bytes - 1);
    log.append(&group(index + 1)).unwrap();
    index += 1;
    assert!(spares(&memory).is_empty(), "{:?}", spares(&memory));
    fill(&mut log, &mut index);
    assert!(spares(&memory).is_empty(), "what dies now makes room for others");
}

/// Records are as long as those before them and stand at the same places: only the name tells them apart.
#[test]
fn a_place_in_a_dead_segment_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FolderDisk::open(folder.path()).unwrap());
    let (mut log, _) = Log::open(Arc::clone(&disk), config(SEGMENT_BYTES)).unwrap();
    log.append(&mark(0)).unwrap();
    let (reader, mut index) = (log.reader(), 0);
    // Places in segments of all kinds: those that are kept when they die, and those that are too short.
    for more in 1..GROUPS {
        fill(&mut log, &mut index);
        let position = (1..=more).map(|more| log.append(&group(index + more)).unwrap()[0]).last().unwrap();
        index += more;
        // The reader keeps the file of its last read open.
        reader.read(position).unwrap();
        for _ in 0..5 {
            fill(&mut log, &mut index);
        }
        let read = reader.read(position);
        assert!(matches!(read, Err(LogError::Io { .. })), "{read:?}");
    }
}

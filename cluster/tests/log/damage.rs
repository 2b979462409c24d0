//! Changed, missing and cut bytes anywhere in the log: found with file and place, never served.

use steward_cluster::log::disk::{Disk, MemoryDisk};
use steward_cluster::log::{Batch, LogError, Position, RecordKind};

use crate::model::Model;
use crate::{disk_of, entry, files, open, push};

const SEGMENT_BYTES: u64 = 200;
const SEGMENT_HEADER_BYTES: usize = 32;

/// A log of at least three segments with every kind of record, what it holds after each append, and where each append
/// began.
struct Sample {
    files: Vec<(String, Vec<u8>)>,
    /// After 0, 1, 2, ... appends.
    models: Vec<Model>,
    /// File and first byte of each append.
    groups: Vec<(usize, usize)>,
    positions: Vec<Position>,
}

fn sample() -> Sample {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
    let (mut models, mut groups, mut positions) = (vec![Model::default()], Vec::new(), Vec::new());
    for round in 1..=11_u64 {
        let mut batch = Batch::new();
        push(&mut batch, 1, RecordKind::Entry, 1, round, &[7; 20]);
        push(&mut batch, 300, RecordKind::Entry, round, round, format!("round {round}").as_bytes());
        if round % 3 == 0 {
            push(&mut batch, 1, RecordKind::HardState, 1, 0, &round.to_le_bytes());
            push(&mut batch, 300, RecordKind::SnapshotMark, round - 1, round - 1, b"");
        }
        if round == 5 {
            push(&mut batch, 9, RecordKind::Purge, 0, 0, b"");
        }
        let before: Vec<usize> = files(&disk).iter().map(|(_, bytes)| bytes.len()).collect();
        positions.extend(log.append(&batch).unwrap());
        let after: Vec<usize> = files(&disk).iter().map(|(_, bytes)| bytes.len()).collect();
        let is_new_file = before.len() < after.len();
        groups.push((after.len() - 1, if is_new_file { SEGMENT_HEADER_BYTES } else { before[after.len() - 1] }));
        let (again, found) = open(&disk_of(&files(&disk)), SEGMENT_BYTES).unwrap();
        models.push(Model::of(found, &again.reader()));
    }
    let files = files(&disk);
    assert!(files.len() >= 3 && groups.last().unwrap().1 > SEGMENT_HEADER_BYTES, "the last file holds several groups");
    Sample { files, models, groups, positions }
}

impl Sample {
    /// The append that wrote a byte, counted from 0; none for a segment header.
    fn group_of(&self, file: usize, byte: usize) -> Option<usize> {
        self.groups.iter().rposition(|(in_file, start)| *in_file == file && *start <= byte)
    }

    fn open(&self, files: &[(String, Vec<u8>)]) -> Result<Model, LogError> {
        let (log, found) = open(&disk_of(files), SEGMENT_BYTES)?;
        Ok(Model::of(found, &log.reader()))
    }
}

fn flipped(files: &[(String, Vec<u8>)], file: usize, byte: usize, bit: u32) -> Vec<(String, Vec<u8>)> {
    let mut files = files.to_vec();
    files[file].1[byte] ^= 1 << bit;
    files
}

#[test]
fn every_flipped_bit_is_found_where_it_is() {
    let sample = sample();
    let last_group = sample.groups.len() - 1;
    for (file, (name, bytes)) in sample.files.iter().enumerate() {
        for byte in 0..bytes.len() {
            let group = sample.group_of(file, byte);
            for bit in 0..8 {
                let outcome = sample.open(&flipped(&sample.files, file, byte, bit));
                if group == Some(last_group) {
                    // The one place where damage looks like a torn write: the group is gone, and nothing else.
                    assert_eq!(outcome.unwrap(), sample.models[last_group], "{name} byte {byte} bit {bit}");
                    continue;
                }
                let Err(LogError::Damaged { file: found, offset, .. }) = outcome else {
                    panic!("{name} byte {byte} bit {bit} was not found: {outcome:?}");
                };
                assert_eq!(&found, name, "byte {byte} bit {bit}");
                let start = group.map_or(0, |group| sample.groups[group].1);
                let offset = usize::try_from(offset).unwrap();
                assert!((start..=byte).contains(&offset), "{name} byte {byte} bit {bit} was found at {offset}");
            }
        }
    }
}

#[test]
fn every_cut_is_found_or_leaves_a_prefix() {
    let sample = sample();
    for (file, (name, bytes)) in sample.files.iter().enumerate() {
        let is_last = file + 1 == sample.files.len();
        for kept in 0..bytes.len() {
            let mut cut = sample.files.clone();
            cut[file].1.truncate(kept);
            let outcome = sample.open(&cut);
            if is_last {
                // A cut last file can not be told from a write that never finished.
                let whole = sample.groups.iter().enumerate();
                let lost = whole.filter(|(group, (in_file, _))| {
                    let end = sample.groups.get(group + 1).map_or(bytes.len(), |(_, start)| *start);
                    *in_file == file && kept < end
                });
                let left = sample.groups.len() - lost.count();
                assert_eq!(outcome.unwrap(), sample.models[left], "{name} cut to {kept}");
            } else {
                let Err(LogError::Damaged { file: found, .. }) = outcome else {
                    panic!("{name} cut to {kept} was not found: {outcome:?}");
                };
                // Cut exactly between two groups, the next file is the first to miss one.
                let is_between = sample.groups.contains(&(file, kept));
                let expected = if is_between { &sample.files[file + 1].0 } else { name };
                assert_eq!(&found, expected, "cut to {kept}");
            }
        }
    }
}

#[test]
fn a_missing_or_swapped_segment_is_found() {
    let sample = sample();
    let mut missing = sample.files.clone();
    let (name, _) = missing.remove(1);
    assert!(matches!(sample.open(&missing), Err(LogError::Damaged { file, .. }) if file == name));

    let mut first_missing = sample.files.clone();
    first_missing.remove(0);
    assert!(matches!(sample.open(&first_missing), Err(LogError::Damaged { .. })));

    let mut swapped = sample.files.clone();
    let bytes = std::mem::replace(&mut swapped[0].1, sample.files[1].1.clone());
    swapped[1].1 = bytes;
    assert!(matches!(sample.open(&swapped), Err(LogError::Damaged { offset: 0, .. })));

    let last_alone = vec![(sample.files[2].0.clone(), vec![0; SEGMENT_HEADER_BYTES])];
    assert!(matches!(sample.open(&last_alone), Err(LogError::Damaged { offset: 0, .. })));
}

/// Entries leave gaps that tell on them; a lost vote does not.
#[test]
fn a_group_lost_between_two_segments_is_found() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 80).unwrap();
    let mut vote = Batch::new();
    push(&mut vote, 1, RecordKind::HardState, 2, 0, b"a vote of a whole term");
    log.append(&entry(1, 1, 1, b"")).unwrap();
    let mut lost = files(&disk);
    log.append(&vote).unwrap();
    log.append(&entry(1, 2, 2, b"")).unwrap();
    let whole = files(&disk);
    assert_eq!((whole.len(), lost.len()), (2, 1), "the vote ends the first segment");
    lost.push(whole[1].clone());
    let refusal = open(&disk_of(&lost), 80).map(|_| ()).unwrap_err();
    assert!(matches!(&refusal, LogError::Damaged { file, offset: 20, .. } if *file == whole[1].0), "{refusal}");
}

/// A sound group of the right place that comes from another life of the file.
#[test]
fn a_group_out_of_sequence_is_found() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1 << 20).unwrap();
    log.append(&entry(1, 1, 1, b"")).unwrap();
    let mut other = files(&disk);
    let group = &mut other[0].1[SEGMENT_HEADER_BYTES..];
    group[8..16].copy_from_slice(&9_u64.to_le_bytes());
    let place = [1_u64.to_le_bytes(), 32_u64.to_le_bytes()].concat();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&place), &group[..16]);
    group[16..20].copy_from_slice(&crc.to_le_bytes());
    let refusal = open(&disk_of(&other), 1 << 20).map(|_| ()).unwrap_err().to_string();
    assert!(refusal.ends_with("at byte 32: group 9 stands where group 1 belongs"), "{refusal}");
}

#[test]
fn a_read_never_serves_a_changed_byte() {
    let sample = sample();
    for position in &sample.positions {
        let name = format!("{:016x}.log", position.segment);
        let file = sample.files.iter().position(|(file, _)| *file == name).unwrap();
        let start = usize::try_from(position.offset).unwrap();
        for byte in start..start + usize::try_from(position.len).unwrap() {
            let disk = disk_of(&sample.files);
            let (log, _) = open(&disk, SEGMENT_BYTES).unwrap();
            log.reader().read(*position).unwrap();
            let longer = Position { len: position.len + 1, ..*position };
            log.reader().read(longer).unwrap_err();
            // Damage that comes after the start: recovery has not seen it.
            let bytes = &flipped(&sample.files, file, byte, 3)[file].1;
            disk.open(&name).unwrap().write(0, bytes).unwrap();
            let read = log.reader().read(*position);
            let Err(LogError::Damaged { file: found, offset, .. }) = read else {
                panic!("byte {byte} of {name} was served: {read:?}");
            };
            assert_eq!((found, offset), (name.clone(), position.offset));
        }
    }
}

fn set_version(header: &mut [u8], version: u32) {
    header[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&header[..28]);
    header[28..32].copy_from_slice(&crc.to_le_bytes());
}

/// An older release would take the records it does not know for damage; in a segment of their own it names the format.
#[test]
fn a_segment_of_an_older_format_is_read_and_never_written_to() {
    let sample = sample();
    let mut older = sample.files.clone();
    older.iter_mut().for_each(|(_, bytes)| set_version(bytes, 1));
    let disk = disk_of(&older);
    let (mut log, recovered) = open(&disk, 1 << 20).unwrap();
    assert_eq!(Some(&Model::of(recovered, &log.reader())), sample.models.last());
    let mut batch = Batch::new();
    push(&mut batch, 1, RecordKind::Members, 1, 1, b"who");
    log.append(&batch).unwrap();
    let now = files(&disk);
    assert_eq!(now.len(), older.len() + 1);
    assert_eq!(now[..older.len()], older[..]);
}

#[test]
fn a_newer_format_is_refused_by_its_name() {
    let sample = sample();
    let mut newer = sample.files.clone();
    let header = &mut newer[1].1;
    set_version(header, 3);
    let refusal = sample.open(&newer).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "log file 0000000000000002.log has format 3, this release reads up to 2: start the newer release"
    );
}

#[test]
fn impossible_histories_are_refused() {
    let refused = |batches: &[Batch]| {
        let disk = MemoryDisk::new();
        let (mut log, _) = open(&disk, 1 << 20).unwrap();
        batches.iter().for_each(|batch| drop(log.append(batch).unwrap()));
        open(&disk, 1 << 20).map(|_| ()).unwrap_err().to_string()
    };
    let mark = |index| {
        let mut batch = Batch::new();
        push(&mut batch, 1, RecordKind::SnapshotMark, 1, index, b"");
        batch
    };
    let gap = refused(&[entry(1, 1, 1, b""), entry(1, 1, 3, b"")]);
    assert!(gap.ends_with("entry 3 of shard 1 leaves a gap behind the one before it"), "{gap}");
    let covered = refused(&[entry(1, 1, 1, b""), mark(1), entry(1, 1, 1, b"")]);
    assert!(covered.ends_with("entry 1 of shard 1 stands behind a snapshot that covers it"), "{covered}");
    let loose = refused(&[mark(1), entry(1, 1, 3, b"")]);
    assert!(loose.ends_with("shard 1 begins with entry 3, the snapshot ends with 1"), "{loose}");
}

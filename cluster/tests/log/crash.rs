//! Random lawful writes, power cuts at every possible step: what was acknowledged is there, and nothing else is.

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use steward_cluster::log::disk::MemoryDisk;
use steward_cluster::log::{Batch, Log, LogError};

use crate::model::Model;
use crate::watched::WatchedDisk;
use crate::{DiskHandle, disk_of, entry, files, open};

/// The smaller ones are filled and kept as spares often; in the larger ones bytes of an older life stay behind the page
/// that was written last.
const SEGMENTS_BYTES: [u64; 2] = [300, 6000];

/// What a cut leaves of the bytes no sync covered. `was` is what they were written over: there, either is left.
fn tear(random: &mut SmallRng, was: &[u8], tail: &mut Vec<u8>) {
    let at = random.random_range(0..=tail.len());
    match random.random_range(0..5) {
        0 => tail.clear(),
        1 => tail.truncate(at),
        // The file system made room and never wrote.
        2 => tail[at.max(was.len())..].fill(0),
        3 => random.fill_bytes(&mut tail[at.max(was.len())..]),
        // Pages reach the disk in any order, some not at all.
        _ => {
            let mut was = was.iter().copied().chain(std::iter::repeat(0));
            for page in tail.chunks_mut(16) {
                let is_lost = random.random();
                page.iter_mut().zip(&mut was).filter(|_| is_lost).for_each(|(byte, was)| *byte = was);
            }
        }
    }
}

/// What a node may find when it starts.
#[derive(Default)]
struct Expected {
    /// What was acknowledged, or found by an earlier start.
    acked: Model,
    /// The same with what was being written when the power went.
    in_flight: Option<Model>,
}

impl Expected {
    fn check(&mut self, found: Model, seed: u64) {
        if found != self.acked {
            let in_flight = self.in_flight.as_ref();
            assert_eq!(Some(&found), in_flight, "seed {seed}: acknowledged or in flight, whole or not at all");
        }
        *self = Self { acked: found, in_flight: None };
    }

    /// Writes until the power goes, or until it has written enough.
    fn write(&mut self, log: &mut Log, random: &mut SmallRng) {
        let mut batch = Batch::new();
        for _ in 0..60 {
            if random.random_ratio(1, 5) {
                if log.drop_dead_segments().is_err() {
                    return;
                }
                continue;
            }
            let mut next = self.acked.clone();
            batch.clear();
            next.write(random, &mut batch);
            if log.append(&batch).is_err() {
                self.in_flight = Some(next);
                return;
            }
            self.acked = next;
        }
    }
}

/// Lives of one node, each ended by a cut at a random change of the disk, or by a sync that fails; recovery itself may be
/// cut too.
fn run(seed: u64, segment_bytes: u64, lives: usize) {
    let random = &mut SmallRng::seed_from_u64(seed);
    let memory = MemoryDisk::new();
    let disk = WatchedDisk::new(memory.shared());
    let mut expected = Expected::default();
    for _ in 0..lives {
        disk.cut_power_after(Some(random.random_range(0..150)));
        disk.lose_sync_after(random.random_ratio(1, 3).then(|| (memory.clone(), random.random_range(0..20))));
        match open(&disk, segment_bytes) {
            Ok((mut log, found)) => {
                expected.check(Model::of(found, &log.reader()), seed);
                expected.write(&mut log, random);
            }
            Err(failure) => assert!(matches!(failure, LogError::Io { .. }), "seed {seed}: {failure}"),
        }
        // Half of the time only the process dies: then the unsynced bytes are still there to be read.
        if random.random() {
            let mut fate = SmallRng::seed_from_u64(random.random());
            let mut names = SmallRng::seed_from_u64(random.random());
            memory.crash(|_, was, tail| tear(&mut fate, was, tail), |_| names.random());
        }
    }
    disk.cut_power_after(None);
    disk.lose_sync_after(None);
    let (log, found) = open(&disk, segment_bytes).expect("neither a cut nor a kill is ever damage");
    expected.check(Model::of(found, &log.reader()), seed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn acknowledged_writes_survive_power_cuts(seed: u64) {
        SEGMENTS_BYTES.iter().for_each(|segment_bytes| run(seed, *segment_bytes, 12));
    }
}

#[test]
fn the_last_group_cut_at_any_byte_leaves_all_before_it() {
    let memory = MemoryDisk::new();
    let (mut log, _) = open(&memory, 1 << 20).unwrap();
    log.append(&entry(1, 1, 1, b"first")).unwrap();
    log.append(&entry(1, 1, 2, b"second")).unwrap();
    let whole = files(&memory);
    let start = {
        let (name, bytes) = &whole[0];
        let group = bytes.len() - 20 - (1 + 4 + 4 + b"second".len());
        assert_eq!(&bytes[group..group + 4], &[0xa7, 0x53, 0x47, 0xf1], "{name}: the second group begins here");
        group
    };
    for kept in start..whole[0].1.len() {
        let mut cut = whole.clone();
        cut[0].1.truncate(kept);
        let disk = disk_of(&cut);
        let (mut log, found) = open(&disk, 1 << 20).unwrap();
        assert_eq!(found[0].entries.len(), 1, "{kept} bytes kept");
        log.append(&entry(1, 2, 2, b"other")).unwrap();
        let (log, found) = open(&disk, 1 << 20).unwrap();
        let found = Model::of(found, &log.reader());
        let payloads: Vec<&[u8]> = found.shards[&1].entries.iter().map(|(_, _, payload)| &payload[..]).collect();
        assert_eq!(payloads, [b"first", b"other"], "{kept} bytes kept");
    }
}

#[test]
fn room_that_was_made_and_never_written_is_a_torn_tail() {
    let memory = MemoryDisk::new();
    let (mut log, _) = open(&memory, 1 << 20).unwrap();
    log.append(&entry(1, 1, 1, b"first")).unwrap();
    let mut made_longer = files(&memory);
    let len = made_longer[0].1.len();
    made_longer[0].1.resize(len + 4096, 0);
    let disk = disk_of(&made_longer);
    let (_, found) = open(&disk, 1 << 20).unwrap();
    assert_eq!(found[0].entries.len(), 1);
    assert_eq!(files(&disk)[0].1.len(), len, "the zeros are cut off");
}

#[test]
fn a_payload_that_holds_a_group_is_not_taken_for_one() {
    let memory = MemoryDisk::new();
    let (mut log, _) = open(&memory, 1 << 20).unwrap();
    log.append(&entry(1, 1, 1, b"first")).unwrap();
    let group = files(&memory)[0].1[32..].to_vec();
    log.append(&entry(1, 1, 2, &group)).unwrap();
    let mut torn = files(&memory);
    let header = 32 + group.len();
    torn[0].1[header..header + 20].fill(0);
    let (_, found) = open(&disk_of(&torn), 1 << 20).unwrap();
    assert_eq!(found[0].entries.len(), 1);
}

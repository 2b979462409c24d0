//! Random lawful writes, power cuts at every possible step: what was acknowledged is there, and nothing else is.

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use steward_cluster::log::disk::MemoryDisk;
use steward_cluster::log::{Batch, Log};

use crate::model::Model;
use crate::watched::WatchedDisk;
use crate::{DiskHandle, disk_of, entry, files, open};

const SEGMENT_BYTES: u64 = 300;

/// What a cut leaves of the bytes no sync covered.
fn tear(random: &mut SmallRng, tail: &mut Vec<u8>) {
    let at = random.random_range(0..=tail.len());
    match random.random_range(0..5) {
        0 => tail.clear(),
        1 => tail.truncate(at),
        // The file system made room and never wrote.
        2 => tail[at..].fill(0),
        3 => random.fill_bytes(&mut tail[at..]),
        // Pages reach the disk in any order.
        _ => tail.chunks_mut(16).filter(|_| random.random()).for_each(|page| page.fill(0)),
    }
}

/// One life of a node: writes until the power goes at a random change of the disk, or until `writes` are done.
struct Life<'a> {
    disk: &'a WatchedDisk,
    random: &'a mut SmallRng,
    /// What was acknowledged.
    acked: &'a mut Model,
    /// The same with what was being written when the power went.
    in_flight: Option<Model>,
}

impl Life<'_> {
    fn live(&mut self, log: &mut Log, writes: usize) {
        let mut batch = Batch::new();
        for _ in 0..writes {
            if self.random.random_ratio(1, 5) {
                if log.drop_dead_segments().is_err() {
                    return;
                }
                continue;
            }
            let mut next = self.acked.clone();
            batch.clear();
            next.write(self.random, &mut batch);
            if log.append(&batch).is_err() {
                self.in_flight = Some(next);
                return;
            }
            *self.acked = next;
        }
    }
}

fn run(seed: u64, lives: usize) {
    let random = &mut SmallRng::seed_from_u64(seed);
    let memory = MemoryDisk::new();
    let disk = WatchedDisk::new(memory.shared());
    let mut acked = Model::default();
    for _ in 0..lives {
        let power = random.random_range(0..60);
        disk.cut_power_after(Some(power));
        let mut life = Life { disk: &disk, random, acked: &mut acked, in_flight: None };
        if let Ok((mut log, found)) = open(life.disk, SEGMENT_BYTES) {
            let found = Model::of(found, &log.reader());
            assert_eq!(found, *life.acked, "seed {seed}: what the last recovery found is still there");
            life.live(&mut log, 30);
        }
        let in_flight = life.in_flight;
        let mut fate = SmallRng::seed_from_u64(random.random());
        let mut names = SmallRng::seed_from_u64(random.random());
        memory.crash(|_, tail| tear(&mut fate, tail), |_| names.random());
        disk.cut_power_after(None);
        let (log, found) = open(&disk, SEGMENT_BYTES).expect("a power cut is never damage");
        let found = Model::of(found, &log.reader());
        if found != acked {
            assert_eq!(Some(&found), in_flight.as_ref(), "seed {seed}: acknowledged or in flight, whole or not at all");
            acked = found;
        }
        // Recovery makes durable what it found: a second cut right behind it changes nothing.
        memory.crash(|_, tail| tail.clear(), |_| false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn acknowledged_writes_survive_power_cuts(seed: u64) {
        run(seed, 6);
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

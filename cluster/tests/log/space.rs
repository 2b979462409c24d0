//! A disk that fills up: refused before anything is written, and usable again when there is room.

use std::sync::Arc;

use crossbeam_channel::unbounded;
use steward_cluster::clock::SystemClock;
use steward_cluster::log::disk::MemoryDisk;
use steward_cluster::log::{Batch, LogConfig, LogError, LogThread};
use steward_cluster::progress::Progress;

use crate::{entry, files, open};

#[test]
fn a_full_disk_refuses_before_it_writes() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1 << 20).unwrap();
    log.append(&entry(1, 1, 1, b"before")).unwrap();
    let before = files(&disk);
    let floor = LogConfig::default().floor_bytes;
    disk.set_free_bytes(floor - 1);
    let mut index = 1;
    let refusal = loop {
        // Free space is not asked for at every write, so a few more may pass.
        index += 1;
        assert!(index < 100, "the full disk was never noticed");
        if let Err(refusal) = log.append(&entry(1, 1, index, &[1; 64 << 10])) {
            break refusal;
        }
    };
    assert!(matches!(refusal, LogError::DiskFull { free, floor: kept } if free == floor - 1 && kept == floor));
    let full = files(&disk);
    assert!(full[0].1.len() - before[0].1.len() <= 320 << 10, "noticed within a few hundred KiB");
    log.append(&entry(1, 1, index, b"refused")).unwrap_err();
    assert_eq!(files(&disk), full, "a refusal writes nothing");

    disk.set_free_bytes(floor);
    log.append(&entry(1, 1, index, b"after")).unwrap();
    let (_, found) = open(&disk, 1 << 20).unwrap();
    assert_eq!(u64::try_from(found[0].entries.len()).unwrap(), index);
}

#[test]
fn a_batch_over_the_limit_is_refused_whole() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1 << 20).unwrap();
    let before = files(&disk);
    let refusal = log.append(&entry(1, 1, 1, &vec![0; 64 << 20])).unwrap_err();
    assert!(matches!(refusal, LogError::TooLarge { .. }), "{refusal}");
    assert_eq!(files(&disk), before);
    log.append(&entry(1, 1, 1, b"smaller")).unwrap();
    assert!(log.append(&Batch::new()).unwrap().is_empty(), "nothing to write is no write");
}

#[test]
fn the_thread_waits_for_space_and_says_so() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, 1 << 20).unwrap();
    disk.set_free_bytes(0);
    let (sender, acked) = unbounded();
    let clock = Arc::new(SystemClock::new());
    let on_durable = move |durable: steward_cluster::log::Durable| sender.send(durable.number).unwrap();
    let thread =
        LogThread::start(log, clock, Progress::default().part("log"), on_durable, |failure| panic!("{failure}"))
            .unwrap();
    thread.submit(entry(1, 1, 1, b"waits"), 1).unwrap();
    while !thread.is_space_low() {
        std::thread::yield_now();
    }
    assert!(acked.try_recv().is_err());
    disk.set_free_bytes(u64::MAX);
    assert_eq!(acked.recv().unwrap(), 1);
    // It notices by itself, since nobody proposes while space is low.
    while thread.is_space_low() {
        std::thread::yield_now();
    }
    disk.set_free_bytes(0);
}

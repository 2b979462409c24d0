//! Group commit, the order of write, sync and acknowledgement, and the end after a failed sync.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use steward_cluster::clock::SystemClock;
use steward_cluster::log::disk::{Disk, DiskFile, FolderDisk, MemoryDisk};
use steward_cluster::log::{Batch, Durable, Log, LogConfig, LogError, LogThread, Position, RecordKind};
use steward_cluster::progress::Progress;

use crate::model::Model;
use crate::watched::{Step, WatchedDisk};
use crate::{DiskHandle, entry, open, push, segments};

fn start(log: Log, on_durable: impl FnMut(Durable) + Send + 'static) -> (LogThread, Receiver<LogError>) {
    let (sender, failed) = unbounded();
    let on_fatal = move |failure| sender.send(failure).unwrap();
    (
        LogThread::start(log, Arc::new(SystemClock::new()), Progress::default().part("log"), on_durable, on_fatal)
            .unwrap(),
        failed,
    )
}

#[test]
fn a_failed_sync_poisons_and_is_never_tried_again() {
    let disk = WatchedDisk::new(MemoryDisk::new().shared());
    let (mut log, _) = open(&disk, 1 << 20).unwrap();
    log.append(&entry(1, 1, 1, b"synced")).unwrap();
    disk.fail_sync_after(0);
    let failure = log.append(&entry(1, 1, 2, b"unknown")).unwrap_err();
    assert!(matches!(failure, LogError::Io { step: "sync", .. }), "{failure}");
    let steps = disk.steps();
    for _ in 0..3 {
        assert!(matches!(log.append(&entry(1, 1, 2, b"again")), Err(LogError::Poisoned)));
        assert!(matches!(log.drop_dead_segments(), Err(LogError::Poisoned)));
    }
    assert_eq!(disk.steps(), steps, "a poisoned log does not touch the disk");
}

#[test]
fn a_failed_sync_of_a_new_segment_poisons_too() {
    let disk = WatchedDisk::new(MemoryDisk::new().shared());
    let (mut log, _) = open(&disk, 33).unwrap();
    log.append(&entry(1, 1, 1, b"fills the segment")).unwrap();
    disk.fail_sync_after(0);
    log.append(&entry(1, 1, 2, b"")).unwrap_err();
    assert!(matches!(log.append(&entry(1, 1, 2, b"")), Err(LogError::Poisoned)));
}

#[test]
fn the_thread_reports_the_failure_once_and_acknowledges_nothing_more() {
    let disk = WatchedDisk::new(MemoryDisk::new().shared());
    let (log, _) = open(&disk, 1 << 20).unwrap();
    let (sender, acked) = unbounded();
    let (thread, failed) = start(log, move |durable| sender.send(durable.number).unwrap());
    thread.submit(entry(1, 1, 1, b""), 1).unwrap();
    assert_eq!(acked.recv().unwrap(), 1);
    disk.fail_sync_after(0);
    thread.submit(entry(1, 1, 2, b""), 2).unwrap();
    assert!(matches!(failed.recv().unwrap(), LogError::Io { step: "sync", .. }));
    assert!(acked.recv().is_err(), "the thread has ended and took the callback along");
    thread.submit(entry(1, 1, 3, b""), 3).unwrap_err();
    assert!(failed.recv().is_err());
}

#[test]
fn the_thread_drops_what_a_mark_frees() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, 400).unwrap();
    let (sender, acked) = unbounded();
    let (thread, failed) = start(log, move |durable| sender.send(durable.number).unwrap());
    for index in 1..=20 {
        thread.submit(entry(1, 1, index, &[1; 50]), index).unwrap();
        assert_eq!(acked.recv().unwrap(), index);
    }
    let before = segments(&disk);
    let mut mark = Batch::new();
    push(&mut mark, 1, RecordKind::SnapshotMark, 1, 20, b"");
    thread.submit(mark, 21).unwrap();
    drop(thread);
    assert!(before > 2 && segments(&disk) <= 2, "{before} segments, left: {:?}", disk.list().unwrap());
    assert!(failed.try_recv().is_err());
}

/// A disk whose syncs each wait for a word.
struct GatedDisk {
    inner: MemoryDisk,
    gate: Receiver<()>,
}

struct GatedFile {
    inner: Box<dyn DiskFile>,
    gate: Receiver<()>,
}

impl DiskFile for GatedFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.inner.write(at, bytes)
    }

    fn cut(&mut self, len: u64) -> std::io::Result<()> {
        self.inner.cut(len)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.gate.recv().map_err(std::io::Error::other)?;
        self.inner.sync()
    }
}

impl Disk for GatedDisk {
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> std::io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(GatedFile { inner: self.inner.create(name)?, gate: self.gate.clone() }))
    }

    fn open(&self, name: &str) -> std::io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(GatedFile { inner: self.inner.open(name)?, gate: self.gate.clone() }))
    }

    fn len(&self, name: &str) -> std::io::Result<u64> {
        self.inner.len(name)
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
        self.inner.read(name, offset, len)
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> std::io::Result<()> {
        self.inner.sync_dir()
    }

    fn free_bytes(&self) -> std::io::Result<u64> {
        self.inner.free_bytes()
    }
}

#[test]
fn all_that_waits_during_a_sync_goes_into_the_next_one() {
    let (open_gate, gate) = bounded(0);
    let memory = MemoryDisk::new();
    let watched = WatchedDisk::new(Arc::new(GatedDisk { inner: memory.clone(), gate }));
    let opening = std::thread::spawn({
        let watched = watched.clone();
        move || open(&watched, 1 << 20).unwrap().0
    });
    open_gate.send(()).unwrap();
    let log = opening.join().unwrap();
    let (sender, acked) = unbounded();
    let (thread, _failed) = start(log, move |durable| sender.send((durable.number, durable.positions)).unwrap());
    thread.submit(entry(1, 1, 1, b"alone"), 1).unwrap();
    // The first one is being synced when its write is seen.
    while !matches!(watched.steps().last(), Some(Step::Sync(_))) || watched.steps().len() < 5 {
        std::thread::yield_now();
    }
    let before = watched.steps().len();
    (2..=64).for_each(|number| thread.submit(entry(1, 1, number, b"together"), number).unwrap());
    assert!(acked.try_recv().is_err(), "nothing is acknowledged before its sync");
    open_gate.send(()).unwrap();
    open_gate.send(()).unwrap();
    let numbers: Vec<u64> = acked.iter().take(64).map(|(number, _)| number).collect();
    assert_eq!(numbers, (1..=64).collect::<Vec<u64>>());
    let steps = &watched.steps()[before..];
    assert!(matches!(steps, [Step::Write(..), Step::Sync(_)]), "one write, one sync: {steps:?}");
    drop(thread);
    let (log, found) = read_only(&memory);
    assert_eq!(Model::of(found, &log.reader()).shards[&1].entries.len(), 64);
}

fn read_only(memory: &MemoryDisk) -> (Log, Vec<steward_cluster::log::RecoveredShard>) {
    open(memory, 1 << 20).unwrap()
}

/// 64 appenders, each with one batch on its way, over a disk that takes a millisecond to sync.
#[test]
fn many_appenders_share_syncs_and_each_answer_follows_its_sync() {
    const APPENDERS: u16 = 64;
    const EACH: u64 = 20;
    const PAYLOAD: [u8; 300] = [5; 300];
    let folder = tempfile::tempdir().unwrap();
    let disk = WatchedDisk::new(Arc::new(FolderDisk::open(folder.path()).unwrap()));
    let config = LogConfig {
        segment_bytes: 64 << 10,
        // Always low, so that nobody writes zeros ahead: all steps are those of the log thread.
        reserve_bytes: u64::MAX,
        sync_delay: std::time::Duration::from_millis(1),
        ..LogConfig::default()
    };
    let (log, _) = Log::open(disk.shared(), config).unwrap();
    let answers: Vec<(Sender<()>, Receiver<()>)> = (0..APPENDERS).map(|_| bounded(1)).collect();
    let answer: Vec<Sender<()>> = answers.iter().map(|(sender, _)| sender.clone()).collect();
    let watched = disk.clone();
    let (thread, _failed) = start(log, move |durable| {
        watched.note(Step::Acked(durable.number));
        assert!(durable.batch.is_empty());
        answer[usize::try_from(durable.number).unwrap()].send(()).unwrap();
    });
    std::thread::scope(|scope| {
        for (shard, (_, answered)) in (0..APPENDERS).zip(&answers) {
            let thread = &thread;
            scope.spawn(move || {
                for index in 1..=EACH {
                    thread.submit(entry(shard, 1, index, &PAYLOAD), u64::from(shard)).unwrap();
                    answered.recv().unwrap();
                }
            });
        }
    });
    drop(thread);
    let appends = u64::from(APPENDERS) * EACH;
    let steps = disk.steps();
    let count = |wanted: fn(&Step) -> bool| u64::try_from(steps.iter().filter(|step| wanted(step)).count()).unwrap();
    assert_eq!(count(|step| matches!(step, Step::Acked(_))), appends);
    let syncs = count(|step| matches!(step, Step::Sync(_)));
    assert!(syncs * 4 < appends, "{syncs} syncs for {appends} batches");
    let mut unsynced = None;
    for step in &steps {
        match step {
            Step::Write(name, _) => unsynced = Some(name),
            Step::Sync(name) => assert_eq!(unsynced.take(), Some(name)),
            Step::Acked(number) => assert_eq!(unsynced, None, "batch of {number} acknowledged before its sync"),
            Step::Create(_) | Step::Open(_) | Step::Cut(..) | Step::SyncDir | Step::Rename(..) | Step::Remove(_) => {}
        }
    }
    let written: u64 = steps
        .iter()
        .map(|step| if let Step::Write(_, bytes) = step { u64::try_from(*bytes).unwrap() } else { 0 })
        .sum();
    let payload = appends * u64::try_from(PAYLOAD.len()).unwrap();
    assert!(written * 10 <= payload * 13, "{written} bytes for {payload} of payload");
    let (log, found) = Log::open(disk.shared(), LogConfig::default()).unwrap();
    let entries: usize = Model::of(found, &log.reader()).shards.values().map(|shard| shard.entries.len()).sum();
    assert_eq!(u64::try_from(entries).unwrap(), appends);
}

/// Without any dead segment: the next one is made of zeros by then, and the log leaves the one that grows for it.
#[test]
fn the_thread_has_a_spare_made_ahead_of_need() {
    const SEGMENT_BYTES: u64 = 3 << 20;
    const APPENDS_MAX: u64 = 30_000;
    let memory = MemoryDisk::new();
    let (log, _) = open(&memory, SEGMENT_BYTES).unwrap();
    let (sender, acked) = unbounded();
    let (thread, failed) = start(log, move |durable| sender.send(durable.positions[0]).unwrap());
    let mut index = 0;
    let mut append = || {
        index += 1;
        assert!(index < APPENDS_MAX, "no segment was ever begun in a spare");
        thread.submit(entry(1, 1, index, &[1; 1000]), index).unwrap();
        acked.recv().unwrap()
    };
    // In a file that grows the newest record is at its end.
    let has_room = |position: Position| {
        let len = memory.len(&format!("{:016x}.log", position.segment)).unwrap();
        len == SEGMENT_BYTES && position.offset < SEGMENT_BYTES / 2
    };
    while !has_room(append()) {}
    append();
    drop(thread);
    assert!(failed.try_recv().is_err());
    let (_, found) = open(&memory, SEGMENT_BYTES).unwrap();
    assert_eq!(u64::try_from(found[0].entries.len()).unwrap(), index);
    assert_eq!(segments(&memory), memory.list().unwrap().len(), "what is left of spares goes at a start");
}

//! The driver on a real folder: readiness, acknowledged proposals after pulling the plug, purge, and refusals.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use super::*;
use crate::clock::SystemClock;
use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::log::disk::{Disk, DiskFile, FolderDisk};
use crate::log::{Log, LogConfig};
use crate::raft::ShardDetail;
use crate::raft::election::TICK;

const SHARDS: u16 = 64;
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder that counts the syncs of its files, and has as much space as it is told.
struct CountingDisk {
    folder: FolderDisk,
    syncs: Arc<AtomicU64>,
    free_bytes: Arc<AtomicU64>,
}

struct CountingFile {
    file: Box<dyn DiskFile>,
    syncs: Arc<AtomicU64>,
}

impl DiskFile for CountingFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write(at, bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync()
    }
}

impl CountingDisk {
    fn open(folder: &Path) -> Self {
        let free_bytes = Arc::new(AtomicU64::new(1 << 60));
        Self { folder: FolderDisk::open(folder).unwrap(), syncs: Arc::default(), free_bytes }
    }

    fn counted(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(CountingFile { file, syncs: Arc::clone(&self.syncs) })
    }
}

impl Disk for CountingDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.counted(self.folder.create(name)?))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.counted(self.folder.open(name)?))
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.folder.len(name)
    }
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.folder.read(name, offset, len)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.folder.sync_dir()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.free_bytes.load(Ordering::Relaxed))
    }
}

type Applied = BTreeMap<(ShardId, LogIndex), Bytes>;

/// Remembers what was applied and insists on the order.
struct Remembering {
    applied: Arc<Mutex<Applied>>,
    last: BTreeMap<ShardId, LogIndex>,
    roles: Sender<(ShardId, Role)>,
}

impl StateMachine for Remembering {
    fn apply(&mut self, entries: &[Committed<'_>]) -> Result<(), ApplyError> {
        for entry in entries {
            let last = self.last.entry(entry.shard).or_default();
            assert_eq!(entry.index, LogIndex(last.0 + 1), "{} skips or repeats", entry.shard);
            *last = entry.index;
            self.applied.lock().insert((entry.shard, entry.index), entry.data.clone());
        }
        Ok(())
    }

    fn install(&mut self, shard: ShardId, _: LogIndex) -> Result<Installation, ApplyError> {
        panic!("nobody sends a snapshot of {shard}")
    }

    fn leave(&mut self, shard: ShardId) -> Result<(), ApplyError> {
        panic!("{shard} goes nowhere")
    }

    fn snapshot_wanted(&mut self, shard: ShardId) {
        panic!("nobody lacks {shard}")
    }

    fn role_changed(&mut self, shard: ShardId, role: Role) {
        self.roles.send((shard, role)).ok();
    }
}

struct Node {
    driver: Driver,
    applied: Arc<Mutex<Applied>>,
    roles: Receiver<(ShardId, Role)>,
    syncs: Arc<AtomicU64>,
    failures: Receiver<DriverFailure>,
}

/// A node with one shard and no others.
fn alone(on_failure: OnFailure) -> DriverConfig {
    DriverConfig {
        node: NodeId(1),
        shards: 1,
        founders: vec![NodeId(1)],
        transport: None,
        elections: ElectionTicks::default(),
        clock: Arc::new(SystemClock::new()),
        on_failure,
    }
}

fn open(folder: &Path, log: LogConfig, applied: &[(ShardId, LogIndex)]) -> Result<Node, StartError> {
    let disk = CountingDisk::open(folder);
    let syncs = Arc::clone(&disk.syncs);
    let opened = Log::open(Arc::new(disk), log).unwrap();
    let remembered = Arc::new(Mutex::new(Applied::new()));
    let (roles_sender, roles) = unbounded();
    let (failures_sender, failures) = unbounded();
    let machine =
        Remembering { applied: Arc::clone(&remembered), last: applied.iter().copied().collect(), roles: roles_sender };
    let on_failure = Arc::new(move |failure| {
        failures_sender.send(failure).ok();
    });
    let config = DriverConfig { shards: SHARDS, ..alone(on_failure) };
    let driver = start(config, opened, applied, machine)?;
    Ok(Node { driver, applied: remembered, roles, syncs, failures })
}

impl Node {
    /// The terms of all shards once every one of them is led.
    fn ready(&self) -> BTreeMap<ShardId, Term> {
        let mut terms = BTreeMap::new();
        while terms.len() < usize::from(SHARDS) {
            let (shard, role) = self.roles.recv_timeout(PATIENCE).expect("every shard is soon ready");
            if let Role::Leader { term, ready: true } = role {
                terms.insert(shard, term);
            }
        }
        terms
    }

    fn propose(&self, shard: ShardId, term: Term, data: impl Into<Bytes>) -> Result<LogIndex, ProposeError> {
        propose(&self.driver.handle(), shard, term, data.into())
    }
}

fn propose(handle: &DriverHandle, shard: ShardId, term: Term, data: Bytes) -> Result<LogIndex, ProposeError> {
    let (answer, answered) = crossbeam_channel::bounded(1);
    let done: Done = Box::new(move |outcome| answer.send(outcome).unwrap());
    handle.propose(Proposal { shard, term, data: Box::new(move || data), done });
    answered.recv_timeout(PATIENCE).expect("every proposal is answered")
}

/// Proposes from one thread per shard, one proposal at a time each, until all are done or the node is gone; gives what
/// was acknowledged.
fn load(handle: &DriverHandle, terms: &BTreeMap<ShardId, Term>, each: usize, done: &Sender<()>) -> Applied {
    let acknowledged = Mutex::new(Applied::new());
    std::thread::scope(|scope| {
        for (&shard, &term) in terms {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                for number in 0..each {
                    let data = Bytes::from(format!("{shard} proposal {number}"));
                    let Ok(index) = propose(handle, shard, term, data.clone()) else { return };
                    acknowledged.lock().insert((shard, index), data);
                    done.send(()).ok();
                }
            });
        }
    });
    acknowledged.into_inner()
}

fn assert_holds(applied: &Applied, acknowledged: &Applied) {
    for (place, data) in acknowledged {
        assert_eq!(applied.get(place), Some(data), "acknowledged entry {place:?} is missing");
    }
}

#[test]
fn all_shards_are_ready_after_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path(), LogConfig::default(), &[]).unwrap();
    let before = 1; // Opening syncs the header of the first segment.
    assert!(node.ready().values().all(|term| *term == Term(1)));
    assert_eq!(node.syncs.load(Ordering::Relaxed) - before, 1, "64 elections share one batch");
    let status = node.driver.handle().status(ShardId(63)).unwrap();
    assert_eq!((status.role, status.applied), (Role::Leader { term: Term(1), ready: true }, LogIndex(1)));
    node.driver.stop();
    let again = open(folder.path(), LogConfig::default(), &[]).unwrap();
    assert!(again.ready().values().all(|term| *term == Term(2)));
}

#[test]
fn who_asks_how_shards_stand_gets_the_last_answer_until_something_happens() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path(), LogConfig::default(), &[]).unwrap();
    let terms = node.ready();
    let handle = node.driver.handle();
    let ask = || {
        let (told, answer) = crossbeam_channel::bounded(1);
        handle.inspect(move |details| told.send(details).unwrap());
        answer.recv_timeout(PATIENCE).expect("the driver answers")
    };
    let at_rest = || (0..10_000).map(|_| (ask(), ask())).find(|(one, other)| Arc::ptr_eq(one, other));
    let (before, _) = at_rest().expect("nothing happens any more");
    assert_eq!(before.len(), usize::from(SHARDS));

    node.propose(ShardId(7), terms[&ShardId(7)], "one more").unwrap();
    let (after, _) = at_rest().expect("nothing happens any more");
    let applied = |details: &[ShardDetail]| details.iter().map(|detail| detail.status.applied.0).collect::<Vec<_>>();
    let mut expected = applied(&before);
    expected[7] += 1;
    assert_eq!(applied(&after), expected);
    node.driver.stop();
}

#[test]
fn ten_thousand_proposals_share_syncs_and_survive_the_plug() {
    let folder = tempfile::tempdir().unwrap();
    // A sync as slow as that of a common disk, so that the measure does not depend on this one.
    let log = LogConfig { sync_delay: Duration::from_millis(1), ..LogConfig::default() };
    let node = open(folder.path(), log, &[]).unwrap();
    let terms = node.ready();
    let before = node.syncs.load(Ordering::Relaxed);
    let (done, progress) = unbounded();
    let handle = node.driver.handle();
    let loader = std::thread::spawn(move || load(&handle, &terms, 1_000, &done));
    for _ in 0..10_000 {
        progress.recv_timeout(PATIENCE).expect("proposals go on being acknowledged");
    }
    let syncs = node.syncs.load(Ordering::Relaxed) - before;
    let applied_before = Arc::clone(&node.applied);
    drop(node);
    let acknowledged = loader.join().unwrap();
    assert!(acknowledged.len() >= 10_000);
    assert!(acknowledged.len() < 64_000, "the plug was pulled in the middle");
    assert!(syncs * 2 < 10_000, "{syncs} syncs for 10000 proposals");
    assert_holds(&applied_before.lock(), &acknowledged);

    // A store that lost everything is filled from the log alone.
    let node = open(folder.path(), LogConfig::default(), &[]).unwrap();
    node.ready();
    assert_holds(&node.applied.lock(), &acknowledged);
    assert!(node.failures.is_empty());
}

#[test]
fn proposals_of_another_term_or_shard_or_size_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path(), LogConfig::default(), &[]).unwrap();
    node.ready();
    let shard = ShardId(5);
    let stale = ProposeError::StaleTerm { shard, decided: Term(9), current: Term(1) };
    assert_eq!(node.propose(shard, Term(9), "x"), Err(stale));
    assert_eq!(node.propose(ShardId(SHARDS), Term(1), "x"), Err(ProposeError::NoSuchShard { shard: ShardId(SHARDS) }));
    for bytes in [0, PROPOSAL_BYTES_MAX + 1] {
        let size = ProposeError::Size { shard, bytes, bytes_max: PROPOSAL_BYTES_MAX };
        assert_eq!(node.propose(shard, Term(1), vec![0; bytes]), Err(size));
    }
    assert_eq!(node.propose(shard, Term(1), vec![7; PROPOSAL_BYTES_MAX]), Ok(LogIndex(2)));
    let handle = node.driver.handle();
    node.driver.stop();
    assert_eq!(propose(&handle, shard, Term(1), "late".into()), Err(ProposeError::Stopped));
}

#[test]
fn a_full_disk_refuses_proposals() {
    let folder = tempfile::tempdir().unwrap();
    let log = LogConfig { reserve_bytes: u64::MAX, floor_bytes: 0, ..LogConfig::default() };
    let node = open(folder.path(), log, &[]).unwrap();
    let terms = node.ready();
    let shard = ShardId(0);
    // The log measures space with a write and tells before the next one is durable, so the third proposal must see it.
    let outcomes = [(); 3].map(|()| node.propose(shard, terms[&shard], "x"));
    assert_eq!(outcomes[2], Err(ProposeError::SpaceLow { shard }));
}

#[test]
fn snapshots_free_the_log_and_a_store_behind_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = LogConfig { segment_bytes: 4 << 10, ..LogConfig::default() };
    let node = open(folder.path(), log.clone(), &[]).unwrap();
    let terms = node.ready();
    let is_segment = |name: std::ffi::OsString| name.to_string_lossy().ends_with(".log");
    let names = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let segments = || names().filter(|name| is_segment(name.clone())).count();
    let (done, _progress) = unbounded();
    load(&node.driver.handle(), &terms, 20, &done);
    let many = segments();
    for shard in terms.keys() {
        node.driver.handle().snapshot_taken(*shard, LogIndex(21));
    }
    // Another write behind the marks, so that they are durable and acted upon.
    assert_eq!(node.propose(ShardId(0), Term(1), "behind"), Ok(LogIndex(22)));
    assert_eq!(node.driver.handle().status(ShardId(0)).unwrap().first, LogIndex(22));
    node.driver.stop();
    assert!(many > 5 && segments() <= 2, "{} of {many} files are left", segments());

    let applied: Vec<_> = terms.keys().map(|shard| (*shard, LogIndex(21))).collect();
    let node = open(folder.path(), log.clone(), &applied).unwrap();
    assert_eq!(node.ready()[&ShardId(0)], Term(2));
    assert_eq!(node.applied.lock().get(&(ShardId(0), LogIndex(22))), Some(&Bytes::from("behind")));
    node.driver.stop();

    let behind = open(folder.path(), log.clone(), &applied[1..]).err().expect("entries 1 to 21 are gone");
    let names =
        matches!(behind, StartError::StoreBehindLog { shard: ShardId(0), applied: LogIndex(0), first: LogIndex(22) });
    assert!(names, "{behind}");
    let mut ahead = applied;
    ahead[7].1 = LogIndex(99);
    let ahead = open(folder.path(), log, &ahead).err().expect("the store knows entries the log lost");
    assert!(matches!(ahead, StartError::LogBehindStore { shard: ShardId(7), .. }), "{ahead}");
}

/// A state machine that fails in the way told.
struct Failing {
    panics: bool,
}

impl StateMachine for Failing {
    fn apply(&mut self, _entries: &[Committed<'_>]) -> Result<(), ApplyError> {
        assert!(!self.panics, "as told");
        Err(ApplyError { source: "no".into() })
    }

    fn install(&mut self, shard: ShardId, _: LogIndex) -> Result<Installation, ApplyError> {
        panic!("nobody sends a snapshot of {shard}")
    }

    fn leave(&mut self, shard: ShardId) -> Result<(), ApplyError> {
        panic!("{shard} goes nowhere")
    }

    fn snapshot_wanted(&mut self, shard: ShardId) {
        panic!("nobody lacks {shard}")
    }

    fn role_changed(&mut self, _shard: ShardId, _role: Role) {}
}

#[test]
fn a_state_machine_that_cannot_follow_ends_the_driver() {
    for panics in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let disk = FolderDisk::open(folder.path()).unwrap();
        let opened = Log::open(Arc::new(disk), LogConfig::default()).unwrap();
        let (failures_sender, failures) = unbounded();
        let config = alone(Arc::new(move |failure| failures_sender.send(failure).unwrap()));
        let driver = start(config, opened, &[], Failing { panics }).unwrap();
        let failure = failures.recv_timeout(PATIENCE).unwrap();
        match failure {
            DriverFailure::Apply(_) => assert!(!panics),
            DriverFailure::Panic { thread: "steward-applier", ref reason } => {
                assert!(panics && reason.contains("as told"))
            }
            DriverFailure::Log(_) | DriverFailure::Panic { .. } => panic!("{failure}"),
        }
        driver.stop();
    }
}

/// The way to peers that only hear that this node is alive.
struct Signs(Sender<()>);

impl Transport for Signs {
    fn send(&mut self, _to: NodeId, _messages: Vec<PeerMessage>) {}

    fn alive(&mut self) {
        self.0.send(()).ok();
    }

    fn fetch(&mut self, message: PeerMessage) {
        panic!("nobody sent {message:?}")
    }
}

/// A node that could have peers, and what they hear of it.
fn heard(disk: CountingDisk, founders: &[u64]) -> (Driver, Receiver<()>) {
    let opened = Log::open(Arc::new(disk), LogConfig::default()).unwrap();
    let (signs_sender, signs) = unbounded();
    let (roles, _) = unbounded();
    let config = DriverConfig {
        founders: founders.iter().copied().map(NodeId).collect(),
        transport: Some(Box::new(Signs(signs_sender))),
        ..alone(Arc::new(|failure| panic!("{failure}")))
    };
    let machine = Remembering { applied: Arc::default(), last: BTreeMap::new(), roles };
    (start(config, opened, &[], machine).unwrap(), signs)
}

#[test]
fn the_driver_itself_says_that_its_node_is_alive() {
    let folder = tempfile::tempdir().unwrap();
    let (driver, signs) = heard(CountingDisk::open(folder.path()), &[1, 2]);
    (0..3).for_each(|_| signs.recv_timeout(PATIENCE).unwrap());
    driver.stop();
    // With the driver its end of the channel is gone, and so is whoever could speak for it.
    assert!(signs.iter().count() < 2);
}

#[test]
fn a_driver_whose_log_takes_nothing_is_not_said_to_be_alive() {
    let folder = tempfile::tempdir().unwrap();
    let disk = CountingDisk::open(folder.path());
    let free_bytes = Arc::clone(&disk.free_bytes);
    free_bytes.store(0, Ordering::Relaxed);
    // It elects itself, and the first entry waits for space.
    let (driver, signs) = heard(disk, &[1]);
    let said = std::iter::from_fn(|| signs.recv_timeout(32 * TICK).ok()).take(100).count();
    free_bytes.store(1 << 60, Ordering::Relaxed);
    signs.recv_timeout(PATIENCE).expect("with space it goes on");
    driver.stop();
    assert!(said < 100, "those who rely on it would sleep on");
}

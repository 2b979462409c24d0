//! Snapshots of the shards, so that the log can forget. Written on a thread of their own, one shard after the other.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use steward_cluster::format::Format;
use steward_cluster::ids::{LogIndex, ShardId, Term};
use steward_cluster::priority;
use steward_cluster::raft::DriverHandle;
use steward_cluster::store::{StateStore, snapshot};

use crate::metrics;

/// Bytes a log entry takes beside its data.
const ENTRY_HEAD_BYTES: usize = 64;

/// What is known about each shard's place.
pub(crate) struct Snapshots {
    folder: PathBuf,
    shards: Vec<Mutex<Progress>>,
    log_bytes: AtomicU64,
    round_bytes: AtomicU64,
    running: AtomicBool,
    /// Shards of which a peer needs one now.
    wanted: Mutex<BTreeSet<ShardId>>,
    /// Whether all shards that moved are to have one.
    is_round_due: AtomicBool,
}

#[derive(Default)]
struct Progress {
    taken: LogIndex,
    applied: LogIndex,
    /// Where terms begin, oldest first; as far as the next snapshot may need them.
    terms: Vec<(LogIndex, Term)>,
}

impl Snapshots {
    /// Starts from the snapshots found in the folder.
    pub(crate) fn new(folder: PathBuf, shards: u16) -> Result<Self, snapshot::SnapshotError> {
        let mut progress: Vec<Progress> = (0..shards).map(|_| Progress::default()).collect();
        for found in snapshot::list(&folder)? {
            if let Some(progress) = progress.get_mut(usize::from(found.shard.0)) {
                progress.taken = progress.taken.max(found.index);
            }
        }
        let shards = progress.into_iter().map(Mutex::new).collect();
        Ok(Self {
            folder,
            shards,
            log_bytes: AtomicU64::new(0),
            round_bytes: AtomicU64::new(0),
            running: AtomicBool::new(false),
            wanted: Mutex::default(),
            is_round_due: AtomicBool::new(false),
        })
    }

    /// Notes an applied entry.
    pub(crate) fn note(&self, shard: ShardId, index: LogIndex, term: Term, bytes: usize) {
        let bytes = u64::try_from(bytes + ENTRY_HEAD_BYTES).expect("an entry has a few megabytes");
        self.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        let Some(progress) = self.shards.get(usize::from(shard.0)) else { return };
        let mut progress = progress.lock();
        progress.applied = index;
        if progress.terms.last().is_none_or(|(_, newest)| *newest != term) {
            progress.terms.push((index, term));
        }
    }

    /// The entry a shard's newest snapshot stands at.
    pub(crate) fn taken(&self, shard: ShardId) -> LogIndex {
        self.shards.get(usize::from(shard.0)).map_or(LogIndex(0), |progress| progress.lock().taken)
    }

    /// Whether enough was logged for another round.
    pub(crate) fn is_due(&self, log_bytes: u64) -> bool {
        let due_at = self.round_bytes.load(Ordering::Relaxed).max(log_bytes);
        self.log_bytes.load(Ordering::Relaxed) >= due_at
    }

    /// Takes a snapshot of every shard that has moved, on a thread of its own.
    pub(crate) fn start_round(self: &Arc<Self>, store: Arc<dyn StateStore>, driver: DriverHandle) {
        self.log_bytes.store(0, Ordering::Relaxed);
        self.is_round_due.store(true, Ordering::Release);
        self.start(store, driver);
    }

    /// Takes a snapshot of one shard for a peer, before any others.
    pub(crate) fn want(self: &Arc<Self>, shard: ShardId, store: Arc<dyn StateStore>, driver: DriverHandle) {
        self.wanted.lock().insert(shard);
        self.start(store, driver);
    }

    /// Puts a snapshot that was fetched from a peer in place of what the store has of the shard.
    pub(crate) fn install(
        &self,
        store: &dyn StateStore,
        shard: ShardId,
        index: LogIndex,
    ) -> Result<(), snapshot::SnapshotError> {
        let path = snapshot::accept(&self.folder, shard, index)?;
        let file = snapshot::load(&path, store)?;
        let mut progress = self.shards[usize::from(shard.0)].lock();
        *progress = Progress { taken: index, applied: index, terms: vec![(index, file.term)] };
        Ok(())
    }

    /// Forgets a shard that has left: its rows, then its snapshots.
    pub(crate) fn forget(&self, store: &dyn StateStore, shard: ShardId) -> Result<(), snapshot::SnapshotError> {
        store.clear_shard(shard)?;
        snapshot::remove_all(&self.folder, shard)?;
        *self.shards[usize::from(shard.0)].lock() = Progress::default();
        Ok(())
    }

    /// Starts the thread, unless it runs.
    fn start(self: &Arc<Self>, store: Arc<dyn StateStore>, driver: DriverHandle) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let snapshots = Arc::clone(self);
        let work = move || {
            priority::behind();
            loop {
                snapshots.work_off(&*store, &driver);
                snapshots.running.store(false, Ordering::Release);
                // What came between the last look and the line above found the thread still running.
                if !snapshots.has_work() || snapshots.running.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("steward-snapshot".to_owned()).spawn(work) {
            tracing::warn!(error = %error, "no thread for snapshots");
            self.running.store(false, Ordering::Release);
        }
    }

    fn has_work(&self) -> bool {
        self.is_round_due.load(Ordering::Acquire) || !self.wanted.lock().is_empty()
    }

    fn work_off(&self, store: &dyn StateStore, driver: &DriverHandle) {
        self.take_wanted(store, driver);
        if self.is_round_due.swap(false, Ordering::AcqRel) {
            self.round(store, driver);
        }
    }

    fn take_wanted(&self, store: &dyn StateStore, driver: &DriverHandle) {
        loop {
            let wanted = self.wanted.lock().pop_first();
            let Some(shard) = wanted else { return };
            self.take_one(store, driver, shard);
        }
    }

    /// Takes one snapshot and tells the driver; gives the bytes written.
    fn take_one(&self, store: &dyn StateStore, driver: &DriverHandle, shard: ShardId) -> u64 {
        match self.take(store, driver, shard) {
            Ok((bytes, index, covered)) => {
                driver.offer_snapshot(shard, index);
                if let Some(covered) = covered {
                    driver.snapshot_taken(shard, covered);
                }
                bytes
            }
            // The log is kept until a later round succeeds; a peer asks again.
            Err(error) => {
                tracing::warn!(shard = shard.0, error = %error, "snapshot failed");
                0
            }
        }
    }

    fn round(&self, store: &dyn StateStore, driver: &DriverHandle) {
        let mut written = 0;
        for (number, progress) in (0..).zip(&self.shards) {
            let shard = ShardId(number);
            let moved = {
                let progress = progress.lock();
                progress.applied > progress.taken
            };
            if !moved {
                continue;
            }
            written += self.take_one(store, driver, shard);
            self.take_wanted(store, driver);
        }
        metrics::snapshot_bytes(written);
        self.round_bytes.store(written, Ordering::Relaxed);
    }

    /// How many bytes it wrote, where it stands, and how far the log may forget: up to the snapshot before, so that a
    /// damaged one can be replaced by its predecessor and the log.
    fn take(
        &self,
        store: &dyn StateStore,
        driver: &DriverHandle,
        shard: ShardId,
    ) -> Result<(u64, LogIndex, Option<LogIndex>), snapshot::SnapshotError> {
        let progress = &self.shards[usize::from(shard.0)];
        let term_of = |index: LogIndex| {
            let progress = progress.lock();
            let before = progress.terms.iter().rev().find(|(first, _)| *first <= index);
            before.map_or(Term(0), |(_, term)| *term)
        };
        // Asked for when all rows are read: by then it is not below what they need.
        let format = || driver.status(shard).map_or(Format::FIRST, |status| status.format);
        let file = snapshot::write(store, shard, &|index| (term_of(index), format()), &self.folder)?;
        let before = snapshot::prune(&self.folder, shard)?.get(1).map(|kept| kept.index);
        let mut progress = progress.lock();
        progress.taken = file.index;
        let current = progress.terms.partition_point(|(first, _)| *first <= file.index).saturating_sub(1);
        progress.terms.drain(..current);
        Ok((file.bytes, file.index, before))
    }
}

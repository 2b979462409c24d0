//! Snapshots of the shards, so that the log can forget. Written on a thread of their own, one shard after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use steward_cluster::ids::{LogIndex, ShardId, Term};
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
        let (log_bytes, round_bytes, running) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self { folder, shards, log_bytes, round_bytes, running })
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

    /// Takes a snapshot of every shard that has moved, on a new thread; nothing when a round is on already.
    pub(crate) fn start_round(self: &Arc<Self>, store: Arc<dyn StateStore>, driver: DriverHandle) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        self.log_bytes.store(0, Ordering::Relaxed);
        let snapshots = Arc::clone(self);
        let round = move || {
            snapshots.round(&*store, &driver);
            snapshots.running.store(false, Ordering::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("steward-snapshot".to_owned()).spawn(round) {
            tracing::warn!(error = %error, "no thread for snapshots");
            self.running.store(false, Ordering::Release);
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
            match self.take(store, shard) {
                Ok((bytes, covered)) => {
                    written += bytes;
                    if let Some(index) = covered {
                        driver.snapshot_taken(shard, index);
                    }
                }
                // The log is kept until a later round succeeds.
                Err(error) => tracing::warn!(shard = number, error = %error, "snapshot failed"),
            }
        }
        metrics::snapshot_bytes(written);
        self.round_bytes.store(written, Ordering::Relaxed);
    }

    /// How many bytes it wrote, and how far the log may forget: up to the snapshot before, so that a damaged one can be
    /// replaced by its predecessor and the log.
    fn take(&self, store: &dyn StateStore, shard: ShardId) -> Result<(u64, Option<LogIndex>), snapshot::SnapshotError> {
        let progress = &self.shards[usize::from(shard.0)];
        let term_of = |index: LogIndex| {
            let progress = progress.lock();
            let before = progress.terms.iter().rev().find(|(first, _)| *first <= index);
            before.map_or(Term(0), |(_, term)| *term)
        };
        let file = snapshot::write(store, shard, &term_of, &self.folder)?;
        let before = snapshot::prune(&self.folder, shard)?.get(1).map(|kept| kept.index);
        let mut progress = progress.lock();
        progress.taken = file.index;
        let current = progress.terms.partition_point(|(first, _)| *first <= file.index).saturating_sub(1);
        progress.terms.drain(..current);
        Ok((file.bytes, before))
    }
}

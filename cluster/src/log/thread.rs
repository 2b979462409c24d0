//! Runs the log on a thread of its own, so that the next batch forms while the last one syncs. The driver owns it.
//!
//! # Invariants
//! - **T1 group commit**: all batches that wait when a sync ends go into the next write; nobody waits for company.
//! - **T2 order**: batches become durable, and are reported, in the order they were handed in.
//! - **T3 one failure is the last**: a failed write or sync is reported once and ends the thread. Nothing is reported
//!   durable after it.
//! - **T4 a full disk waits**: nothing was written, so the thread holds the batches until there is space again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::ahead::Ahead;
use super::append::{Log, LogStats};
use super::error::LogError;
use super::metrics;
use super::record::{Batch, Position, RecordKind};
use crate::clock::Clock;
use crate::priority;
use crate::progress::Part;

/// Batches that may wait; a driver that is further ahead than this is held up.
const WAITING_BATCHES_MAX: usize = 1024;
/// A group takes in no further batch once it has this many bytes.
const GROUP_BYTES_TARGET: usize = 4 << 20;
/// How often free space is looked at again while it is low.
const SPACE_RECHECK: Duration = Duration::from_millis(200);

/// A batch that survives a power cut from now on.
#[derive(Debug)]
pub struct Durable {
    /// As handed in with the batch.
    pub number: u64,
    /// Where its records stand, in order.
    pub positions: Vec<Position>,
    /// The batch, emptied for its next use.
    pub batch: Batch,
}

/// The log thread has ended; its failure went to the hook.
#[derive(Debug, thiserror::Error)]
#[error("log thread has stopped")]
pub struct LogStopped;

/// The handle of a running log. Dropping it writes what waits and ends the thread.
pub struct LogThread {
    waiting: Option<Sender<(u64, Batch)>>,
    shared: Arc<Shared>,
    at_work: Arc<Part>,
    thread: Option<JoinHandle<()>>,
}

/// Whether free space is low, for whoever does not own the log.
#[derive(Clone)]
pub(crate) struct SpaceWatch(Arc<Shared>);

impl SpaceWatch {
    pub(crate) fn is_low(&self) -> bool {
        self.0.is_space_low.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Shared {
    is_space_low: AtomicBool,
    is_stopping: AtomicBool,
}

impl LogThread {
    /// Starts the thread. `on_durable` is called on it, so it must never block; `on_fatal` is called at most once, and
    /// in production ends the process, so that nothing is answered that may not be durable.
    ///
    /// # Errors
    /// When the thread can not be started.
    pub fn start(
        log: Log,
        clock: Arc<dyn Clock>,
        at_work: Arc<Part>,
        on_durable: impl FnMut(Durable) + Send + 'static,
        on_fatal: impl FnOnce(LogError) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = bounded(WAITING_BATCHES_MAX);
        let shared = Arc::new(Shared::default());
        let reported = LogStats::default();
        let ahead = Ahead::start(log.disk())?;
        let shared_too = Arc::clone(&shared);
        let watched = Arc::clone(&at_work);
        let mut worker =
            Worker { log, ahead, clock, at_work, waiting: receiver, shared: shared_too, reported, on_durable };
        let run = move || {
            priority::ahead();
            if let Err(failure) = worker.run() {
                on_fatal(failure);
            }
        };
        let thread = std::thread::Builder::new().name("steward-log".to_owned()).spawn(run)?;
        Ok(Self { waiting: Some(sender), shared, at_work: watched, thread: Some(thread) })
    }

    /// Hands in a batch; `number` comes back with it when it is durable. Blocks while too many wait.
    ///
    /// # Errors
    /// [`LogStopped`] after a failure: the batch will never be durable.
    pub fn submit(&self, batch: Batch, number: u64) -> Result<(), LogStopped> {
        let waiting = self.waiting.as_ref().ok_or(LogStopped)?;
        self.at_work.given();
        waiting.send((number, batch)).map_err(|_| LogStopped)
    }

    /// Whether free space is below the reserve, so that new proposals must be refused.
    #[must_use]
    pub fn is_space_low(&self) -> bool {
        self.shared.is_space_low.load(Ordering::Relaxed)
    }

    /// The same for somebody else.
    pub(crate) fn space_watch(&self) -> SpaceWatch {
        SpaceWatch(Arc::clone(&self.shared))
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        self.waiting = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened; there is nobody left to tell.
            thread.join().ok();
        }
    }
}

/// What waited together, in the order it was handed in.
struct Group {
    numbers: Vec<u64>,
    batches: Vec<Batch>,
}

struct Worker<F> {
    log: Log,
    ahead: Ahead,
    clock: Arc<dyn Clock>,
    at_work: Arc<Part>,
    waiting: Receiver<(u64, Batch)>,
    shared: Arc<Shared>,
    /// What the metrics have been told.
    reported: LogStats,
    on_durable: F,
}

impl<F: FnMut(Durable)> Worker<F> {
    fn run(&mut self) -> Result<(), LogError> {
        while let Some(Group { numbers, batches }) = self.next_group()? {
            self.at_work.begins(None);
            let frees = batches.iter().any(frees_entries);
            let started = self.clock.monotonic();
            let Some(positions) = self.append(&batches)? else {
                return Ok(());
            };
            metrics::steward_log_append_seconds(self.clock.monotonic().saturating_sub(started));
            for ((number, mut batch), positions) in numbers.into_iter().zip(batches).zip(positions) {
                batch.clear();
                (self.on_durable)(Durable { number, positions, batch });
            }
            if frees {
                self.log.drop_dead_segments()?;
            }
            self.ahead.serve(&mut self.log);
            self.report();
            self.at_work.rests();
        }
        Ok(())
    }

    /// Waits for a batch and takes along whatever else waits; nothing when the handle is gone.
    fn next_group(&mut self) -> Result<Option<Group>, LogError> {
        let Some((number, batch)) = self.next_batch()? else {
            return Ok(None);
        };
        self.at_work.taken();
        let mut bytes = batch.byte_len();
        let (mut numbers, mut batches) = (vec![number], vec![batch]);
        while bytes < GROUP_BYTES_TARGET
            && let Ok((number, batch)) = self.waiting.try_recv()
        {
            self.at_work.taken();
            bytes += batch.byte_len();
            numbers.push(number);
            batches.push(batch);
        }
        Ok(Some(Group { numbers, batches }))
    }

    fn next_batch(&mut self) -> Result<Option<(u64, Batch)>, LogError> {
        // While proposals are refused no batch may come by to notice that there is space again.
        while self.log.space().is_low {
            match self.waiting.recv_timeout(SPACE_RECHECK) {
                Ok(batch) => return Ok(Some(batch)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    self.log.check_space()?;
                    self.report();
                }
            }
        }
        Ok(self.waiting.recv().ok())
    }

    /// Appends as soon as there is space; nothing when the handle went while there was none.
    fn append(&mut self, batches: &[Batch]) -> Result<Option<Vec<Vec<Position>>>, LogError> {
        loop {
            match self.log.append_all(batches) {
                Ok(positions) => return Ok(Some(positions)),
                Err(LogError::DiskFull { free, floor }) => {
                    self.report();
                    if self.shared.is_stopping.load(Ordering::Relaxed) {
                        return Ok(None);
                    }
                    tracing::warn!(free, floor, "disk is full, the log waits for space");
                    self.at_work.begins(None); // It waits for space, and looks again.
                    std::thread::sleep(SPACE_RECHECK);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    fn report(&mut self) {
        let (now, before) = (self.log.stats(), self.reported);
        metrics::steward_log_bytes_total(now.bytes - before.bytes);
        metrics::steward_log_payload_bytes_total(now.payload_bytes - before.payload_bytes);
        metrics::steward_log_records_total(now.records - before.records);
        metrics::steward_log_syncs_total(now.syncs - before.syncs);
        metrics::steward_log_ahead_bytes_total(now.ahead_bytes - before.ahead_bytes);
        metrics::steward_log_spares(u32::try_from(self.log.spare_count()).unwrap_or(u32::MAX));
        metrics::steward_log_segments(u32::try_from(self.log.segment_count()).unwrap_or(u32::MAX));
        let is_low = self.log.space().is_low;
        metrics::steward_log_space_low(is_low);
        let was_low = self.shared.is_space_low.swap(is_low, Ordering::Relaxed);
        if is_low && !was_low {
            let free = self.log.space().free_bytes;
            tracing::warn!(free, "disk space is low, commands are refused until there is more");
        } else if was_low && !is_low {
            tracing::info!("there is disk space again, commands are taken");
        }
        self.reported = now;
    }
}

fn frees_entries(batch: &Batch) -> bool {
    batch.records().iter().any(|(head, _)| match head.kind {
        RecordKind::SnapshotMark | RecordKind::Purge => true,
        RecordKind::Entry | RecordKind::Change | RecordKind::HardState | RecordKind::Members => false,
    })
}

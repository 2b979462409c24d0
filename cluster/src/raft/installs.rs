//! Snapshots that are being put in place, and what has to wait for them. The applier owns it.
//!
//! A snapshot takes as long as its shard is large. It is loaded on a thread of its own, so that the other shards of the
//! node go on; whatever comes for its shard meanwhile is held back, in order.

use std::collections::BTreeMap;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::ids::{LogIndex, ShardId};
use crate::raft::work::Work;
use crate::raft::{ApplyError, Installation};

/// Bytes of entries held back for shards that are being loaded. With more the applier waits for one of them.
pub(super) const HELD_BYTES_MAX: usize = 16 << 20;

/// A snapshot to be put in place.
pub(crate) struct Job {
    shard: ShardId,
    index: LogIndex,
    installation: Installation,
}

pub(crate) struct Installs {
    jobs: Sender<Job>,
    /// What was put in place.
    pub(crate) done: Receiver<(ShardId, LogIndex)>,
    held: BTreeMap<ShardId, Vec<Work>>,
    held_bytes: usize,
}

/// Puts snapshots in place, one after the other, on the thread that runs it.
pub(crate) struct Installer {
    jobs: Receiver<Job>,
    done: Sender<(ShardId, LogIndex)>,
}

impl Installer {
    /// Runs until the applier is gone.
    pub(crate) fn run(self) -> Result<(), ApplyError> {
        for Job { shard, index, installation } in self.jobs {
            installation()?;
            // An applier that is gone has reported why.
            self.done.send((shard, index)).ok();
        }
        Ok(())
    }
}

impl Installs {
    /// For so many shards. Each is put in place once at a time, so nobody waits to hand one over.
    pub(crate) fn new(shards: u16) -> (Self, Installer) {
        let ((jobs, jobs_there), (done, done_here)) = (bounded(usize::from(shards)), bounded(usize::from(shards)));
        let installs = Self { jobs, done: done_here, held: BTreeMap::new(), held_bytes: 0 };
        (installs, Installer { jobs: jobs_there, done })
    }

    /// Begins to put a snapshot in place.
    pub(crate) fn begin(&mut self, shard: ShardId, index: LogIndex, installation: Installation) {
        self.held.entry(shard).or_default();
        // An installer that is gone has reported why.
        self.jobs.send(Job { shard, index, installation }).ok();
    }

    /// Takes out of some work what has to wait.
    pub(crate) fn hold_back(&mut self, work: &mut Work) {
        for (shard, held) in &mut self.held {
            let waits = work.take_of(*shard);
            if waits.is_empty() {
                continue;
            }
            self.held_bytes += bytes(&waits);
            match held.last_mut() {
                Some(last) if waits.is_ordinary() => last.join(waits),
                Some(_) | None => held.push(waits),
            }
        }
    }

    /// A snapshot is in place: what waited for it, in order.
    pub(crate) fn end(&mut self, shard: ShardId) -> Vec<Work> {
        let held = self.held.remove(&shard).unwrap_or_default();
        self.held_bytes -= held.iter().map(bytes).sum::<usize>();
        held
    }

    pub(crate) fn are_under_way(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether no more is to be held back.
    pub(crate) fn are_full(&self) -> bool {
        self.held_bytes >= HELD_BYTES_MAX
    }
}

fn bytes(work: &Work) -> usize {
    work.committed.iter().map(|entry| entry.data.len()).sum()
}

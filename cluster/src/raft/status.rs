//! How each shard stands, for operators and readiness. Written by the driver and the applier, read by anyone at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::format::Format;
use crate::ids::{LogIndex, ShardId, Term};
use crate::raft::Role;

/// One shard as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// What this node is in the shard.
    pub role: Role,
    /// The newest term it knows.
    pub term: Term,
    /// The first entry its log still has.
    pub first: LogIndex,
    /// The last entry of its log, durable or not.
    pub last: LogIndex,
    /// The last entry known to be committed.
    pub committed: LogIndex,
    /// The last entry the state machine has applied.
    pub applied: LogIndex,
    /// Whether nothing has happened for so long that its replicas stopped exchanging heartbeats.
    pub is_asleep: bool,
    /// Whether the state here is wrong and waits for another replica's snapshot; nothing may be read from it.
    pub is_parked: bool,
    /// The format in force, as far as the log is applied.
    pub format: Format,
}

/// The status of all shards of a node.
pub(crate) struct StatusBoard {
    shards: Vec<Mutex<Option<ShardStatus>>>,
    changes: AtomicU64,
}

impl StatusBoard {
    /// A board of as many shards, of which none is here.
    pub(crate) fn new(shards: u16) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::new(None)).collect(), changes: AtomicU64::new(0) }
    }

    pub(crate) fn read(&self, shard: ShardId) -> Option<ShardStatus> {
        *self.shards.get(usize::from(shard.0))?.lock()
    }

    /// How often something was noted. Whoever read the board and finds the number it had before has read all there is.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Notes everything but the applied index and the format, which the applier owns, and whether it is parked.
    pub(crate) fn note(&self, shard: ShardId, status: ShardStatus) {
        self.change(shard, |cell| {
            let known = cell.unwrap_or(ShardStatus { is_parked: false, ..status });
            let (applied, is_parked, format) = (known.applied, known.is_parked, known.format);
            *cell = Some(ShardStatus { applied, is_parked, format, ..status });
        });
    }

    pub(crate) fn note_applied(&self, shard: ShardId, index: LogIndex) {
        self.change_held(shard, |status| status.applied = index);
    }

    pub(crate) fn note_format(&self, shard: ShardId, format: Format) {
        self.change_held(shard, |status| status.format = format);
    }

    /// Whether the shard's state is wrong: the driver says when that is found, the applier when it is replaced.
    pub(crate) fn note_parked(&self, shard: ShardId, is_parked: bool) {
        self.change_held(shard, |status| status.is_parked = is_parked);
    }

    /// The shard is not here any more.
    pub(crate) fn remove(&self, shard: ShardId) {
        self.change(shard, |cell| *cell = None);
    }

    fn change_held(&self, shard: ShardId, how: impl FnOnce(&mut ShardStatus)) {
        self.change(shard, |cell| {
            if let Some(status) = cell {
                how(status);
            }
        });
    }

    fn change(&self, shard: ShardId, how: impl FnOnce(&mut Option<ShardStatus>)) {
        if let Some(cell) = self.shards.get(usize::from(shard.0)) {
            how(&mut cell.lock());
            self.changes.fetch_add(1, Ordering::Release);
        }
    }
}

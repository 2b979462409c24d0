//! A state machine that keeps what it is given, and the snapshots of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use steward_cluster::format::Format;
use steward_cluster::ids::{LogIndex, ShardId, Term};
use steward_cluster::raft::{ApplyError, Committed, DriverHandle, Installation, Role, StateMachine};
use steward_cluster::store::{Direction, KeyRange, StateStore, WriteBatch, shard_prefix, snapshot};

/// More than any test writes to a shard.
const VALUES_MAX: usize = 1_000_000;

/// What a node keeps, shared with its test.
pub(crate) struct Kept {
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) snapshots: PathBuf,
    pub(crate) driver: Arc<OnceLock<DriverHandle>>,
    pub(crate) installed: AtomicUsize,
}

impl Kept {
    /// Everything written to a shard, in order.
    pub(crate) fn values(&self, shard: ShardId) -> Vec<String> {
        let rows = self.store.scan(&KeyRange::shard(shard), Direction::Forward, VALUES_MAX).unwrap();
        rows.into_iter().map(|(_, value)| String::from_utf8(value.to_vec()).unwrap()).collect()
    }

    /// Makes a snapshot of a shard and lies it ready; answers up to where it goes.
    pub(crate) fn snapshot(&self, shard: ShardId) -> LogIndex {
        snapshot::write(&*self.store, shard, &|_| (Term(1), Format::FIRST), &self.snapshots).unwrap().index
    }
}

pub(crate) struct Machine(pub(crate) Arc<Kept>);

fn failed(source: impl std::error::Error + Send + Sync + 'static) -> ApplyError {
    ApplyError { source: Box::new(source) }
}

impl StateMachine for Machine {
    fn apply(&mut self, entries: &[Committed<'_>]) -> Result<(), ApplyError> {
        let mut batch = WriteBatch::default();
        for entry in entries {
            if !entry.data.is_empty() {
                let key = [&shard_prefix(entry.shard)[..], &[1], &entry.index.0.to_be_bytes()].concat();
                batch.put(key, entry.data.clone());
            }
            batch.set_applied(entry.shard, entry.index);
        }
        self.0.store.write(batch).map_err(failed)
    }

    fn install(&mut self, shard: ShardId, index: LogIndex) -> Result<Installation, ApplyError> {
        let kept = Arc::clone(&self.0);
        Ok(Box::new(move || {
            let path = snapshot::accept(&kept.snapshots, shard, index).map_err(failed)?;
            snapshot::load(&path, &*kept.store).map_err(failed)?;
            kept.installed.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }))
    }

    fn leave(&mut self, shard: ShardId) -> Result<(), ApplyError> {
        snapshot::remove_all(&self.0.snapshots, shard).map_err(failed)?;
        self.0.store.clear_shard(shard).map_err(failed)
    }

    fn snapshot_wanted(&mut self, shard: ShardId) {
        let index = self.0.snapshot(shard);
        self.0.driver.get().unwrap().offer_snapshot(shard, index);
    }

    fn role_changed(&mut self, _shard: ShardId, _role: Role) {}
}

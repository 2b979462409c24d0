//! Opens a node's log and store so that they fit each other. The composition root calls it before it starts the shards.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::log::disk::FolderDisk;
use steward_cluster::log::{Log, LogConfig, LogError, RecoveredShard};
use steward_cluster::store::snapshot::{self, SnapshotError};
use steward_cluster::store::{self, Engine, StateStore};

/// A node's durable state, ready to be started.
pub struct Opened {
    pub log: Log,
    pub recovered: Vec<RecoveredShard>,
    pub store: Arc<dyn StateStore>,
    /// Where snapshots are kept.
    pub snapshots: PathBuf,
    /// Why the store was thrown away and built again, if it was.
    pub rebuilt: Option<String>,
}

/// Why a node's data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("could not make folder {path}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("could not open the log")]
    Log(#[from] LogError),
    #[error("could not open the store")]
    Store(#[from] SnapshotError),
}

/// Opens what lies in `folder`, making it when it is not there. A store that is damaged, or behind what the log still
/// has, is built again from snapshots.
pub fn open(folder: &Path, engine: Engine, cache_bytes: u64, log: LogConfig) -> Result<Opened, OpenError> {
    let [log_folder, state, snapshots] = ["log", "state", "snapshots"].map(|name| folder.join(name));
    for path in [&log_folder, &state, &snapshots, &snapshot::incoming(&snapshots)] {
        std::fs::create_dir_all(path).map_err(|source| OpenError::Folder { path: path.clone(), source })?;
    }
    let disk = FolderDisk::open(&log_folder).map_err(|source| OpenError::Folder { path: log_folder, source })?;
    let (log, recovered) = Log::open(Arc::new(disk), log)?;
    let base = |shard: ShardId| {
        let found = recovered.iter().find(|recovered| recovered.shard == shard);
        found.and_then(|recovered| recovered.snapshot).map_or(LogIndex(0), |(index, _)| index)
    };
    snapshot::settle_incoming(&snapshots, &|shard, index| base(shard) == index)?;
    let log_continues = |shard: ShardId, applied: LogIndex| base(shard) <= applied;
    let opened = store::open_or_rebuild(engine, &state, &snapshots, cache_bytes, &log_continues)?;
    for gone in recovered.iter().filter(|recovered| recovered.has_left()) {
        // It left, and the power went before its rows did.
        opened.store.clear_shard(gone.shard).map_err(SnapshotError::from)?;
        snapshot::remove_all(&snapshots, gone.shard)?;
    }
    Ok(Opened { log, recovered, store: opened.store, snapshots, rebuilt: opened.rebuilt })
}

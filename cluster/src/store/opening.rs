//! Opens the state store. The node calls it once at start.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::checked::{Checked, catching, describe};
use super::engines::Raw;
use super::engines::fjall::Fjall;
use super::engines::memory::Memory;
use super::engines::sled::Sled;
use super::error::{Fault, StoreError};
use super::snapshot::{self, SnapshotError, SnapshotFile};
use super::{StateStore, metrics};
use crate::ids::{LogIndex, ShardId};

/// Left beside the engine's folder when it failed at run time; holds the reason.
const DAMAGED_FILE: &str = "DAMAGED";

/// What keeps the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Fjall,
    Sled,
    /// No files; gone with the process.
    Memory,
}

impl Engine {
    const fn name(self) -> &'static str {
        match self {
            Self::Fjall => Fjall::NAME,
            Self::Sled => Sled::NAME,
            Self::Memory => Memory::NAME,
        }
    }

    /// Where in the store's folder the engine keeps its files.
    pub(super) fn folder(self, dir: &Path) -> PathBuf {
        dir.join(self.name())
    }
}

impl FromStr for Engine {
    type Err = StoreError;

    fn from_str(name: &str) -> Result<Self, StoreError> {
        [Self::Fjall, Self::Sled, Self::Memory]
            .into_iter()
            .find(|engine| engine.name() == name)
            .ok_or_else(|| StoreError::UnknownEngine { name: name.to_owned() })
    }
}

/// Opens or creates a store in `dir`. Fails on a damaged one.
pub fn open(engine: Engine, dir: &Path, cache_bytes: u64) -> Result<Arc<dyn StateStore>, StoreError> {
    let folder = engine.folder(dir);
    if engine != Engine::Memory {
        create_folder(&folder)?;
    }
    let home = Some(dir.to_owned());
    let opened = catching(|| -> Result<Arc<dyn StateStore>, Fault> {
        match engine {
            Engine::Fjall => Ok(Arc::new(Checked::new(Fjall::open(&folder, cache_bytes)?, home))),
            Engine::Sled => Ok(Arc::new(Checked::new(Sled::open(&folder, cache_bytes)?, home))),
            Engine::Memory => Ok(Arc::new(Checked::new(Memory::default(), None))),
        }
    });
    opened.map_err(|source| StoreError::Engine { engine: engine.name(), doing: "open its folder", source })
}

/// Notes that the store in `dir` cannot be trusted, so that the next start rebuilds it.
pub fn mark_damaged(dir: &Path, reason: &str) -> Result<(), StoreError> {
    let path = dir.join(DAMAGED_FILE);
    let mark = || {
        let mut file = fs::File::create(&path)?;
        file.write_all(reason.as_bytes())?;
        file.sync_all()?;
        fs::File::open(dir)?.sync_all()
    };
    mark().map_err(|source| StoreError::Io { doing: "write", path: path.clone(), source })
}

/// A store ready for the log to be replayed onto it.
pub struct Opened {
    pub store: Arc<dyn StateStore>,
    /// Why the store found could not be kept; none when it could.
    pub rebuilt: Option<String>,
    /// The snapshots loaded, because the store was behind them or rebuilt.
    pub loaded: Vec<SnapshotFile>,
}

/// Opens the store in `dir`; one that cannot be trusted is deleted and built again from the newest valid snapshots.
///
/// A shard behind its newest snapshot is loaded from it, unless `log_continues` says that the log still holds
/// everything after the shard's applied index. What the log has beyond the applied indices is the caller's to replay.
pub fn open_or_rebuild(
    engine: Engine,
    dir: &Path,
    snapshots: &Path,
    cache_bytes: u64,
    log_continues: &dyn Fn(ShardId, LogIndex) -> bool,
) -> Result<Opened, SnapshotError> {
    create_folder(dir)?;
    let first = match fs::read(dir.join(DAMAGED_FILE)) {
        Ok(reason) => Err(String::from_utf8_lossy(&reason).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            attempt(engine, dir, snapshots, cache_bytes, log_continues)
        }
        // The mark stands but cannot be read: that is no reason to trust the store.
        Err(error) => Err(format!("mark of damage is unreadable: {error}")),
    };
    let reason = match first {
        Ok((store, loaded)) => return Ok(Opened { store, rebuilt: None, loaded }),
        Err(reason) => reason,
    };
    tracing::warn!(engine = engine.name(), reason, "state store is rebuilt from snapshots");
    metrics::rebuilt(engine.name());
    discard(engine, dir)?;
    let store = open(engine, dir, cache_bytes)?;
    let loaded = catch_up(&*store, snapshots, log_continues)?;
    Ok(Opened { store, rebuilt: Some(reason), loaded })
}

type Usable = (Arc<dyn StateStore>, Vec<SnapshotFile>);

/// Opens what is there and brings it up to its snapshots; says why when it cannot be used.
fn attempt(
    engine: Engine,
    dir: &Path,
    snapshots: &Path,
    cache_bytes: u64,
    log_continues: &dyn Fn(ShardId, LogIndex) -> bool,
) -> Result<Usable, String> {
    let store = open(engine, dir, cache_bytes).map_err(|error| describe(&error))?;
    let loaded = catch_up(&*store, snapshots, log_continues).map_err(|error| describe(&error))?;
    Ok((store, loaded))
}

/// Empties half-loaded shards and loads those whose snapshot the log cannot replace.
fn catch_up(
    store: &dyn StateStore,
    snapshots: &Path,
    log_continues: &dyn Fn(ShardId, LogIndex) -> bool,
) -> Result<Vec<SnapshotFile>, SnapshotError> {
    for shard in store.shards()? {
        match store.applied(shard) {
            Ok(_) => {}
            Err(StoreError::Incomplete { .. }) => store.clear_shard(shard)?,
            Err(error) => return Err(error.into()),
        }
    }
    let mut loaded: Vec<SnapshotFile> = Vec::new();
    for snapshot in snapshot::list(snapshots)? {
        let applied = store.applied(snapshot.shard)?;
        if snapshot.index <= applied || log_continues(snapshot.shard, applied) {
            continue;
        }
        match snapshot::load(&snapshot.path, store) {
            Ok(file) => loaded.push(file),
            // An older one follows in the list; whether the log reaches it is for whoever replays the log to see.
            Err(error @ SnapshotError::Damaged { .. }) => {
                tracing::warn!(shard = snapshot.shard.0, error = %error, "snapshot passed over");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(loaded)
}

/// Deletes the engine's files, then the mark: a crash in between repeats it.
fn discard(engine: Engine, dir: &Path) -> Result<(), StoreError> {
    let folder = engine.folder(dir);
    let removed = match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    removed.map_err(|source| StoreError::Io { doing: "remove", path: folder, source })?;
    let mark = dir.join(DAMAGED_FILE);
    match fs::remove_file(&mark) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::Io { doing: "remove", path: mark, source: error })
        }
        _ => Ok(()),
    }
}

fn create_folder(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|source| StoreError::Io { doing: "create", path: path.to_owned(), source })
}

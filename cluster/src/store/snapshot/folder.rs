//! The folder of snapshots: which there are, and which may go. The Raft driver and opening the store call it.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::read::verify;
use super::write::PART_SUFFIX;
use super::{SnapshotError, SnapshotFile};
use crate::ids::{LogIndex, ShardId};
use crate::store::error::StoreError;

/// How many valid snapshots of a shard are kept: the newest, and one to fall back on.
pub const KEPT_PER_SHARD: usize = 2;

const SUFFIX: &str = "snapshot";
const INCOMING: &str = "incoming";

/// What a snapshot's name says, which its content must confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub shard: ShardId,
    pub index: LogIndex,
    pub path: PathBuf,
}

/// The final name of a snapshot.
pub(crate) fn file_name(shard: ShardId, index: LogIndex) -> String {
    format!("{:05}-{:020}.{SUFFIX}", shard.0, index.0)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(dir: &Path) -> Result<(), StoreError> {
    let synced = File::open(dir).and_then(|folder| folder.sync_all());
    synced.map_err(|source| StoreError::Io { doing: "sync", path: dir.to_owned(), source })
}

/// The snapshots in a folder by shard, newest first, by their names alone. A missing folder has none.
pub fn list(dir: &Path) -> Result<Vec<Listed>, SnapshotError> {
    let mut listed: Vec<Listed> = paths(dir)?.into_iter().filter_map(parse).collect();
    listed.sort_by_key(|snapshot| (snapshot.shard, Reverse(snapshot.index)));
    Ok(listed)
}

/// Removes what a shard no longer needs: valid snapshots beyond the newest [`KEPT_PER_SHARD`], damaged ones, and
/// unfinished ones. Says which it kept, newest first.
pub fn prune(dir: &Path, shard: ShardId) -> Result<Vec<SnapshotFile>, SnapshotError> {
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    for snapshot in list(dir)?.into_iter().filter(|listed| listed.shard == shard) {
        if kept.len() == KEPT_PER_SHARD {
            gone.push(snapshot.path);
            continue;
        }
        match verify(&snapshot.path) {
            Ok(valid) => kept.push(valid),
            Err(error @ SnapshotError::Damaged { .. }) => {
                tracing::warn!(shard = shard.0, error = %error, "damaged snapshot removed");
                gone.push(snapshot.path);
            }
            Err(error) => return Err(error),
        }
    }
    let part = dir.join(format!("{:05}.{PART_SUFFIX}", shard.0));
    if part.exists() {
        gone.push(part);
    }
    for path in gone {
        fs::remove_file(&path).map_err(|source| SnapshotError::Io { doing: "remove", path, source })?;
    }
    sync_folder(dir)?;
    Ok(kept)
}

/// Where snapshots lie that were fetched from a peer and are not in place yet.
pub fn incoming(dir: &Path) -> PathBuf {
    dir.join(INCOMING)
}

/// Moves a fetched snapshot to the others, from where a start takes it; gives its path. One that was moved stays.
pub fn accept(dir: &Path, shard: ShardId, index: LogIndex) -> Result<PathBuf, SnapshotError> {
    let (from, to) = (incoming(dir).join(file_name(shard, index)), dir.join(file_name(shard, index)));
    match fs::rename(&from, &to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && to.exists() => {}
        moved => moved.map_err(|source| SnapshotError::Io { doing: "move", path: from, source })?,
    }
    sync_folder(dir)?;
    Ok(to)
}

/// At a start: of the fetched snapshots, those whose shard's log begins right behind them were being put in place and
/// are moved to the others; the rest belongs to nothing and goes.
pub fn settle_incoming(dir: &Path, is_base: &dyn Fn(ShardId, LogIndex) -> bool) -> Result<(), SnapshotError> {
    let incoming = incoming(dir);
    for path in paths(&incoming)? {
        match parse(path.clone()).filter(|found| is_base(found.shard, found.index)) {
            Some(found) => {
                accept(dir, found.shard, found.index)?;
            }
            None => fs::remove_file(&path).map_err(|source| SnapshotError::Io { doing: "remove", path, source })?,
        }
    }
    Ok(())
}

/// Removes every snapshot of a shard.
pub fn remove_all(dir: &Path, shard: ShardId) -> Result<(), SnapshotError> {
    for Listed { path, .. } in list(dir)?.into_iter().filter(|listed| listed.shard == shard) {
        fs::remove_file(&path).map_err(|source| SnapshotError::Io { doing: "remove", path, source })?;
    }
    Ok(sync_folder(dir)?)
}

fn paths(dir: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    let fault = |source| SnapshotError::Io { doing: "list", path: dir.to_owned(), source };
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(fault(error)),
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(fault)).collect(),
    }
}

fn parse(path: PathBuf) -> Option<Listed> {
    let name = path.file_name()?.to_str()?;
    let (shard, index) = name.strip_suffix(SUFFIX)?.strip_suffix('.')?.split_once('-')?;
    let (shard, index) = (ShardId(shard.parse().ok()?), LogIndex(index.parse().ok()?));
    Some(Listed { shard, index, path })
}

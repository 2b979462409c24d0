//! Snapshots: all keys of one shard at one applied index, in one file.
//!
//! The Raft driver writes them so that the log may be purged, sends them to replicas that are far behind, and loads
//! them; backup copies them; opening the store falls back on them.
//!
//! # Invariants
//! - **N1 whole**: a file under its final name was complete and synced before it got that name.
//! - **N2 checked first**: [`load`] reads and checks every byte before it touches the shard.
//! - **N3 nothing unchecked**: every byte is under the header's checksum, a chunk's, or the hash of the whole.
//! - **N4 nothing unknown**: one of a format beyond what this binary knows is refused before anything is read from it.
//! - **N5 engine-free**: the same keys give the same bytes, whatever engine they came from.

mod folder;
mod format;
mod read;
mod write;

pub use folder::{KEPT_PER_SHARD, Listed, accept, incoming, list, prune, remove_all, settle_incoming};
pub(crate) use folder::{file_name, sync_folder};
pub use read::{load, verify};
pub use write::write;

use std::path::PathBuf;

use super::error::StoreError;
use crate::format::Format;
use crate::ids::{LogIndex, ShardId, Term};

/// A snapshot on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// What it may hold.
    pub format: Format,
    pub shard: ShardId,
    /// The entry up to which the keys hold the effects.
    pub index: LogIndex,
    /// The term of that entry.
    pub term: Term,
    pub keys: u64,
    pub path: PathBuf,
    pub bytes: u64,
    /// BLAKE3 over chunks and header, as the file says.
    pub hash: [u8; blake3::OUT_LEN],
}

/// Why a snapshot was not written or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("could not {doing} snapshot {path}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("snapshot {path} is damaged at byte {offset}: {what}")]
    Damaged { path: PathBuf, offset: u64, what: &'static str },
    /// It holds what this binary cannot read.
    #[error("snapshot {path} is of {found}, this binary knows up to {known}: start the release that wrote it")]
    Newer { path: PathBuf, found: Format, known: Format },
}

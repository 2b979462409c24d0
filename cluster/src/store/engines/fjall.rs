//! The default engine: fjall, a log-structured merge tree.
//!
//! # Decisions
//! - **One keyspace.** A batch then lands in one memtable, and memtables reach the disk whole and in order, so what a
//!   crash leaves is always a prefix of what was written. With several keyspaces one could be ahead of another.
//! - **fjall's journal is never replayed.** It repeats what the Raft log holds, and it does not protect the sequence
//!   number of a batch: a flipped bit there would silently put an old value over a new one. The journals are emptied
//!   before opening; a crash costs the replay of at most the unflushed memtables from the Raft log. One empty journal
//!   must stay: without any, fjall forgets how far its sequence numbers had come.
//! - **The list of tables is checked here.** fjall writes the checksum of its version file but does not look at it
//!   when it opens, and a table missing from a damaged list would be a hole nobody sees. Blocks it does check, on
//!   every read from disk.
//! - **Reads of a range use a snapshot.** fjall's plain ranges see half of a batch that is being written.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use xxhash_rust::xxh3::xxh3_128;

use super::{Changes, Raw, Visitor};
use crate::store::Direction;
use crate::store::error::Fault;

/// A memtable this full goes to disk. Up to five may exist at once, so this bounds memory, and what a crash replays.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
/// fjall accepts no less.
const JOURNALS_BYTES_MAX: u64 = 64 * 1024 * 1024;
const OPEN_FILES_MAX: usize = 128;
/// One flushes, one compacts.
const WORKERS: usize = 2;
const FLUSH_POLL: Duration = Duration::from_millis(5);
const FLUSH_POLLS_MAX: usize = 12_000;
const KEYSPACE: &str = "state";
const KEYSPACES_FOLDER: &str = "keyspaces";
const JOURNAL_EXTENSION: &str = "jnl";
const EMPTY_JOURNAL: &str = "1.jnl";
/// Names the newest version file of a tree: id (8 bytes), checksum (16), checksum kind (1), little-endian.
const CURRENT_FILE: &str = "current";
const CURRENT_BYTES: usize = 25;

/// Why a folder is not one fjall may open.
#[derive(Debug, thiserror::Error)]
enum FolderFault {
    #[error("{path} is not a list of tables this store knows")]
    Unknown { path: PathBuf },
    #[error("{path} does not match its checksum")]
    Checksum { path: PathBuf },
    #[error("could not read {path}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("memtables did not reach the disk in time")]
    FlushTimeout,
}

/// An open fjall database.
pub(in crate::store) struct Fjall {
    state: Keyspace,
    database: Database,
}

impl Fjall {
    /// Opens or creates the database in `dir`.
    pub(in crate::store) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Fault> {
        prepare(dir)?;
        let database = Database::builder(dir)
            .cache_size(cache_bytes)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .max_journaling_size(JOURNALS_BYTES_MAX)
            .manual_journal_persist(true)
            .worker_threads(WORKERS)
            .open()?;
        let options =
            || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES).manual_journal_persist(true);
        let state = database.keyspace(KEYSPACE, options)?;
        Ok(Self { state, database })
    }
}

impl Raw for Fjall {
    const NAME: &'static str = "fjall";

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        // Copied out, so that a small value does not keep the block it came from in memory.
        Ok(self.state.get(key)?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn commit(&self, changes: Changes) -> Result<(), Fault> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), changes.len());
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.state, &*key, &*value),
                None => batch.remove(&self.state, &*key),
            }
        }
        Ok(batch.commit()?)
    }

    fn visit(&self, start: &[u8], end: &[u8], direction: Direction, visitor: &mut Visitor<'_>) -> Result<(), Fault> {
        let mut range = self.database.snapshot().range(&self.state, start..end);
        loop {
            let next = match direction {
                Direction::Forward => range.next(),
                Direction::Backward => range.next_back(),
            };
            let Some(guard) = next else { return Ok(()) };
            let (key, value) = guard.into_inner()?;
            if visitor(&key, &value).is_break() {
                return Ok(());
            }
        }
    }

    fn flush(&self) -> Result<(), Fault> {
        self.state.rotate_memtable()?;
        for _ in 0..FLUSH_POLLS_MAX {
            // Also how a dead worker shows: it would leave the memtables waiting for ever.
            self.database.persist(PersistMode::Buffer)?;
            if self.state.sealed_memtable_count() == 0 {
                return Ok(());
            }
            thread::sleep(FLUSH_POLL);
        }
        Err(FolderFault::FlushTimeout.into())
    }
}

/// Leaves one empty journal and checks each tree's list of tables.
fn prepare(dir: &Path) -> Result<(), FolderFault> {
    let trees = entries(&dir.join(KEYSPACES_FOLDER))?;
    if trees.is_empty() {
        return Ok(());
    }
    for path in entries(dir)? {
        if path.extension().is_some_and(|extension| extension == JOURNAL_EXTENSION) {
            fs::remove_file(&path).map_err(|source| FolderFault::Io { path, source })?;
        }
    }
    let path = dir.join(EMPTY_JOURNAL);
    File::create(&path).map_err(|source| FolderFault::Io { path, source })?;
    trees.iter().filter(|tree| tree.is_dir()).try_for_each(|tree| check_current(tree))
}

/// The paths in a folder; none when there is no folder.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, FolderFault> {
    let fault = |source| FolderFault::Io { path: dir.to_owned(), source };
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(fault(error)),
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(fault)).collect(),
    }
}

/// Holds a tree's newest version file against the checksum fjall wrote beside it.
fn check_current(tree: &Path) -> Result<(), FolderFault> {
    let path = tree.join(CURRENT_FILE);
    let current = match fs::read(&path) {
        // Created but never written to: fjall starts such a tree afresh.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(FolderFault::Io { path, source }),
        Ok(current) => current,
    };
    let Some((&id, rest)) = current.split_first_chunk::<8>().filter(|_| current.len() == CURRENT_BYTES) else {
        return Err(FolderFault::Unknown { path });
    };
    let Some((&checksum, [0])) = rest.split_first_chunk::<16>() else {
        return Err(FolderFault::Unknown { path });
    };
    let path = tree.join(format!("v{}", u64::from_le_bytes(id)));
    let version = fs::read(&path).map_err(|source| FolderFault::Io { path: path.clone(), source })?;
    if xxh3_128(&version) == u128::from_le_bytes(checksum) { Ok(()) } else { Err(FolderFault::Checksum { path }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// fjall reads these files without holding them against the checksum; on some of the bits it aborts the process.
    #[test]
    fn no_changed_byte_in_the_list_of_tables_is_opened() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Fjall::open(dir.path(), 1024 * 1024).expect("opens");
        for value in ["old", "new"] {
            store.commit(vec![(Bytes::from("key"), Some(Bytes::from(value)))]).expect("writes");
            store.flush().expect("flushes");
        }
        drop(store);
        let tree = dir.path().join(KEYSPACES_FOLDER).join("1");
        check_current(&tree).expect("is whole");
        let current = fs::read(tree.join(CURRENT_FILE)).expect("reads");
        let version = format!("v{}", u64::from_le_bytes(*current.first_chunk().expect("is long enough")));
        for name in [CURRENT_FILE, &version] {
            let good = fs::read(tree.join(name)).expect("reads");
            for place in 0..good.len() {
                let mut bytes = good.clone();
                bytes[place] ^= 1 << (place % 8);
                fs::write(tree.join(name), bytes).expect("writes");
                assert!(check_current(&tree).is_err(), "byte {place} of {name}");
            }
            fs::write(tree.join(name), good).expect("writes");
        }
        prepare(dir.path()).expect("is whole");
    }
}

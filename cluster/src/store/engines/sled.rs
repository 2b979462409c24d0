//! The optional engine: sled 0.34.
//!
//! # Decisions
//! - **Only a cleanly closed database is opened.** sled never syncs its file, and after a torn write it may come up
//!   with some pages old and some new, which is no prefix of anything. So [`Raw::flush`] syncs the files itself and
//!   leaves a list of them with their hashes; the first write after it removes the list; a folder whose list is missing
//!   or does not match is refused, and the store is rebuilt from snapshots and log.
//! - **The list is made again on closing.** sled's threads may still write after a flush has returned; only once they
//!   have let go of the database file is it final. A process that ends in between costs a rebuild, never a wrong answer.
//! - **One lock.** sled's ranges see batches half done.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use sled::Batch;

use super::{Changes, Raw, Visitor};
use crate::store::Direction;
use crate::store::error::Fault;

const DATABASE_FOLDER: &str = "database";
/// sled keeps a lock on this one as long as any of its threads may write.
const DATABASE_FILE: &str = "db";
const CLOSE_POLL: Duration = Duration::from_millis(5);
const CLOSE_POLLS_MAX: usize = 2_000;
const CLEAN_FILE: &str = "CLEAN";

/// Why a folder is not one sled may open.
#[derive(Debug, thiserror::Error)]
enum FolderFault {
    #[error("{path} was not closed cleanly, or changed since")]
    Unclean { path: PathBuf },
}

/// An open sled database.
pub(in crate::store) struct Sled {
    /// None only while closing.
    database: Option<sled::Db>,
    /// Held shared while a range is read, exclusively while a batch is written.
    batches: RwLock<()>,
    dir: PathBuf,
    /// Whether the list of hashes stands.
    clean: AtomicBool,
}

impl Sled {
    /// Opens or creates the database in `dir`.
    pub(in crate::store) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Fault> {
        let path = dir.join(DATABASE_FOLDER);
        let clean = match fs::read(dir.join(CLEAN_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
            Ok(listed) => Some(listed),
        };
        if path.exists() && clean != Some(list(&path)?) {
            return Err(FolderFault::Unclean { path }.into());
        }
        let config = sled::Config::new().path(&path).cache_capacity(cache_bytes).flush_every_ms(None);
        let opened = Self {
            database: Some(config.open()?),
            batches: RwLock::new(()),
            dir: dir.to_owned(),
            clean: AtomicBool::new(true),
        };
        // sled writes as it opens, so the list no longer holds.
        opened.unlist()?;
        Ok(opened)
    }

    fn database(&self) -> &sled::Db {
        self.database.as_ref().expect("the database is taken only by drop")
    }

    /// Writes the list of hashes, after syncing what it lists.
    fn relist(&self) -> io::Result<()> {
        let listed = list(&self.dir.join(DATABASE_FOLDER))?;
        let path = self.dir.join(CLEAN_FILE);
        fs::write(&path, listed)?;
        File::open(&path)?.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }

    /// Waits until no thread of sled holds the database file; false when one would not let go.
    fn wait_until_closed(&self) -> io::Result<bool> {
        let file = File::open(self.dir.join(DATABASE_FOLDER).join(DATABASE_FILE))?;
        for _ in 0..CLOSE_POLLS_MAX {
            match file.try_lock() {
                Ok(()) => return Ok(true),
                Err(TryLockError::WouldBlock) => thread::sleep(CLOSE_POLL),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(false)
    }

    fn unlist(&self) -> io::Result<()> {
        if self.clean.swap(false, Ordering::SeqCst) {
            match fs::remove_file(self.dir.join(CLEAN_FILE)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }
}

impl Raw for Sled {
    const NAME: &'static str = "sled";

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Ok(self.database().get(key)?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn commit(&self, changes: Changes) -> Result<(), Fault> {
        let mut batch = Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&*key, &*value),
                None => batch.remove(&*key),
            }
        }
        let _writing = self.batches.write();
        self.unlist()?;
        Ok(self.database().apply_batch(batch)?)
    }

    fn visit(&self, start: &[u8], end: &[u8], direction: Direction, visitor: &mut Visitor<'_>) -> Result<(), Fault> {
        let _reading = self.batches.read();
        let mut range = self.database().range(start..end);
        loop {
            let next = match direction {
                Direction::Forward => range.next(),
                Direction::Backward => range.next_back(),
            };
            let Some(entry) = next else { return Ok(()) };
            let (key, value) = entry?;
            if visitor(&key, &value).is_break() {
                return Ok(());
            }
        }
    }

    fn flush(&self) -> Result<(), Fault> {
        let _writing = self.batches.write();
        self.database().flush()?;
        self.relist()?;
        self.clean.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Sled {
    fn drop(&mut self) {
        drop(self.database.take());
        if !self.clean.load(Ordering::SeqCst) {
            return;
        }
        match self.wait_until_closed().and_then(|closed| if closed { self.relist() } else { Ok(()) }) {
            Ok(()) => {}
            Err(error) => tracing::warn!(error = %error, "sled could not be closed cleanly, it will be rebuilt"),
        }
    }
}

/// Every file below a folder with its hash, synced on the way.
fn list(dir: &Path) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut hasher = blake3::Hasher::new();
            let file = File::open(&path)?;
            file.sync_all()?;
            hasher.update_reader(&file)?;
            lines.push(format!("{} {}\n", hasher.finalize(), path.strip_prefix(dir).unwrap_or(&path).display()));
        }
        File::open(&folder)?.sync_all()?;
    }
    lines.sort();
    Ok(lines.concat().into_bytes())
}

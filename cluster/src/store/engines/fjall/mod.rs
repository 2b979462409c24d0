//! The default engine: fjall's log-structured merge tree (the `lsm-tree` crate), without fjall's journal around it.
//!
//! # Decisions
//! - **The Raft log is the journal.** fjall's own repeats what the Raft log holds, may never be replayed (it does not
//!   protect the sequence number of a batch: a flipped bit there would silently put an old value over a new one), and is
//!   synced under the lock every write takes, each time a memtable is sealed. A crash costs the replay of at most the
//!   memtables that were not on disk.
//! - **One tree.** A batch lands in one memtable, and memtables reach the disk whole and in order, so what a crash
//!   leaves is always a prefix of what was written. With several trees one could be ahead of another.
//! - **The list of tables is checked here.** The tree writes the checksum of its version file but does not look at it
//!   when it opens, and a table missing from a damaged list would be a hole nobody sees. Blocks it does check, on
//!   every read from disk.
//! - **Reads see whole batches.** They start below the batch that is being written. Those of a range hold the memtables and
//!   tables they read from, whatever is merged away meanwhile; those of a key keep the number from moving until they are
//!   done, which a batch that ends waits for. Reading the newest row there is was refused: it may be of half a batch.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{
    BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry, RestartIntervalPolicy,
};
use lsm_tree::{
    AbstractTree, AnyTree, Cache, CompressionType, Config, DescriptorTable, Guard, Memtable, SeqNo,
    SequenceNumberCounter,
};
use parking_lot::{Mutex, MutexGuard, RwLock};
use xxhash_rust::xxh3::xxh3_128;

use self::upkeep::{Progress, Upkeep};
use super::{Changes, Raw, Visitor};
use crate::priority;
use crate::store::Direction;
use crate::store::error::Fault;

mod upkeep;

/// A memtable this full goes to disk.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
/// A merge stops a table at this size; four of them fill the first level. Small ones keep a single merge short.
const TABLE_BYTES: u64 = MEMTABLE_BYTES;
/// Full memtables that may wait for the disk before writers do: bounds memory, and what a crash replays.
const SEALED_MEMTABLES_MAX: usize = 4;
/// Flushed memtables that may wait to be merged before writers wait: every read looks into each of them.
const UNMERGED_TABLES_MAX: usize = 24;
/// The same for writers in no hurry. Above what upkeep is content with (the tree merges four), or they would wait for ever.
const SEALED_MEMTABLES_PACED_MAX: usize = 1;
const UNMERGED_TABLES_PACED_MAX: usize = 8;
const OPEN_FILES_MAX: usize = 128;
/// Names the newest version file of a tree: id (8 bytes), checksum (16), checksum kind (1), little-endian.
const CURRENT_FILE: &str = "current";
const CURRENT_BYTES: usize = 25;

/// Why the folder is not one to open.
#[derive(Debug, thiserror::Error)]
enum FolderFault {
    #[error("{path} is not a list of tables this store knows")]
    Unknown { path: PathBuf },
    #[error("{path} does not match its checksum")]
    Checksum { path: PathBuf },
    #[error("could not read {path}")]
    Io { path: PathBuf, source: std::io::Error },
}

/// An open tree.
pub(in crate::store) struct Fjall {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What writers, readers and the two workers share. Locked in the order `writing`, `whole_below`, the tree's own locks.
struct Shared {
    tree: AnyTree,
    /// Hands out the numbers of batches; the tree takes some for its versions.
    seqno: SequenceNumberCounter,
    /// Held while a batch is written.
    writing: Mutex<()>,
    /// Every batch below this number is whole. What a reader below it sees is not merged away while it is locked.
    whole_below: RwLock<SeqNo>,
    upkeep: Upkeep,
    /// Memtables on their way to disk, held until the tree has let go of them: whoever drops the last hold on one frees
    /// ten thousands of nodes, and the tree would do so under the lock that every read and write takes.
    sealed: Mutex<Vec<Arc<Memtable>>>,
}

impl Fjall {
    /// Opens or creates the tree in `dir`.
    pub(in crate::store) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Fault> {
        check_current(dir)?;
        let seqno = SequenceNumberCounter::default();
        // The tree moves its own notion of what is visible when it flushes, in the middle of a batch too.
        let unused = SequenceNumberCounter::default();
        let tree = config(dir, cache_bytes, seqno.clone(), unused).open()?;
        seqno.fetch_max(tree.get_highest_persisted_seqno().map_or(0, |highest| highest + 1));
        let whole_below = RwLock::new(seqno.get());
        let (writing, upkeep, sealed) = (Mutex::default(), Upkeep::default(), Mutex::default());
        let shared = Arc::new(Shared { tree, seqno, writing, whole_below, upkeep, sealed });
        let mut fjall = Self { shared, workers: vec![] };
        fjall.start_worker("steward-flush", Shared::flush_sealed)?;
        fjall.start_worker("steward-compact", Shared::compact)?;
        Ok(fjall)
    }

    fn start_worker(&mut self, name: &'static str, work: fn(&Shared) -> Result<Progress, Fault>) -> Result<(), Fault> {
        let shared = Arc::clone(&self.shared);
        let run = move || {
            priority::in_turn();
            shared.upkeep.run(|| work(&shared));
        };
        self.workers.push(std::thread::Builder::new().name(name.to_owned()).spawn(run)?);
        Ok(())
    }
}

/// As fjall sets a tree up, except for the bounds on memory and files.
fn config(dir: &Path, cache_bytes: u64, seqno: SequenceNumberCounter, visible: SequenceNumberCounter) -> Config {
    let bloom = |policy| FilterPolicyEntry::Bloom(policy);
    let filters =
        [bloom(BloomConstructionPolicy::FalsePositiveRate(0.0001)), bloom(BloomConstructionPolicy::BitsPerKey(10.0))];
    let compression = [CompressionType::None, CompressionType::None, CompressionType::Lz4];
    Config::new(dir, seqno, visible)
        .use_cache(Arc::new(Cache::with_capacity_bytes(cache_bytes)))
        .use_descriptor_table(Some(Arc::new(DescriptorTable::new(OPEN_FILES_MAX))))
        .data_block_restart_interval_policy(RestartIntervalPolicy::new([10, 16]))
        .filter_policy(FilterPolicy::new(filters))
        .data_block_compression_policy(CompressionPolicy::new(compression))
}

impl Raw for Fjall {
    const NAME: &'static str = "fjall";

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let Shared { tree, whole_below, .. } = &*self.shared;
        let below = whole_below.read();
        let value = tree.get(key, *below)?;
        drop(below);
        // Copied out, so that a small value does not keep the block it came from in memory.
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn commit(&self, changes: Changes) -> Result<(), Fault> {
        let Shared { tree, seqno, writing, whole_below, upkeep, .. } = &*self.shared;
        let writing = writing.lock();
        upkeep.check()?;
        let number = seqno.next();
        let mut filled = 0;
        for (key, value) in changes {
            (_, filled) = match value {
                Some(value) => tree.insert(&*key, &*value, number),
                None => tree.remove(&*key, number),
            };
        }
        *whole_below.write() = number + 1;
        if filled <= MEMTABLE_BYTES {
            return Ok(());
        }
        self.shared.seal(&writing);
        drop(writing); // The upkeep needs it to get on.
        upkeep.wait_until(|| {
            tree.sealed_memtable_count() < SEALED_MEMTABLES_MAX && tree.l0_run_count() < UNMERGED_TABLES_MAX
        })
    }

    fn pace(&self) -> Result<(), Fault> {
        let Shared { tree, upkeep, .. } = &*self.shared;
        let is_free = || {
            tree.sealed_memtable_count() <= SEALED_MEMTABLES_PACED_MAX
                && tree.l0_run_count() <= UNMERGED_TABLES_PACED_MAX
        };
        if !is_free() {
            upkeep.wake(); // Nobody has called for it since the tree was opened, maybe.
        }
        upkeep.wait_until(is_free)
    }

    fn visit(&self, start: &[u8], end: &[u8], direction: Direction, visitor: &mut Visitor<'_>) -> Result<(), Fault> {
        let mut range = {
            let below = self.shared.whole_below.read();
            self.shared.tree.range(start..end, *below, None)
        };
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
        self.shared.seal(&self.shared.writing.lock());
        self.shared.upkeep.wait_until(|| self.shared.tree.sealed_memtable_count() == 0)
    }
}

impl Drop for Fjall {
    fn drop(&mut self) {
        self.shared.upkeep.stop();
        for worker in self.workers.drain(..) {
            // A worker's panic is kept as the reason why nothing is written any more.
            worker.join().ok();
        }
    }
}

impl Shared {
    /// Ends the memtable that is being filled and has it written to disk.
    fn seal(&self, _writing: &MutexGuard<'_, ()>) {
        self.sealed.lock().extend(self.tree.rotate_memtable());
        self.upkeep.wake();
    }

    /// Of what was written below this number, readers need the newest only.
    fn watermark(&self) -> SeqNo {
        self.whole_below.read().saturating_sub(1)
    }

    /// Writes the memtables that are full to disk.
    fn flush_sealed(&self) -> Result<Progress, Fault> {
        let held = std::mem::take(&mut *self.sealed.lock());
        let flushed = self.tree.flush(&self.tree.get_flush_lock(), self.watermark())?;
        if flushed.is_none() {
            return Ok(Progress::Idle);
        }
        self.forget_versions()?;
        drop(held);
        Ok(Progress::Made)
    }

    /// Merges tables where the levels ask for it.
    fn compact(&self) -> Result<Progress, Fault> {
        // Held like the memtables above: tables are deleted by whoever drops the last version that has them.
        let before = self.tree.current_version();
        self.tree.compact(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)), self.watermark())?;
        // A flush meanwhile counts as well: then one look more.
        if self.tree.current_version().id() == before.id() {
            return Ok(Progress::Idle);
        }
        self.forget_versions()?;
        drop(before);
        Ok(Progress::Made)
    }

    /// Lets go of the memtables and tables that the newest version replaced, also when nothing is written any more.
    fn forget_versions(&self) -> Result<(), Fault> {
        {
            let _writing = self.writing.lock();
            *self.whole_below.write() = self.seqno.get();
        }
        // Asked for first: a reader locks the number, then the history.
        let watermark = self.watermark();
        let path = &self.tree.tree_config().path;
        Ok(self.tree.get_version_history_lock().maintenance(path, watermark)?)
    }
}

/// Holds the newest version file against the checksum the tree wrote beside it.
fn check_current(tree: &Path) -> Result<(), FolderFault> {
    let path = tree.join(CURRENT_FILE);
    let current = match fs::read(&path) {
        // Created but never written to: the tree starts afresh.
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
mod tests;

//! The log's tests that need no access to its inside, and what they share: short ways to fill a log and look into it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod crash;
mod damage;
mod disk;
mod drop_segments;
mod lost_sync;
mod model;
mod power_cut;
mod reuse;
mod space;
mod thread;
mod watched;

use std::sync::Arc;

use steward_cluster::ids::{LogIndex, ShardId, Term};
use steward_cluster::log::disk::{Disk, MemoryDisk};
use steward_cluster::log::{Batch, Log, LogConfig, LogError, RecordKind, RecoveredShard};

/// Small segments, so that a short test fills several.
pub(crate) fn config(segment_bytes: u64) -> LogConfig {
    LogConfig { segment_bytes, ..LogConfig::default() }
}

pub(crate) fn open(disk: &impl DiskHandle, segment_bytes: u64) -> Result<(Log, Vec<RecoveredShard>), LogError> {
    Log::open(disk.shared(), config(segment_bytes))
}

/// A disk whose clones are the same disk.
pub(crate) trait DiskHandle {
    fn shared(&self) -> Arc<dyn Disk>;
}

impl<D: Disk + Clone + 'static> DiskHandle for D {
    fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }
}

/// A batch with one entry.
pub(crate) fn entry(shard: u16, term: u64, index: u64, payload: &[u8]) -> Batch {
    let mut batch = Batch::new();
    push(&mut batch, shard, RecordKind::Entry, term, index, payload);
    batch
}

pub(crate) fn push(batch: &mut Batch, shard: u16, kind: RecordKind, term: u64, index: u64, payload: &[u8]) {
    batch.push(ShardId(shard), kind, Term(term), LogIndex(index), payload);
}

/// All files of a disk with their bytes, by name.
pub(crate) fn files(disk: &dyn Disk) -> Vec<(String, Vec<u8>)> {
    let mut names = disk.list().unwrap();
    names.sort();
    let read = |name: String| {
        let len = usize::try_from(disk.len(&name).unwrap()).unwrap();
        let bytes = disk.read(&name, 0, len).unwrap();
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

/// How many segments a disk has.
pub(crate) fn segments(disk: &dyn Disk) -> usize {
    disk.list().unwrap().iter().filter(|name| name.ends_with(".log")).count()
}

/// A fresh disk that durably holds these files.
pub(crate) fn disk_of(files: &[(String, Vec<u8>)]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    for (name, bytes) in files {
        let mut file = disk.create(name).unwrap();
        file.write(0, bytes).unwrap();
        file.sync().unwrap();
    }
    disk.sync_dir().unwrap();
    disk
}

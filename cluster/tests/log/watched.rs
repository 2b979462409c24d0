//! A disk around another that notes every step, and that can lose its power or fail a sync at a chosen one.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use steward_cluster::log::disk::{Disk, DiskFile, MemoryDisk};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create(String),
    Open(String),
    Write(String, usize),
    Cut(String, u64),
    Sync(String),
    SyncDir,
    Rename(String, String),
    Remove(String),
    /// Put in by a test.
    Acked(u64),
}

#[derive(Default)]
struct Watch {
    steps: Vec<Step>,
    /// Changes that still work before every further one fails.
    power: Option<usize>,
    /// Syncs that still work before one fails; those after it work again.
    syncs_before_failure: Option<usize>,
    /// The same, on this disk: what the sync should have written counts as written.
    syncs_before_loss: Option<(MemoryDisk, usize)>,
}

/// Clones watch the same disk.
#[derive(Clone)]
pub(crate) struct WatchedDisk {
    inner: Arc<dyn Disk>,
    watch: Arc<Mutex<Watch>>,
}

impl WatchedDisk {
    pub(crate) fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, watch: Arc::default() }
    }

    /// After this many more changes nothing works any more.
    pub(crate) fn cut_power_after(&self, changes: Option<usize>) {
        self.watch.lock().power = changes;
    }

    /// After this many more syncs of files, one fails.
    pub(crate) fn fail_sync_after(&self, syncs: usize) {
        self.watch.lock().syncs_before_failure = Some(syncs);
    }

    /// After this many more syncs of files, the disk below loses what one should have written.
    pub(crate) fn lose_sync_after(&self, below: Option<(MemoryDisk, usize)>) {
        self.watch.lock().syncs_before_loss = below;
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.watch.lock().steps.clone()
    }

    pub(crate) fn note(&self, step: Step) {
        self.watch.lock().steps.push(step);
    }

    fn change(&self, step: Step) -> io::Result<()> {
        let mut watch = self.watch.lock();
        if let Some(left) = &mut watch.power {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        }
        if let Some(left) = watch.syncs_before_failure.filter(|_| matches!(step, Step::Sync(_))) {
            watch.syncs_before_failure = left.checked_sub(1);
            if left == 0 {
                watch.steps.push(step);
                return Err(io::Error::other("planted sync failure"));
            }
        }
        if matches!(step, Step::Sync(_)) {
            watch.syncs_before_loss = watch.syncs_before_loss.take().and_then(|(below, left)| {
                if left == 0 {
                    below.fail_next_sync();
                }
                left.checked_sub(1).map(|left| (below, left))
            });
        }
        watch.steps.push(step);
        Ok(())
    }

    fn file(&self, name: &str, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(WatchedFile { disk: self.clone(), name: name.to_owned(), inner })
    }
}

impl Disk for WatchedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.change(Step::Create(name.to_owned()))?;
        Ok(self.file(name, self.inner.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.change(Step::Open(name.to_owned()))?;
        Ok(self.file(name, self.inner.open(name)?))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.inner.len(name)
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.inner.read(name, offset, len)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(Step::Rename(from.to_owned(), to.to_owned()))?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(Step::Remove(name.to_owned()))?;
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.change(Step::SyncDir)?;
        self.inner.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

struct WatchedFile {
    disk: WatchedDisk,
    name: String,
    inner: Box<dyn DiskFile>,
}

impl DiskFile for WatchedFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.change(Step::Write(self.name.clone(), bytes.len()))?;
        self.inner.write(at, bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.disk.change(Step::Cut(self.name.clone(), len))?;
        self.inner.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.change(Step::Sync(self.name.clone()))?;
        self.inner.sync()
    }
}

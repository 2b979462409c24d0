//! A disk in memory that can lose power: simulation and property tests decide what a crash leaves behind.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

/// A handle to one disk; clones share it. Nothing here is random: equal calls leave equal disks.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    files: BTreeMap<String, Stored>,
    /// Removed, but a crash may bring them back.
    removed: BTreeMap<String, Stored>,
    /// Counts crashes: a file opened before one belongs to a process that is gone.
    crashes: u64,
    free_bytes: u64,
}

#[derive(Default)]
struct Stored {
    bytes: Vec<u8>,
    /// How many of `bytes` survive a crash for sure.
    synced: usize,
    /// Durable bytes behind `synced` that a cut removed; they are back after a crash before the next sync.
    cut: Vec<u8>,
    /// Whether the name survives a crash for sure.
    named: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { files: BTreeMap::new(), removed: BTreeMap::new(), crashes: 0, free_bytes: u64::MAX }
    }
}

impl MemoryDisk {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power. `tail` may change the unsynced end of each file that has one (clear it, keep a part, tear it);
    /// `exists` decides whether a file is there whose creation or removal was not synced.
    pub fn crash(&self, mut tail: impl FnMut(&str, &mut Vec<u8>), mut exists: impl FnMut(&str) -> bool) {
        let mut state = self.state.lock();
        state.crashes += 1;
        let removed = std::mem::take(&mut state.removed);
        state.files.extend(removed.into_iter().map(|(name, file)| (name, Stored { named: false, ..file })));
        state.files.retain(|name, file| file.named || exists(name));
        for (name, file) in &mut state.files {
            let mut unsynced = file.bytes.split_off(file.synced);
            if file.cut.is_empty() {
                if !unsynced.is_empty() {
                    tail(name, &mut unsynced);
                }
                file.bytes.append(&mut unsynced);
            } else {
                file.bytes.append(&mut file.cut);
            }
            file.synced = file.bytes.len();
            file.named = true;
        }
    }

    /// Sets what `free_bytes` answers; without it the disk never fills.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.state.lock().free_bytes = free_bytes;
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl State {
    fn file(&self, name: &str) -> io::Result<&Stored> {
        self.files.get(name).ok_or_else(|| not_found(name))
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        if state.files.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("file {name} exists")));
        }
        // A removal that was not synced can no longer bring the old file back: the name is taken.
        state.removed.remove(name);
        state.files.insert(name.to_owned(), Stored::default());
        Ok(self.handle(name, state.crashes))
    }

    fn reopen(&self, name: &str, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        let crashes = state.crashes;
        let file = state.files.get_mut(name).ok_or_else(|| not_found(name))?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        if len < file.synced {
            let mut cut = file.bytes[len..file.synced].to_vec();
            cut.append(&mut file.cut);
            file.cut = cut;
            file.synced = len;
        }
        file.bytes.resize(len, 0);
        Ok(self.handle(name, crashes))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        u64::try_from(self.state.lock().file(name)?.bytes.len()).map_err(io::Error::other)
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let range = start.checked_add(len).and_then(|end| state.file(name).ok()?.bytes.get(start..end));
        let short =
            || io::Error::new(io::ErrorKind::UnexpectedEof, format!("file {name} ends before byte {offset} + {len}"));
        range.map(<[u8]>::to_vec).ok_or_else(|| state.file(name).err().unwrap_or_else(short))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.files.remove(name).ok_or_else(|| not_found(name))?;
        if file.named {
            state.removed.insert(name.to_owned(), file);
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.removed.clear();
        for file in state.files.values_mut() {
            file.named = true;
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().free_bytes)
    }
}

impl MemoryDisk {
    fn handle(&self, name: &str, opened_after: u64) -> Box<dyn DiskFile> {
        Box::new(MemoryFile { disk: self.clone(), name: name.to_owned(), opened_after })
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    name: String,
    /// The crash it was opened after; a later one takes the file away from its process.
    opened_after: u64,
}

impl MemoryFile {
    fn with(&self, change: impl FnOnce(&mut Stored)) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if state.crashes != self.opened_after {
            return Err(io::Error::other(format!("file {} was open when the power went", self.name)));
        }
        // A removed file can be written on; nobody will ever see it.
        if let Some(file) = state.files.get_mut(&self.name) {
            change(file);
        }
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|file| file.bytes.extend_from_slice(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|file| {
            file.synced = file.bytes.len();
            file.cut.clear();
        })
    }
}

//! A disk in memory that can lose power or fail a sync: simulation and property tests decide what that leaves behind.

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
    /// All files by number, those too that have lost their name to a removal.
    files: BTreeMap<u64, Stored>,
    /// What has which name.
    names: BTreeMap<String, u64>,
    /// The same after a crash that takes all it may take.
    durable_names: BTreeMap<String, u64>,
    /// What became of names since, in order.
    renamings: Vec<Renaming>,
    next_file: u64,
    /// Counts crashes: a file opened before one belongs to a process that is gone.
    crashes: u64,
    free_bytes: u64,
    fails_next_sync: bool,
}

/// What a page cache shows of a file, and what its disk has.
#[derive(Default)]
struct Stored {
    shown: Vec<u8>,
    durable: Vec<u8>,
    /// What no sync covered, in order.
    changes: Vec<Change>,
}

enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Cut { len: usize },
}

enum Renaming {
    Created { name: String, file: u64 },
    Renamed { from: String, to: String },
    Removed { name: String },
}

impl Default for State {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renamings: Vec::new(),
            next_file: 0,
            crashes: 0,
            free_bytes: u64::MAX,
            fails_next_sync: false,
        }
    }
}

impl MemoryDisk {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power. `torn` is given the name of a file, the bytes that are durable where an unsynced write went (none
    /// where the file ended), and what that write brought: what it leaves of the latter is on the disk afterwards.
    /// `exists` decides whether a name is there whose creation, renaming to it or removal was not synced.
    pub fn crash(&self, mut torn: impl FnMut(&str, &[u8], &mut Vec<u8>), mut exists: impl FnMut(&str) -> bool) {
        let mut state = self.state.lock();
        state.crashes += 1;
        let mut names = std::mem::take(&mut state.durable_names);
        for renaming in std::mem::take(&mut state.renamings) {
            if renaming.sticks(&mut exists) {
                renaming.apply(&mut names);
            }
        }
        let mut files = std::mem::take(&mut state.files);
        for (name, number) in &names {
            let mut file = files.remove(number).expect("a file stays as long as it may have a name");
            file.crash(|was, bytes| torn(name, was, bytes));
            state.files.insert(*number, file);
        }
        state.names.clone_from(&names);
        state.durable_names = names;
    }

    /// The next sync of a file fails, and does what Linux does then: what it should have written counts as written.
    /// Reads show it, and the disk has never got it.
    pub fn fail_next_sync(&self) {
        self.state.lock().fails_next_sync = true;
    }

    /// Sets what `free_bytes` answers; without it the disk never fills.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.state.lock().free_bytes = free_bytes;
    }

    fn handle(&self, file: u64, opened_after: u64) -> Box<dyn DiskFile> {
        Box::new(MemoryFile { disk: self.clone(), file, opened_after })
    }
}

impl Renaming {
    fn sticks(&self, exists: &mut impl FnMut(&str) -> bool) -> bool {
        match self {
            Self::Created { name, .. } | Self::Renamed { to: name, .. } => exists(name),
            Self::Removed { name } => !exists(name),
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Created { name, file } => {
                names.insert(name.clone(), *file);
            }
            // When a crash took the old name there is nothing to rename.
            Self::Renamed { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Removed { name } => {
                names.remove(name);
            }
        }
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
            Self::Cut { len } => to.truncate(*len),
        }
    }
}

impl Stored {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.shown);
        self.changes.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            change.apply(&mut self.durable);
        }
    }

    fn fail_sync(&mut self) {
        self.changes.retain(|change| matches!(change, Change::Cut { .. }));
    }

    /// Unsynced cuts are undone, of unsynced writes `torn` leaves something.
    fn crash(&mut self, mut torn: impl FnMut(&[u8], &mut Vec<u8>)) {
        for change in std::mem::take(&mut self.changes) {
            if let Change::Write { at, mut bytes } = change {
                let end = self.durable.len().min(at + bytes.len());
                torn(self.durable.get(at..end).unwrap_or_default(), &mut bytes);
                if !bytes.is_empty() {
                    Change::Write { at, bytes }.apply(&mut self.durable);
                }
            }
        }
        self.shown.clone_from(&self.durable);
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl State {
    fn number(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| not_found(name))
    }

    fn shown(&self, name: &str) -> io::Result<&[u8]> {
        let number = self.number(name)?;
        Ok(self.files.get(&number).map(|file| &file.shown[..]).expect("a named file is there"))
    }

    fn rename(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.renamings.push(renaming);
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        if state.names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("file {name} exists")));
        }
        let file = state.next_file;
        state.next_file += 1;
        state.files.insert(file, Stored::default());
        state.rename(Renaming::Created { name: name.to_owned(), file });
        Ok(self.handle(file, state.crashes))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state.lock();
        Ok(self.handle(state.number(name)?, state.crashes))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        u64::try_from(self.state.lock().shown(name)?.len()).map_err(io::Error::other)
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        let shown = state.shown(name)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let range = start.checked_add(len).and_then(|end| shown.get(start..end));
        let short =
            || io::Error::new(io::ErrorKind::UnexpectedEof, format!("file {name} ends before byte {offset} + {len}"));
        range.map(<[u8]>::to_vec).ok_or_else(short)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.number(from)?;
        state.rename(Renaming::Renamed { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.number(name)?;
        state.rename(Renaming::Removed { name: name.to_owned() });
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.renamings.clear();
        state.durable_names = state.names.clone();
        let State { files, names, .. } = &mut *state;
        files.retain(|number, _| names.values().any(|named| named == number));
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().free_bytes)
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: u64,
    /// The crash it was opened after; a later one takes the file away from its process.
    opened_after: u64,
}

impl MemoryFile {
    fn with(&self, change: impl FnOnce(&mut Stored)) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if state.crashes != self.opened_after {
            return Err(io::Error::other("a file was open when the power went"));
        }
        // A removed file can be written on; nobody will ever see it.
        if let Some(file) = state.files.get_mut(&self.file) {
            change(file);
        }
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        self.with(|file| file.change(Change::Write { at, bytes: bytes.to_vec() }))
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|file| file.change(Change::Cut { len }))
    }

    fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.disk.state.lock().fails_next_sync) {
            self.with(Stored::fail_sync)?;
            return Err(io::Error::other("a planted failure of a sync"));
        }
        self.with(Stored::sync)
    }
}

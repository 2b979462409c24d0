//! The real disk: a folder of the file system, held by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

const LOCK_NAME: &str = "lock";

/// A folder, locked for this process until dropped.
pub struct FolderDisk {
    path: PathBuf,
    /// Held open for its lock.
    _lock: File,
    /// The file read last: catching up a follower reads thousands of records of one segment.
    last_read: Mutex<Option<(String, Arc<File>)>>,
}

impl FolderDisk {
    /// Takes hold of the folder, which is created when missing.
    ///
    /// # Errors
    /// When the folder can not be created, or another process holds it.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            std::fs::create_dir_all(path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK_NAME))?;
        lock.try_lock().map_err(|refusal| match refusal {
            TryLockError::WouldBlock => {
                let text = format!("another process uses the log folder {}", path.display());
                io::Error::new(io::ErrorKind::WouldBlock, text)
            }
            TryLockError::Error(source) => source,
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock, last_read: Mutex::new(None) })
    }

    fn file_to_read(&self, name: &str) -> io::Result<Arc<File>> {
        let mut last = self.last_read.lock();
        if let Some((last_name, file)) = last.as_ref()
            && last_name == name
        {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.path.join(name))?);
        *last = Some((name.to_owned(), Arc::clone(&file)));
        Ok(file)
    }

    fn forget(&self, name: &str) {
        self.last_read.lock().take_if(|(last_name, _)| last_name == name);
    }
}

impl Disk for FolderDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            // A name that is not text is not one of ours.
            if let Ok(name) = entry?.file_name().into_string()
                && name != LOCK_NAME
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(self.path.join(name))?;
        Ok(Box::new(FolderFile { file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        Ok(Box::new(FolderFile { file }))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(std::fs::metadata(self.path.join(name))?.len())
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file_to_read(name)?.read_exact_at(&mut bytes, offset)?;
        // The file may have got another name, and other bytes after that. As long as it has this one it has not.
        self.len(name)?;
        Ok(bytes)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))?;
        self.forget(from);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))?;
        self.forget(name);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

struct FolderFile {
    file: File,
}

impl DiskFile for FolderFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

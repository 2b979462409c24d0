//! Where segments live: one flat folder of files. [`super::Log`] writes through it, tests crash it.
//!
//! # Invariants
//! - **K1 synced bytes stay**: what was written before a successful `sync` survives a power cut, once the file's name
//!   does.
//! - **K2 synced names stay**: a file created, renamed or removed before a successful `sync_dir` stays so.
//! - **K3 a name is one file**: a read gives bytes of the file that has the name, never of one that had it before.
//! - **K4 absence**: nothing else is promised. Unsynced bytes may vanish, stay in part, or come back as zeros, and where
//!   they stand over older ones, those may be back. After a failed `sync`, reads may show bytes that no later `sync`
//!   makes durable.

mod folder;
mod memory;

use std::io;

pub use folder::FolderDisk;
pub use memory::MemoryDisk;

/// A flat folder of files.
pub trait Disk: Send + Sync {
    /// The names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file; an error when the name is taken.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// An existing file as it is, to write to.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    fn len(&self, name: &str) -> io::Result<u64>;
    /// Exactly `len` bytes from `offset`; an error when the file ends before.
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Gives a file another name, which must be free. Its open handles stay with it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// What is left for this process to write.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// The writing end of one file.
pub trait DiskFile: Send {
    /// Writes all of `bytes` from byte `at` on, over what is there; the file grows when they reach beyond its end.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Drops all bytes from `len` on. Durable after the next `sync`, like a write.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Returns when all that was written is durable (`fdatasync`).
    fn sync(&mut self) -> io::Result<()>;
}

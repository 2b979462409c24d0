//! Where segments live: one flat folder of append-only files. [`super::Log`] writes through it, tests crash it.
//!
//! # Invariants
//! - **K1 synced bytes stay**: what was appended before a successful `sync` survives a power cut, once the file's name
//!   does.
//! - **K2 synced names stay**: a file created or removed before a successful `sync_dir` stays so.
//! - **K3 absence**: nothing else is promised. An unsynced tail may vanish, stay in part, or come back as zeros.

mod folder;
mod memory;

use std::io;

pub use folder::FolderDisk;
pub use memory::MemoryDisk;

/// A flat folder of append-only files.
pub trait Disk: Send + Sync {
    /// The names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file; an error when the name is taken.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// An existing file cut to `len` bytes, to append behind them. The cut is durable after the next `sync`.
    fn reopen(&self, name: &str, len: u64) -> io::Result<Box<dyn DiskFile>>;
    fn len(&self, name: &str) -> io::Result<u64>;
    /// Exactly `len` bytes from `offset`; an error when the file ends before.
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// What is left for this process to write.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// The writing end of one file.
pub trait DiskFile: Send {
    /// Writes all of `bytes` behind what is there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was appended is durable (`fdatasync`).
    fn sync(&mut self) -> io::Result<()>;
}

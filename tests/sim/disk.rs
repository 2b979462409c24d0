//! A memory disk with a fuse: after so many operations every further one fails, and the node has to be crashed.
//! Used by the node; the log sees an ordinary disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rand::RngExt;
use rand::rngs::StdRng;
use steward_cluster::log::disk::{Disk, DiskFile, MemoryDisk};

/// No fuse burns.
const UNLIT: u32 = u32::MAX;

/// The disk of one node; it survives the node's crashes.
#[derive(Clone)]
pub(crate) struct FusedDisk {
    memory: MemoryDisk,
    left: Arc<AtomicU32>,
}

impl FusedDisk {
    pub(crate) fn new() -> Self {
        Self { memory: MemoryDisk::new(), left: Arc::new(AtomicU32::new(UNLIT)) }
    }

    /// The power goes after this many operations.
    pub(crate) fn light(&self, operations: u32) {
        self.left.store(operations, Ordering::Relaxed);
    }

    /// Cuts the power and restores it: synced bytes stay, of the others anything may.
    pub(crate) fn crash(&self, rng: &mut StdRng) {
        self.light(UNLIT);
        let tail_seed = rng.random_range(0..5);
        let keep = rng.random_range(0.0..1.0);
        let names_stay = rng.random_bool(0.5);
        let torn = |_: &str, was: &[u8], bytes: &mut Vec<u8>| tear(was, bytes, tail_seed, keep);
        self.memory.crash(torn, |_| names_stay);
    }

    fn burn(&self) -> io::Result<()> {
        match self.left.load(Ordering::Relaxed) {
            UNLIT => Ok(()),
            0 => Err(io::Error::other("the power is gone")),
            left => {
                self.left.store(left - 1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn fused(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FusedFile { file, disk: self.clone() })
    }
}

/// What a power cut makes of unsynced bytes: nothing, all, the first part, the last part, or zeros behind the first part.
/// Where they were written over others, those are left in place of what is lost.
fn tear(was: &[u8], bytes: &mut Vec<u8>, how: u32, keep: f64) {
    let length = f64::from(u32::try_from(bytes.len()).expect("simulated files are small"));
    let kept =
        (0..bytes.len()).take_while(|at| f64::from(u32::try_from(*at).unwrap_or(u32::MAX)) < length * keep).count();
    match how {
        0 => bytes.clear(),
        1 => {}
        2 => bytes.truncate(kept),
        3 => bytes[kept.max(was.len())..].fill(0),
        _ => {
            let was = was.iter().copied().chain(std::iter::repeat(0));
            bytes[..kept].iter_mut().zip(was).for_each(|(byte, was)| *byte = was);
        }
    }
}

struct FusedFile {
    file: Box<dyn DiskFile>,
    disk: FusedDisk,
}

impl DiskFile for FusedFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.burn()?;
        self.file.write(at, bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.disk.burn()?;
        self.file.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.burn()?;
        self.file.sync()
    }
}

impl Disk for FusedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.burn()?;
        Ok(self.fused(self.memory.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.burn()?;
        Ok(self.fused(self.memory.open(name)?))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.memory.len(name)
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.memory.read(name, offset, len)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.burn()?;
        self.memory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.burn()?;
        self.memory.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.burn()?;
        self.memory.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.memory.free_bytes()
    }
}

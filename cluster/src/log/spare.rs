//! Files that wait to become segments: their blocks exist, so a sync of what is written into them has nothing to commit to
//! the journal of the file system. [`super::Log`] owns them; `ahead.rs` makes one when no segment has died in time.
//!
//! # Invariants
//! - **S1 stale bytes are of lower segments**: a spare ends with the process that kept it, so nothing in it was ever
//!   written for the number it gets. The checksum of a group covers that number: no group of an older life passes.
//! - **S2 given up first**: no spare is kept while space is low, and those there are go before a proposal is refused.
//! - **S3 absence**: recovery knows no spares. One that is lost costs time, nothing else.

use super::disk::Disk;
use super::error::LogError;
use super::newest::byte_count;
use super::segment::file_name;

/// Spares kept at a time; what dies beyond that is removed.
const SPARES_MAX: usize = 2;
/// A dead segment is kept if it is at most so many times as long as one should be.
const SPARE_LENGTHS_MAX: u64 = 2;
/// A spare is made when the newest segment is filled to one of so many parts.
const DUE_PARTS: u64 = 64;
/// Zeros written before the next sync: few enough that a group which syncs meanwhile does not wait long.
const STEP_BYTES: usize = 1 << 20;
const NAME_END: &str = ".spare";

/// A file for the next segment.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) len: u64,
}

/// The spares of one log.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    ready: Vec<Spare>,
    named: u64,
    /// The newest segment when one was ordered last: once per segment is enough.
    ordered_in: u64,
}

/// A spare to be made.
#[derive(Debug)]
pub(crate) struct Order {
    name: String,
    len: u64,
}

impl Order {
    /// Makes it of zeros; nothing when `is_wanted` says no meanwhile. What was begun then goes.
    pub(crate) fn make(&self, disk: &dyn Disk, is_wanted: impl Fn() -> bool) -> Result<Option<Spare>, LogError> {
        match self.fill(disk, is_wanted) {
            Ok(true) => Ok(Some(Spare { name: self.name.clone(), len: self.len })),
            unmade => {
                disk.remove(&self.name).map_err(LogError::io("remove", &self.name))?;
                unmade.map(|_| None)
            }
        }
    }

    /// Zeros, and not only room: blocks that were never written are entered into the journal at their first write too.
    fn fill(&self, disk: &dyn Disk, is_wanted: impl Fn() -> bool) -> Result<bool, LogError> {
        let mut file = disk.create(&self.name).map_err(LogError::io("create", &self.name))?;
        let zeros = vec![0; STEP_BYTES];
        let mut at = 0;
        while at < self.len && is_wanted() {
            let left = usize::try_from(self.len - at).unwrap_or(STEP_BYTES).min(STEP_BYTES);
            file.write(at, &zeros[..left]).map_err(LogError::io("write", &self.name))?;
            file.sync().map_err(LogError::io("sync", &self.name))?;
            at += byte_count(left);
        }
        Ok(at == self.len)
    }
}

impl Spares {
    /// None yet; those of an earlier process go. Durable with the next sync of the folder, and not needed to be.
    pub(crate) fn open(disk: &dyn Disk) -> Result<Self, LogError> {
        let names = disk.list().map_err(LogError::io("list", "folder"))?;
        for name in names.iter().filter(|name| name.ends_with(NAME_END)) {
            disk.remove(name).map_err(LogError::io("remove", name))?;
        }
        Ok(Self::default())
    }

    /// Makes a spare of a dead segment, if it is fit for one and wanted. Durable with the next sync of the folder.
    pub(crate) fn keep(&mut self, disk: &dyn Disk, segment: u64, segment_bytes: u64) -> Result<bool, LogError> {
        let name = file_name(segment);
        let len = disk.len(&name).map_err(LogError::io("measure", &name))?;
        let is_fit = len >= segment_bytes && len / SPARE_LENGTHS_MAX <= segment_bytes;
        if self.ready.len() >= SPARES_MAX || !is_fit {
            return Ok(false);
        }
        let spare = Spare { name: self.next_name(), len };
        disk.rename(&name, &spare.name).map_err(LogError::io("rename", &name))?;
        self.ready.push(spare);
        Ok(true)
    }

    /// What should be made now, if anything: the newest segment has `number` and ends at `end`, `spare_bytes` may be taken.
    pub(crate) fn order(&mut self, number: u64, end: u64, segment_bytes: u64, spare_bytes: u64) -> Option<Order> {
        let is_due = self.ready.is_empty() && self.ordered_in != number && end >= segment_bytes / DUE_PARTS;
        // Others may fill the disk while it is made.
        let has_space = spare_bytes / SPARE_LENGTHS_MAX >= segment_bytes;
        if !is_due || !has_space {
            return None;
        }
        self.ordered_in = number;
        Some(Order { name: self.next_name(), len: segment_bytes })
    }

    pub(crate) fn add(&mut self, spare: Spare) {
        self.ready.push(spare);
    }

    pub(crate) fn take(&mut self) -> Option<Spare> {
        self.ready.pop()
    }

    pub(crate) fn count(&self) -> usize {
        self.ready.len()
    }

    /// Frees what all of them take.
    pub(crate) fn give_up(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        for spare in self.ready.drain(..) {
            disk.remove(&spare.name).map_err(LogError::io("remove", &spare.name))?;
        }
        Ok(())
    }

    fn next_name(&mut self) -> String {
        self.named += 1;
        format!("{}{NAME_END}", self.named)
    }
}

//! The segment that is written to: how it begins, goes on after a restart, and ends. [`super::Log`] has one at a time.
//!
//! # Invariants
//! - **N1 named last**: a segment has its name only once its header is durable, or it is not longer than that header.
//! - **N2 complete**: a segment that another one follows ends with its last group. Only the newest one may have bytes
//!   behind it, zeros or those of an older life; any release takes them for a torn write.

use std::io;

use super::disk::{Disk, DiskFile};
use super::error::LogError;
use super::recover::Tail;
use super::segment::{PAGE_BYTES, SEGMENT_HEADER_BYTES, file_name, segment_header};
use super::spare::Spare;

/// One segment and its open file.
pub(crate) struct Newest {
    pub(crate) number: u64,
    /// Where the next group begins.
    pub(crate) end: u64,
    /// Where the file ends. What lies between was made before, and is not part of the segment.
    room_end: u64,
    file: Box<dyn DiskFile>,
}

impl Newest {
    /// A new segment whose header and name are durable. It grows with every group.
    pub(crate) fn create(disk: &dyn Disk, number: u64, first_sequence: u64) -> Result<Self, LogError> {
        let name = file_name(number);
        let file = disk.create(&name).map_err(LogError::io("create", &name))?;
        let mut newest = Self { number, end: header_len(), room_end: header_len(), file };
        newest.write_header(first_sequence)?;
        disk.sync_dir().map_err(LogError::io("sync folder of", &name))?;
        Ok(newest)
    }

    /// The same in the file of a spare.
    pub(crate) fn reuse(disk: &dyn Disk, spare: &Spare, number: u64, first_sequence: u64) -> Result<Self, LogError> {
        let name = file_name(number);
        let file = disk.open(&spare.name).map_err(LogError::io("open", &spare.name))?;
        let mut newest = Self { number, end: header_len(), room_end: spare.len, file };
        newest.write_header(first_sequence)?;
        disk.rename(&spare.name, &name).map_err(LogError::io("rename a spare to", &name))?;
        disk.sync_dir().map_err(LogError::io("sync folder of", &name))?;
        Ok(newest)
    }

    /// Goes on behind what recovery found, once all of that is durable.
    pub(crate) fn reopen(disk: &dyn Disk, tail: &Tail) -> Result<Self, LogError> {
        let name = file_name(tail.segment);
        let mut file = disk.open(&name).map_err(LogError::io("open", &name))?;
        // Reads may have shown bytes whose sync has failed, which a kernel calls clean and no sync would write.
        let from = tail.len - byte_count(tail.doubtful.len());
        file.write(from, &tail.doubtful).map_err(LogError::io("write again", &name))?;
        if disk.len(&name).map_err(LogError::io("measure", &name))? > tail.len {
            file.cut(tail.len).map_err(LogError::io("cut", &name))?;
        }
        file.sync().map_err(LogError::io("sync", &name))?;
        disk.sync_dir().map_err(LogError::io("sync folder of", &name))?;
        Ok(Self { number: tail.segment, end: tail.len, room_end: tail.len, file })
    }

    /// Whether every group makes the file longer, which costs its sync an entry in the journal of the file system.
    pub(crate) fn grows(&self) -> bool {
        self.end >= self.room_end
    }

    /// Writes a group; it is part of the segment when `end` says so. Lends the buffer out and gives it back as it was.
    pub(crate) fn write(&mut self, group: &mut Vec<u8>) -> io::Result<()> {
        let len = group.len();
        // Up to the end of its last page, since the kernel would have to read what an older life left in the rest.
        let end = (self.end + byte_count(len)).next_multiple_of(byte_count(PAGE_BYTES)).min(self.room_end);
        let padded = usize::try_from(end.saturating_sub(self.end)).map_err(io::Error::other)?;
        group.resize(len.max(padded), 0);
        let written = self.file.write(self.end, group);
        group.truncate(len);
        written
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    /// Cuts off what is not part of the segment: durable before another segment begins.
    pub(crate) fn seal(&mut self) -> Result<(), LogError> {
        if self.room_end > self.end {
            let name = file_name(self.number);
            self.file.cut(self.end).map_err(LogError::io("cut", &name))?;
            self.file.sync().map_err(LogError::io("sync", &name))?;
            self.room_end = self.end;
        }
        Ok(())
    }

    fn write_header(&mut self, first_sequence: u64) -> Result<(), LogError> {
        let name = file_name(self.number);
        self.file.write(0, &segment_header(self.number, first_sequence)).map_err(LogError::io("write", &name))?;
        self.file.sync().map_err(LogError::io("sync", &name))
    }
}

pub(crate) fn header_len() -> u64 {
    byte_count(SEGMENT_HEADER_BYTES)
}

pub(crate) fn byte_count(count: usize) -> u64 {
    u64::try_from(count).expect("a length in memory fits 64 bits")
}

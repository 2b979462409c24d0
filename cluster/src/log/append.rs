//! The log itself: opens what is there, appends groups, drops dead segments. One owner, one thread.

use std::sync::Arc;
use std::time::Duration;

use super::disk::{Disk, DiskFile};
use super::error::LogError;
use super::liveness::Liveness;
use super::reader::LogReader;
use super::record::{Batch, Position, RECORD_BYTES_MAX};
use super::recover::{RecoveredShard, recover};
use super::segment::{
    GROUP_BODY_BYTES_MAX, GROUP_HEADER_BYTES, GroupHeader, GroupPlace, SEGMENT_HEADER_BYTES, file_name, segment_header,
};
use crate::failpoint::{Point, passed};

/// The write buffer is given back when one group made it larger.
const BUFFER_BYTES_MAX: usize = 8 << 20;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// A segment that has reached this size is followed by a new one.
    pub segment_bytes: u64,
    /// Below this much free space [`super::LogThread::is_space_low`] asks its owner to refuse proposals.
    pub reserve_bytes: u64,
    /// Below this much free space nothing is written at all.
    pub floor_bytes: u64,
    /// Added to every sync, to see how the node does on a slower disk. Zero in production.
    pub sync_delay: Duration,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, reserve_bytes: 32 << 20, floor_bytes: 8 << 20, sync_delay: Duration::ZERO }
    }
}

/// What the log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// All bytes written, headers included.
    pub bytes: u64,
    pub payload_bytes: u64,
    pub records: u64,
    /// Syncs of segment files.
    pub syncs: u64,
}

/// How the disk is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) free_bytes: u64,
    /// Less than the reserve is left: new proposals must be refused.
    pub(crate) is_low: bool,
}

/// The log of one node. See the module for its promises.
pub struct Log {
    disk: Arc<dyn Disk>,
    config: LogConfig,
    liveness: Liveness,
    next_sequence: u64,
    segment: u64,
    /// Where the next group begins.
    offset: u64,
    file: Box<dyn DiskFile>,
    /// Lent to one write at a time, kept for its memory.
    buffer: Vec<u8>,
    is_poisoned: bool,
    space: Space,
    stats: LogStats,
}

impl Log {
    /// Recovers what the disk holds and opens it for appending. A torn tail is cut off, and what remains is durable,
    /// before this returns.
    ///
    /// # Errors
    /// [`LogError::Damaged`] or [`LogError::NewerFormat`] when the node must not start on these files.
    pub fn open(disk: Arc<dyn Disk>, config: LogConfig) -> Result<(Self, Vec<RecoveredShard>), LogError> {
        let mut found = recover(disk.as_ref())?;
        if let Some(unborn) = found.unborn {
            let name = file_name(unborn);
            // Durable with the sync of the folder below; should it come back before that, it is still unborn.
            disk.remove(&name).map_err(LogError::io("remove", &name))?;
        }
        let mut stats = LogStats::default();
        let (segment, offset, file) = match found.newest {
            Some((segment, len)) => {
                let name = file_name(segment);
                let mut file = disk.reopen(&name, len).map_err(LogError::io("reopen", &name))?;
                file.sync().map_err(LogError::io("sync", &name))?;
                disk.sync_dir().map_err(LogError::io("sync folder of", &name))?;
                // One of an older format counts as full: an older release must not meet records it does not know there.
                (segment, if found.is_older { u64::MAX } else { len }, file)
            }
            None => {
                // Only the first segment can be unborn without another before it.
                let segment = 1;
                let file = create_segment(disk.as_ref(), segment, found.next_sequence, &mut stats)?;
                found.liveness.open_segment(segment);
                (segment, header_len(), file)
            }
        };
        let log = Self {
            disk,
            config,
            liveness: found.liveness,
            next_sequence: found.next_sequence,
            segment,
            offset,
            file,
            buffer: Vec::new(),
            is_poisoned: false,
            space: Space { free_bytes: 0, is_low: true },
            stats,
        };
        Ok((log, found.shards))
    }

    /// Writes the batch and returns when it is durable: where each of its records stands, in order.
    ///
    /// # Errors
    /// [`LogError::DiskFull`] and [`LogError::TooLarge`] change nothing. After any other error the log is poisoned,
    /// and whether the batch is durable is unknown until the log is opened again.
    pub fn append(&mut self, batch: &Batch) -> Result<Vec<Position>, LogError> {
        let mut positions = self.append_all(std::slice::from_ref(batch))?;
        Ok(positions.pop().expect("one batch has one list of positions"))
    }

    /// Writes several batches as one group: one write, one sync.
    pub(crate) fn append_all(&mut self, batches: &[Batch]) -> Result<Vec<Vec<Position>>, LogError> {
        if self.is_poisoned {
            return Err(LogError::Poisoned);
        }
        let bytes: usize = batches.iter().map(Batch::byte_len).sum();
        if bytes > GROUP_BODY_BYTES_MAX {
            return Err(LogError::TooLarge { bytes, max: GROUP_BODY_BYTES_MAX });
        }
        let largest = batches.iter().map(Batch::largest_record).max().unwrap_or(0);
        if largest > RECORD_BYTES_MAX {
            return Err(LogError::TooLarge { bytes: largest, max: RECORD_BYTES_MAX });
        }
        if bytes == 0 {
            return Ok(batches.iter().map(|_| Vec::new()).collect());
        }
        self.require_space()?;
        self.write_group(batches)
    }

    /// Removes the oldest segments as long as snapshot marks cover all they hold. Hard states and marks in them that
    /// still count are written again first. Works on a full disk too, since it frees more than it takes.
    ///
    /// # Errors
    /// As for [`Log::append`].
    pub fn drop_dead_segments(&mut self) -> Result<(), LogError> {
        if self.is_poisoned {
            return Err(LogError::Poisoned);
        }
        // What is written again below may open a segment; that one has no business here.
        let newest = self.segment;
        while let Some(dead) = self.liveness.oldest_dead(newest) {
            self.rewrite_state(dead)?;
            let name = file_name(dead);
            self.disk.remove(&name).map_err(|source| self.poison("remove", &name, source))?;
            // One by one: a crash may keep any of several unsynced removals, and would leave a hole.
            self.disk.sync_dir().map_err(|source| self.poison("sync folder of", &name, source))?;
            self.liveness.forget_oldest();
        }
        Ok(())
    }

    /// A handle that reads records while this one writes.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.disk))
    }

    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.stats
    }

    pub(crate) fn segment_count(&self) -> usize {
        self.liveness.segment_count()
    }

    /// Asks the disk how much is free.
    pub(crate) fn check_space(&mut self) -> Result<Space, LogError> {
        let free_bytes =
            self.disk.free_bytes().map_err(LogError::io("measure free space for", &file_name(self.segment)))?;
        self.space = Space { free_bytes, is_low: free_bytes < self.config.reserve_bytes };
        Ok(self.space)
    }

    /// The last answer of `check_space`, which `append` asks for itself.
    pub(crate) fn space(&self) -> Space {
        self.space
    }

    /// Asks before every group: others fill the same disk, and the question is cheap beside a sync.
    fn require_space(&mut self) -> Result<(), LogError> {
        self.check_space()?;
        let floor = self.config.floor_bytes;
        if self.space.free_bytes < floor {
            return Err(LogError::DiskFull { free: self.space.free_bytes, floor });
        }
        Ok(())
    }

    fn write_group(&mut self, batches: &[Batch]) -> Result<Vec<Vec<Position>>, LogError> {
        if self.offset >= self.config.segment_bytes {
            self.next_segment()?;
        }
        let body: usize = batches.iter().map(Batch::byte_len).sum();
        let body_bytes = u32::try_from(body).expect("a group's length is limited");
        let place = GroupPlace { segment: self.segment, offset: self.offset };
        let header = GroupHeader { sequence: self.next_sequence, body_bytes };
        self.buffer.clear();
        self.buffer.extend_from_slice(&header.encode(place));
        for batch in batches {
            self.buffer.extend_from_slice(batch.bytes());
        }
        passed(Point::BeforeAppend);
        let written = self.file.append(&self.buffer).map_err(|source| ("write", source));
        passed(Point::BeforeSync);
        let synced = written.and_then(|()| self.file.sync().map_err(|source| ("sync", source)));
        synced.map_err(|(step, source)| self.poison(step, &file_name(self.segment), source))?;
        passed(Point::AfterSync);
        if !self.config.sync_delay.is_zero() {
            std::thread::sleep(self.config.sync_delay);
        }
        self.next_sequence += 1;
        Ok(self.note_group(batches))
    }

    /// Books a group that is durable now.
    fn note_group(&mut self, batches: &[Batch]) -> Vec<Vec<Position>> {
        let bytes = byte_count(self.buffer.len());
        self.stats.bytes += bytes;
        self.stats.syncs += 1;
        let mut offset = self.offset + byte_count(GROUP_HEADER_BYTES);
        self.offset += bytes;
        if self.buffer.capacity() > BUFFER_BYTES_MAX {
            self.buffer = Vec::new();
        }
        let mut positions = Vec::with_capacity(batches.len());
        for batch in batches {
            self.stats.payload_bytes += byte_count(batch.payload_bytes());
            self.stats.records += byte_count(batch.records().len());
            let place = |(head, len): &(_, usize)| {
                let len = u32::try_from(*len).expect("a record's length is limited");
                let position = Position { segment: self.segment, offset, len };
                offset += u64::from(len);
                self.liveness.note(*head, position);
                position
            };
            positions.push(batch.records().iter().map(place).collect());
        }
        positions
    }

    fn next_segment(&mut self) -> Result<(), LogError> {
        let next = self.segment + 1;
        let created = create_segment(self.disk.as_ref(), next, self.next_sequence, &mut self.stats);
        self.file = created.inspect_err(|_| self.is_poisoned = true)?;
        self.segment = next;
        self.offset = header_len();
        self.liveness.open_segment(next);
        Ok(())
    }

    fn rewrite_state(&mut self, segment: u64) -> Result<(), LogError> {
        let reader = self.reader();
        let mut batch = Batch::new();
        for position in self.liveness.state_in(segment) {
            let record = reader.read(position)?;
            batch.push(record.shard, record.kind, record.term, record.index, &record.payload);
        }
        if !batch.is_empty() {
            self.write_group(std::slice::from_ref(&batch))?;
        }
        Ok(())
    }

    fn poison(&mut self, step: &'static str, file: &str, source: std::io::Error) -> LogError {
        self.is_poisoned = true;
        LogError::io(step, file)(source)
    }
}

/// A new segment whose header and name are durable.
fn create_segment(
    disk: &dyn Disk,
    segment: u64,
    first_sequence: u64,
    stats: &mut LogStats,
) -> Result<Box<dyn DiskFile>, LogError> {
    let name = file_name(segment);
    let mut file = disk.create(&name).map_err(LogError::io("create", &name))?;
    file.append(&segment_header(segment, first_sequence)).map_err(LogError::io("write", &name))?;
    file.sync().map_err(LogError::io("sync", &name))?;
    disk.sync_dir().map_err(LogError::io("sync folder of", &name))?;
    stats.bytes += header_len();
    stats.syncs += 1;
    Ok(file)
}

fn header_len() -> u64 {
    byte_count(SEGMENT_HEADER_BYTES)
}

fn byte_count(count: usize) -> u64 {
    u64::try_from(count).expect("a length in memory fits 64 bits")
}

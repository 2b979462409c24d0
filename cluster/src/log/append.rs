//! The log itself: opens what is there, appends groups, drops dead segments. One owner, one thread.

use std::sync::Arc;
use std::time::Duration;

use super::disk::Disk;
use super::error::LogError;
use super::liveness::Liveness;
use super::newest::{Newest, byte_count, header_len};
use super::reader::LogReader;
use super::record::{Batch, Position, RECORD_BYTES_MAX};
use super::recover::{RecoveredShard, recover};
use super::segment::{GROUP_BODY_BYTES_MAX, GROUP_HEADER_BYTES, GroupHeader, GroupPlace, file_name};
use super::spare::{Order, Spare, Spares};
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
    /// Zeros written so that blocks exist before they are needed; not part of `bytes`.
    pub ahead_bytes: u64,
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
    newest: Newest,
    /// The newest segment takes no more groups, whatever its length.
    is_full: bool,
    spares: Spares,
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
        let spares = Spares::open(disk.as_ref())?;
        let mut stats = LogStats::default();
        let newest = match &found.newest {
            Some(tail) => Newest::reopen(disk.as_ref(), tail)?,
            None => {
                // Only the first segment can be unborn without another before it.
                let newest = Newest::create(disk.as_ref(), 1, found.next_sequence)?;
                found.liveness.open_segment(newest.number);
                stats.bytes += header_len();
                stats.syncs += 1;
                newest
            }
        };
        let log = Self {
            disk,
            config,
            liveness: found.liveness,
            next_sequence: found.next_sequence,
            newest,
            // An older release must not meet records it does not know in a segment of its own format.
            is_full: found.is_older,
            spares,
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
        let newest = self.newest.number;
        while let Some(dead) = self.liveness.oldest_dead(newest) {
            self.rewrite_state(dead)?;
            self.retire(dead).inspect_err(|_| self.is_poisoned = true)?;
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

    pub(crate) fn spare_count(&self) -> usize {
        self.spares.count()
    }

    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// The spare that somebody should make now, if any.
    pub(crate) fn wanted_spare(&mut self) -> Option<Order> {
        let spare_bytes = self.space.free_bytes.saturating_sub(self.config.reserve_bytes);
        self.spares.order(self.newest.number, self.newest.end, self.config.segment_bytes, spare_bytes)
    }

    /// Takes in what was made of an order.
    pub(crate) fn add_spare(&mut self, spare: Spare) {
        self.stats.ahead_bytes += spare.len;
        self.spares.add(spare);
    }

    /// Asks the disk how much is free. When that is little, what the spares take becomes free first.
    pub(crate) fn check_space(&mut self) -> Result<Space, LogError> {
        self.space = self.measure_space()?;
        if self.space.is_low && self.spares.count() > 0 {
            self.spares.give_up(self.disk.as_ref())?;
            self.space = self.measure_space()?;
        }
        Ok(self.space)
    }

    /// The last answer of `check_space`, which `append` asks for itself.
    pub(crate) fn space(&self) -> Space {
        self.space
    }

    fn measure_space(&self) -> Result<Space, LogError> {
        let free_bytes = self.disk.free_bytes().map_err(LogError::io("measure free space for", "folder"))?;
        Ok(Space { free_bytes, is_low: free_bytes < self.config.reserve_bytes })
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
        let is_full = self.is_full || self.newest.end >= self.config.segment_bytes;
        // One that grows is left for a spare as soon as there is one.
        if is_full || (self.newest.grows() && self.spares.count() > 0) {
            self.next_segment()?;
        }
        let body: usize = batches.iter().map(Batch::byte_len).sum();
        let body_bytes = u32::try_from(body).expect("a group's length is limited");
        let place = GroupPlace { segment: self.newest.number, offset: self.newest.end };
        let header = GroupHeader { sequence: self.next_sequence, body_bytes };
        self.buffer.clear();
        self.buffer.extend_from_slice(&header.encode(place));
        for batch in batches {
            self.buffer.extend_from_slice(batch.bytes());
        }
        passed(Point::BeforeAppend);
        let written = self.newest.write(&mut self.buffer).map_err(|source| ("write", source));
        passed(Point::BeforeSync);
        let synced = written.and_then(|()| self.newest.sync().map_err(|source| ("sync", source)));
        synced.map_err(|(step, source)| self.poison(step, &file_name(self.newest.number), source))?;
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
        let mut offset = self.newest.end + byte_count(GROUP_HEADER_BYTES);
        self.newest.end += bytes;
        if self.buffer.capacity() > BUFFER_BYTES_MAX {
            self.buffer = Vec::new();
        }
        let mut positions = Vec::with_capacity(batches.len());
        for batch in batches {
            self.stats.payload_bytes += byte_count(batch.payload_bytes());
            self.stats.records += byte_count(batch.records().len());
            let place = |(head, len): &(_, usize)| {
                let len = u32::try_from(*len).expect("a record's length is limited");
                let position = Position { segment: self.newest.number, offset, len };
                offset += u64::from(len);
                self.liveness.note(*head, position);
                position
            };
            positions.push(batch.records().iter().map(place).collect());
        }
        positions
    }

    fn next_segment(&mut self) -> Result<(), LogError> {
        self.newest = self.begin_segment().inspect_err(|_| self.is_poisoned = true)?;
        self.is_full = false;
        self.liveness.open_segment(self.newest.number);
        self.stats.bytes += header_len();
        self.stats.syncs += 1;
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<Newest, LogError> {
        self.newest.seal()?;
        let (disk, next) = (self.disk.as_ref(), self.newest.number + 1);
        match self.spares.take() {
            Some(spare) => Newest::reuse(disk, &spare, next, self.next_sequence),
            None => Newest::create(disk, next, self.next_sequence),
        }
    }

    /// Takes a dead segment's name away; what stood in it may be written over afterwards.
    fn retire(&mut self, dead: u64) -> Result<(), LogError> {
        let (disk, name) = (self.disk.as_ref(), file_name(dead));
        if self.space.is_low || !self.spares.keep(disk, dead, self.config.segment_bytes)? {
            disk.remove(&name).map_err(LogError::io("remove", &name))?;
        }
        // One by one: a crash may keep any of several unsynced removals, and would leave a hole.
        disk.sync_dir().map_err(LogError::io("sync folder of", &name))
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

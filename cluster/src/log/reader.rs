//! Reads single records back by their place. Replication calls it for entries it no longer holds in memory.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::Disk;
use super::error::LogError;
use super::record::{self, Position, Record};
use super::segment::file_name;

/// A handle that reads while the log goes on writing. Cheap to clone.
#[derive(Clone)]
pub struct LogReader {
    disk: Arc<dyn Disk>,
}

impl LogReader {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    /// The record at a position the log gave out. Its checksum is verified on every read.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when the bytes are not what was written; [`LogError::Io`] when they can not be read, as
    /// after the segment was dropped.
    pub fn read(&self, position: Position) -> Result<Record, LogError> {
        let file = file_name(position.segment);
        let len = usize::try_from(position.len).expect("a record's length fits memory");
        let bytes = self.disk.read(&file, position.offset, len).map_err(LogError::io("read", &file))?;
        let damaged = |why: &str| LogError::damaged(&file, position.offset, why);
        let decoded = record::decode(&bytes).map_err(damaged)?;
        if decoded.len != bytes.len() {
            return Err(damaged("record has another length than it was written with"));
        }
        let head = decoded.head;
        let payload = Bytes::from(bytes).slice(decoded.payload);
        Ok(Record { shard: head.shard, kind: head.kind, term: head.term, index: head.index, payload })
    }
}

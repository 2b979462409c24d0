//! Writes a shard's snapshot. The Raft driver's snapshot thread calls it.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use super::folder::{file_name, sync_folder};
use super::format::{CHUNK_BYTES, HEADER_BYTES, Header, TRAILER_MAGIC, chunk_head, put_record};
use super::{SnapshotError, SnapshotFile};
use crate::format::Format;
use crate::ids::{LogIndex, ShardId, Term};
use crate::store::StateStore;
use crate::store::error::StoreError;

/// Ends the name of a snapshot that is being written, or that a crash cut short.
pub(super) const PART_SUFFIX: &str = "part";

/// What is written is synced each so many bytes: one large sync at the end would hold up the log's on the same disk.
const SYNC_EVERY_BYTES: usize = 1 << 20;

/// Writes the shard as it stands now into `dir`, which must exist; `about` tells the term of the entry it stands at, and a
/// format that covers everything up to there. One snapshot per shard at a time.
pub fn write(
    store: &dyn StateStore,
    shard: ShardId,
    about: &dyn Fn(LogIndex) -> (Term, Format),
    dir: &Path,
) -> Result<SnapshotFile, SnapshotError> {
    let part = dir.join(format!("{:05}.{PART_SUFFIX}", shard.0));
    let fault = |doing| {
        let path = part.clone();
        move |source| StoreError::Io { doing, path, source }
    };
    let mut out = Out::create(&part).map_err(fault("create"))?;
    let index = store.shard_view(shard, &mut |key, value| out.record(key, value).map_err(fault("write")))?;
    let (chunks, keys) = out.close_chunks().map_err(fault("write"))?;
    let (term, format) = about(index);
    let header = Header { format, shard, index, term, chunks, keys };
    let (bytes, hash) = out.finish(&header).map_err(fault("write"))?;
    let path = dir.join(file_name(shard, index));
    fs::rename(&part, &path).map_err(fault("rename"))?;
    sync_folder(dir)?;
    Ok(SnapshotFile { format, shard, index, term, keys, path, bytes, hash })
}

/// A snapshot under construction: room for the header, then chunks as they fill.
struct Out {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    payload: Vec<u8>,
    chunks: u64,
    keys: u64,
    unsynced: usize,
}

impl Out {
    fn create(path: &Path) -> std::io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        // The index is known only when the view ends, so the header is filled in last.
        file.write_all(&[0; HEADER_BYTES])?;
        Ok(Self { file, hasher: blake3::Hasher::new(), payload: Vec::new(), chunks: 0, keys: 0, unsynced: 0 })
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> std::io::Result<()> {
        put_record(&mut self.payload, key, value);
        self.keys += 1;
        if self.payload.len() < CHUNK_BYTES { Ok(()) } else { self.chunk() }
    }

    fn chunk(&mut self) -> std::io::Result<()> {
        for part in [&chunk_head(&self.payload)[..], &self.payload] {
            self.hasher.update(part);
            self.file.write_all(part)?;
        }
        self.chunks += 1;
        self.unsynced += self.payload.len();
        self.payload.clear();
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.file.flush()?;
            self.file.get_ref().sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn close_chunks(&mut self) -> std::io::Result<(u64, u64)> {
        if !self.payload.is_empty() {
            self.chunk()?;
        }
        Ok((self.chunks, self.keys))
    }

    fn finish(mut self, header: &Header) -> std::io::Result<(u64, [u8; blake3::OUT_LEN])> {
        let header = header.encode();
        let hash = *self.hasher.update(&header).finalize().as_bytes();
        self.file.write_all(&TRAILER_MAGIC)?;
        self.file.write_all(&hash)?;
        let bytes = self.file.stream_position()?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok((bytes, hash))
    }
}

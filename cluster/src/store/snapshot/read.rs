//! Checks and loads snapshots. The Raft driver calls it for those it was sent, opening the store for its own.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use bytes::Buf;

use super::format::{
    CHUNK_BYTES_MAX, CHUNK_HEAD_BYTES, HEADER_BYTES, Header, HeaderFault, TRAILER_BYTES, TRAILER_MAGIC, take_record,
};
use super::{SnapshotError, SnapshotFile};
use crate::failpoint::{Point, passed};
use crate::format::Format;
use crate::store::{StateStore, WriteBatch, keys};

/// A load writes at most this many bytes of keys and values in one step, and the record that goes beyond.
const LOAD_BATCH_BYTES: usize = 1024 * 1024;

/// Checks every byte of a snapshot.
pub fn verify(path: &Path) -> Result<SnapshotFile, SnapshotError> {
    read(path, &mut |_, _| Ok(()))
}

/// Replaces a shard by a snapshot that was checked to its last byte before.
pub fn load(path: &Path, store: &dyn StateStore) -> Result<SnapshotFile, SnapshotError> {
    let checked = verify(path)?;
    store.begin_load(checked.shard)?;
    passed(Point::DuringInstall);
    let (mut batch, mut bytes) = (WriteBatch::default(), 0);
    // Read again, so checked again: the shard stays incomplete if the file changed in between.
    let loaded = read(path, &mut |key, value| {
        bytes += key.len() + value.len();
        batch.put(key.to_vec(), value.to_vec());
        if bytes >= LOAD_BATCH_BYTES {
            bytes = 0;
            store.pace()?;
            store.write(std::mem::take(&mut batch))?;
        }
        Ok(())
    })?;
    store.write(batch)?;
    if loaded != checked {
        return Err(SnapshotError::Damaged { path: path.to_owned(), offset: 0, what: "changed while it was loaded" });
    }
    store.finish_load(loaded.shard, loaded.index)?;
    Ok(loaded)
}

type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), SnapshotError> + 'a;

fn read(path: &Path, each: &mut Each<'_>) -> Result<SnapshotFile, SnapshotError> {
    let mut reader = Reader::open(path)?;
    let (header, header_bytes) = reader.header()?;
    let mut last_key = Vec::new();
    let mut keys = 0;
    for _ in 0..header.chunks {
        let (start, payload) = reader.chunk()?;
        let mut rest = payload.as_slice();
        while !rest.is_empty() {
            let Some((key, value)) = take_record(&mut rest) else {
                return Err(reader.damaged(start, "a record is cut short"));
            };
            if !keys::is_open(key) || keys::shard_of(key) != Some(header.shard) {
                return Err(reader.damaged(start, "a key is not of this shard"));
            }
            if key <= last_key.as_slice() {
                return Err(reader.damaged(start, "keys are not in order"));
            }
            last_key.clear();
            last_key.extend_from_slice(key);
            keys += 1;
            each(key, value)?;
        }
    }
    if keys != header.keys {
        return Err(reader.damaged(0, "the number of keys is not the header's"));
    }
    let hash = reader.trailer(&header_bytes)?;
    let Header { format, shard, index, term, .. } = header;
    Ok(SnapshotFile { format, shard, index, term, keys, path: path.to_owned(), bytes: reader.len, hash })
}

/// A snapshot being read, with the place for messages.
struct Reader<'a> {
    path: &'a Path,
    file: BufReader<File>,
    len: u64,
    offset: u64,
    hasher: blake3::Hasher,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> Result<Self, SnapshotError> {
        let fault = |source| SnapshotError::Io { doing: "open", path: path.to_owned(), source };
        let file = File::open(path).map_err(fault)?;
        let len = file.metadata().map_err(fault)?.len();
        Ok(Self { path, file: BufReader::new(file), len, offset: 0, hasher: blake3::Hasher::new() })
    }

    fn damaged(&self, offset: u64, what: &'static str) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.to_owned(), offset, what }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        match self.file.read_exact(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(self.damaged(self.offset, "the file ends here"));
            }
            Err(source) => return Err(SnapshotError::Io { doing: "read", path: self.path.to_owned(), source }),
        }
        self.offset += u64::try_from(bytes.len()).expect("a buffer's length fits 64 bits");
        Ok(())
    }

    fn header(&mut self) -> Result<(Header, [u8; HEADER_BYTES]), SnapshotError> {
        let mut bytes = [0; HEADER_BYTES];
        self.fill(&mut bytes)?;
        match Header::decode(&bytes) {
            Ok(header) => Ok((header, bytes)),
            Err(HeaderFault::Magic) => Err(self.damaged(0, "this is no snapshot")),
            Err(HeaderFault::Checksum) => Err(self.damaged(0, "the header does not match its checksum")),
            Err(HeaderFault::Format(found)) => {
                Err(SnapshotError::Newer { path: self.path.to_owned(), found, known: Format::NEWEST })
            }
        }
    }

    /// The next chunk's place and payload, checked.
    fn chunk(&mut self) -> Result<(u64, Vec<u8>), SnapshotError> {
        let start = self.offset;
        let mut head = [0; CHUNK_HEAD_BYTES];
        self.fill(&mut head)?;
        self.hasher.update(&head);
        let mut fields = head.as_slice();
        let len = usize::try_from(fields.get_u32()).unwrap_or(usize::MAX);
        if len == 0 || len > CHUNK_BYTES_MAX {
            return Err(self.damaged(start, "a chunk's length is impossible"));
        }
        let mut payload = vec![0; len];
        self.fill(&mut payload)?;
        self.hasher.update(&payload);
        if crc32c::crc32c(&payload) != fields.get_u32() {
            return Err(self.damaged(start, "a chunk does not match its checksum"));
        }
        Ok((start, payload))
    }

    fn trailer(&mut self, header: &[u8; HEADER_BYTES]) -> Result<[u8; blake3::OUT_LEN], SnapshotError> {
        let start = self.offset;
        let mut trailer = [0; TRAILER_BYTES];
        self.fill(&mut trailer)?;
        let (magic, hash) = trailer.split_at(TRAILER_MAGIC.len());
        if magic != TRAILER_MAGIC {
            return Err(self.damaged(start, "the trailer is not where it should be"));
        }
        let found = self.hasher.update(header).finalize();
        if found.as_bytes() != hash {
            return Err(self.damaged(start, "the file does not match its hash"));
        }
        if self.offset != self.len {
            return Err(self.damaged(self.offset, "something follows the trailer"));
        }
        Ok(*found.as_bytes())
    }
}

//! A download that is not whole yet: a file that grows, and beside it a note that says what it is a part of. Used by
//! `download`.
//!
//! # Invariants
//! - **H1 one content**: only bytes of one URL and one strong validator follow each other in a part.
//! - **H2 noted means on disk**: a note counts bytes that were synced, and holds their hash; what is behind them is cut off
//!   before the part goes on, and a part whose bytes have another hash is begun anew.
//! - **H3 nothing without a name**: without a strong validator nothing stays when a download ends early.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_cluster::clock::{Clock as _, SystemClock};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt, BufWriter, SeekFrom};

/// Bytes collected before they are written, and read back at a time.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes that a node that dies may lose of a download.
const NOTE_EACH_BYTES: u64 = 64 << 20;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Hash of the URL: it may be signed, so it is not written down.
    url: String,
    etag: String,
    bytes: u64,
    blake3: String,
    /// How long all tries have taken.
    spent_ms: u64,
}

/// A growing file.
pub(super) struct Part {
    dest: PathBuf,
    path: PathBuf,
    note_path: PathBuf,
    url: String,
    etag: Option<String>,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
    noted: u64,
    clock: SystemClock,
    started: Duration,
    spent_before: Duration,
    finished: bool,
}

impl Part {
    /// What an earlier try at the same URL left, else an empty part.
    pub(super) async fn open(dest: &Path, url: &str) -> io::Result<Self> {
        let beside = |end: &str| {
            let mut path = dest.as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        };
        let (path, note_path) = (beside(".part"), beside(".note"));
        let url = blake3::hash(url.as_bytes()).to_hex().to_string();
        let note = fs::read(&note_path).await.ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        let note = note.filter(|note| note.url == url).unwrap_or_default();
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).await?;
        let mut hasher = blake3::Hasher::new();
        let found = hash(&mut file, note.bytes, &mut hasher).await?;
        let sound = found && hasher.finalize().to_hex().as_str() == note.blake3;
        let (bytes, etag) = if sound { (note.bytes, Some(note.etag)) } else { (0, None) };
        if !sound {
            hasher = blake3::Hasher::new();
        }
        file.set_len(bytes).await?;
        file.seek(SeekFrom::Start(bytes)).await?;
        let (clock, spent_before) = (SystemClock::new(), Duration::from_millis(if sound { note.spent_ms } else { 0 }));
        let (file, started) = (BufWriter::with_capacity(BUFFER_BYTES, file), clock.monotonic());
        let (dest, noted) = (dest.to_owned(), bytes);
        Ok(Self {
            dest,
            path,
            note_path,
            url,
            etag,
            file,
            hasher,
            bytes,
            noted,
            clock,
            started,
            spent_before,
            finished: false,
        })
    }

    /// How much is there.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it can go on, and what the server must still have for that.
    pub(super) fn resumable(&self) -> Option<(u64, &str)> {
        let etag = self.etag.as_deref()?;
        (self.bytes > 0).then_some((self.bytes, etag))
    }

    /// How long all tries have taken.
    pub(super) fn spent(&self) -> Duration {
        self.spent_before + self.clock.monotonic().saturating_sub(self.started)
    }

    /// Begins anew, with what the server now has.
    pub(super) async fn restart(&mut self, etag: Option<String>) -> io::Result<()> {
        self.file.flush().await?;
        self.file.get_mut().set_len(0).await?;
        self.file.seek(SeekFrom::Start(0)).await?;
        self.hasher = blake3::Hasher::new();
        (self.bytes, self.noted, self.etag) = (0, 0, etag);
        remove(&self.note_path).await
    }

    pub(super) async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.hasher.update(chunk);
        self.bytes = self.bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        self.file.write_all(chunk).await?;
        if self.bytes - self.noted >= NOTE_EACH_BYTES { self.note().await } else { Ok(()) }
    }

    /// Writes down how far it is, so that a later try can go on.
    pub(super) async fn note(&mut self) -> io::Result<()> {
        let Some(etag) = self.etag.clone() else { return Ok(()) };
        self.file.flush().await?;
        self.file.get_ref().sync_data().await?;
        let note = Note {
            url: self.url.clone(),
            etag,
            bytes: self.bytes,
            blake3: self.hasher.finalize().to_hex().to_string(),
            spent_ms: u64::try_from(self.spent().as_millis()).unwrap_or(u64::MAX),
        };
        fs::write(&self.note_path, serde_json::to_vec(&note).expect("a note is plain data")).await?;
        self.noted = self.bytes;
        Ok(())
    }

    /// Leaves nothing behind.
    pub(super) fn forget(&mut self) {
        self.etag = None;
    }

    /// Brings the bytes to disk, then the name, then the folder's entry for it.
    pub(super) async fn finish(&mut self) -> io::Result<blake3::Hash> {
        self.file.flush().await?;
        self.file.get_ref().sync_all().await?;
        fs::rename(&self.path, &self.dest).await?;
        self.finished = true;
        remove(&self.note_path).await?;
        let folder = self.dest.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).await?.sync_all().await?;
        Ok(self.hasher.finalize())
    }
}

/// Also when a download is dropped half-way.
impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished && (self.etag.is_none() || self.noted == 0) {
            std::fs::remove_file(&self.path).ok();
            std::fs::remove_file(&self.note_path).ok(); // It may never have been made.
        }
    }
}

/// Hashes the first bytes of a file; whether there are so many.
async fn hash(file: &mut File, bytes: u64, hasher: &mut blake3::Hasher) -> io::Result<bool> {
    let mut left = bytes;
    let mut buffer = vec![0; if bytes == 0 { 0 } else { BUFFER_BYTES }];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read(&mut buffer[..wanted]).await?;
        if read == 0 {
            return Ok(false);
        }
        hasher.update(&buffer[..read]);
        left -= u64::try_from(read).expect("a buffer is small");
    }
    Ok(bytes > 0)
}

async fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

//! One upload: takes bytes in turn, and makes them a blob when they are all here.

use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use parking_lot::Mutex;
use steward_cluster::clock::Clock;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::OwnedMutexGuard;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::checksum::Summing;
use super::folder::{Description, Folder, Mark};
use super::{CHUNK_WAIT_MAX, Checksum, Progress, SYNC_EVERY_BYTES, TURN_WAIT_MAX, UPLOAD_LIFE, UploadError, UploadId};
use crate::blob::store::hash_file;
use crate::blob::{BlobHash, BlobStore, space};
use crate::domain::account::BlobUploaded;
use crate::domain::ids::AccountId;

/// How far an upload has come.
pub(super) struct State {
    pub(super) description: Description,
    pub(super) mark: Mark,
    /// Its blob is on the replicas.
    pub(super) is_spread: bool,
    /// It was ended, or refused.
    pub(super) is_over: bool,
}

/// One upload. Whoever has its turn has its files.
pub(super) struct Session {
    pub(super) id: UploadId,
    pub(super) account: AccountId,
    /// As it was said.
    pub(super) bytes: u64,
    state: Arc<tokio::sync::Mutex<State>>,
    /// Ends the request that has the turn.
    turn: Mutex<CancellationToken>,
}

/// What every upload works with.
pub(super) struct Tools {
    pub(super) folder: Folder,
    pub(super) blobs: BlobStore,
    pub(super) clock: Arc<dyn Clock>,
}

/// The right to write.
pub(super) struct Turn {
    pub(super) state: OwnedMutexGuard<State>,
    over: CancellationToken,
}

impl Session {
    pub(super) fn new(id: UploadId, state: State) -> Self {
        let (account, bytes) = (state.description.account.clone(), state.description.bytes);
        Self { id, account, bytes, state: Arc::new(tokio::sync::Mutex::new(state)), turn: Mutex::default() }
    }

    /// Ends whoever has the turn, and takes it.
    pub(super) async fn take_turn(&self) -> Result<Turn, UploadError> {
        let over = CancellationToken::new();
        std::mem::replace(&mut *self.turn.lock(), over.clone()).cancel();
        let state = timeout(TURN_WAIT_MAX, Arc::clone(&self.state).lock_owned()).await;
        let state = state.map_err(|_| UploadError::Busy)?;
        if state.is_over { Err(UploadError::absent(&self.id)) } else { Ok(Turn { state, over }) }
    }

    /// The state, when nobody has the turn.
    pub(super) fn look(&self) -> Option<OwnedMutexGuard<State>> {
        Arc::clone(&self.state).try_lock_owned().ok()
    }
}

impl State {
    pub(super) fn progress(&self) -> Progress {
        let Description { bytes, content_type, name, metadata, hash, .. } = self.description.clone();
        let whole = self.is_spread.then_some(BlobUploaded { hash, bytes, content_type, name });
        Progress { offset: self.mark.offset, bytes, expires_at: self.mark.expires_at, metadata, whole }
    }

    /// All of its bytes are here.
    pub(super) fn is_complete(&self) -> bool {
        self.mark.offset == self.description.bytes
    }
}

impl Turn {
    /// Takes the bytes of one request. What came in order is kept, whatever ends it; with a checksum, all of it or nothing.
    pub(super) async fn append<E>(
        &mut self,
        tools: &Tools,
        id: &UploadId,
        checksum: Option<Checksum>,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(), UploadError> {
        tools.folder.check_space()?;
        let begun_at = self.state.mark.offset;
        let mut writer = Writer::open(tools.folder.bytes(id), begun_at).await?;
        let mut summing = checksum.as_ref().map(|checksum| Summing::begin(checksum.algorithm));
        let is_summed = summing.is_some();
        let mut outcome = self.take(tools, id, &mut writer, summing.as_mut(), body).await;
        if let Some((summing, checksum)) = summing.zip(checksum)
            && outcome.is_ok()
            && !summing.is(&checksum.digest)
        {
            outcome = Err(UploadError::Checksum);
        }
        // A write that failed is told by the one after it: what counted since the last sync may not be there.
        if matches!(outcome, Err(UploadError::Disk(_))) {
            return outcome;
        }
        if is_summed && outcome.is_err() {
            writer.go_back(begun_at).await?;
        }
        self.keep(tools, id, &mut writer).await?;
        outcome
    }

    async fn take<E>(
        &mut self,
        tools: &Tools,
        id: &UploadId,
        writer: &mut Writer,
        mut summing: Option<&mut Summing>,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(), UploadError> {
        let (over, bytes) = (self.over.clone(), self.state.description.bytes);
        let mut body = pin!(body);
        loop {
            let next = tokio::select! {
                () = over.cancelled() => return Err(UploadError::Busy),
                next = timeout(CHUNK_WAIT_MAX, body.next()) => next.map_err(|_| UploadError::Slow)?,
            };
            let Some(piece) = next else { return Ok(()) };
            let piece = piece.map_err(|_| UploadError::Broken)?;
            if length(&piece) > bytes - writer.written {
                return Err(UploadError::TooLong { bytes });
            }
            let before = writer.written;
            writer.write(&piece).await?;
            if space::is_due(before, writer.written) {
                tools.folder.check_space()?;
            }
            if let Some(summing) = &mut summing {
                summing.add(&piece);
            } else if writer.written - self.state.mark.offset >= SYNC_EVERY_BYTES {
                self.keep(tools, id, writer).await?;
            }
        }
    }

    /// Makes what was written count.
    async fn keep(&mut self, tools: &Tools, id: &UploadId, writer: &mut Writer) -> Result<(), UploadError> {
        writer.file.flush().await?;
        writer.file.sync_data().await?;
        let mark = Mark { offset: writer.written, expires_at: tools.clock.now().plus(UPLOAD_LIFE) };
        self.put_mark(tools, id, mark).await
    }

    async fn put_mark(&mut self, tools: &Tools, id: &UploadId, mark: Mark) -> Result<(), UploadError> {
        let (folder, name) = (tools.folder.clone(), id.clone());
        blocking(move || folder.put_mark(&name, mark)).await?;
        self.state.mark = mark;
        Ok(())
    }

    /// Makes a blob of it, when it is all here and is none yet.
    pub(super) async fn finish(&mut self, tools: &Tools, session: &Session) -> Result<(), UploadError> {
        if !self.state.is_complete() || self.state.is_spread {
            return Ok(());
        }
        let path = tools.folder.bytes(&session.id);
        if self.state.description.hash.is_empty() {
            self.name(tools, &session.id, path.clone()).await?;
        }
        let hash = BlobHash::parse(&self.state.description.hash).expect("it was written from a hash");
        let (blobs, name) = (tools.blobs.clone(), hash.clone());
        // It is gone when it was moved before.
        blocking(move || if path.exists() { blobs.place(&path, &name) } else { Ok(()) }).await?;
        tools.blobs.spread(&session.account, &hash).await?;
        self.state.is_spread = true;
        Ok(())
    }

    /// Finds out which blob it is. The description names it before its file moves, so that a crash between the two is seen.
    async fn name(&mut self, tools: &Tools, id: &UploadId, path: PathBuf) -> Result<(), UploadError> {
        let (hash, _) = blocking(move || hash_file(&path)).await?;
        let expected = self.state.description.expected.clone();
        if !expected.is_empty() && expected != hash.as_str() {
            self.end(tools, id).await?;
            return Err(UploadError::WrongBlob { expected, found: hash.as_str().to_owned() });
        }
        let named = Description { hash: hash.as_str().to_owned(), ..self.state.description.clone() };
        let (folder, id, written) = (tools.folder.clone(), id.clone(), named.clone());
        blocking(move || folder.describe(&id, &written)).await?;
        self.state.description = named;
        Ok(())
    }

    /// Removes all of it.
    pub(super) async fn end(&mut self, tools: &Tools, id: &UploadId) -> Result<(), UploadError> {
        self.state.is_over = true;
        let (folder, id) = (tools.folder.clone(), id.clone());
        Ok(blocking(move || folder.remove(&id)).await?)
    }
}

/// The file of an upload, and how far it is written.
struct Writer {
    file: File,
    written: u64,
}

impl Writer {
    async fn open(path: PathBuf, at: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(path).await?;
        // What is behind the mark never counted.
        file.set_len(at).await?;
        file.seek(SeekFrom::Start(at)).await?;
        Ok(Self { file, written: at })
    }

    /// Gives up what is behind a place, with its space on the disk.
    async fn go_back(&mut self, at: u64) -> io::Result<()> {
        self.file.flush().await?;
        self.file.set_len(at).await?;
        self.written = at;
        Ok(())
    }

    async fn write(&mut self, piece: &Bytes) -> io::Result<()> {
        self.file.write_all(piece).await?;
        self.written += length(piece);
        Ok(())
    }
}

fn length(piece: &Bytes) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.expect("work on files does not panic")
}

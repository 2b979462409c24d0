//! The taking side of a snapshot's transfer. A replica that is far behind calls it before it loads what it brought.
//!
//! # Invariants
//! - **F1 checked**: a file gets its final name only after every byte of it was checked and synced.
//! - **F2 goes on**: what arrived is not fetched again after a broken connection or a restart.
//! - **F3 ends**: [`ATTEMPTS_MAX`] attempts in a row that bring nothing end it.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use steward_proto::peer::v1::peer_service_client::PeerServiceClient;
use steward_proto::peer::v1::{FetchSnapshotRequest, FetchSnapshotResponse};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::directory::{Lane, NotReachable, Peers};
use super::limits::MESSAGE_BYTES_MAX;
use super::metrics::{self, Direction};
use crate::ids::{LogIndex, NodeId, ShardId};
use crate::store::StoreError;
use crate::store::snapshot::{SnapshotError, SnapshotFile, file_name, sync_folder, verify};

/// Attempts in a row that may bring nothing.
const ATTEMPTS_MAX: u32 = 8;
/// Rests between attempts double from the first to the last.
const REST_MIN: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(2);
/// How long the next chunk may take.
const CHUNK_WAIT_MAX: Duration = Duration::from_secs(10);
/// What is written is synced each so many bytes: one large sync at the end would hold up the log's on the same disk.
const SYNC_EVERY_BYTES: u64 = 1 << 20;
/// Ends the name of a file that is being fetched.
const FETCH_SUFFIX: &str = "fetch";

/// Why a snapshot was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The map does not have the node.
    #[error(transparent)]
    NotReachable(#[from] NotReachable),
    /// It may have a newer one.
    #[error("{from} has no snapshot {index:?} of {shard}")]
    Gone { from: NodeId, shard: ShardId, index: LogIndex },
    /// The last attempt's cause.
    #[error("gave up after {ATTEMPTS_MAX} attempts in a row that brought nothing")]
    GaveUp(#[source] AttemptError),
    /// This node's disk.
    #[error("could not {doing} {path}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// The folder could not be synced.
    #[error("could not keep the snapshot")]
    Keep(#[source] StoreError),
    /// All chunks arrived, but they are no snapshot, or none this binary knows. What arrived is thrown away.
    #[error("what was fetched is not usable")]
    Unusable(#[source] SnapshotError),
    /// It is a snapshot, but not the one that was asked for.
    #[error("asked for {index:?} of {shard}, got {found:?}")]
    Another { shard: ShardId, index: LogIndex, found: Box<SnapshotFile> },
}

/// Why one attempt ended early.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The connection or the other node.
    #[error("the transfer broke")]
    Broken(#[source] Box<Status>),
    /// Nothing came.
    #[error("no chunk came in for {} s", CHUNK_WAIT_MAX.as_secs())]
    Silent,
    /// It ended before the file did.
    #[error("the transfer ended at {at} of {total}")]
    Short { at: u64, total: u64 },
    /// A bit flipped on the way.
    #[error("the chunk at {offset} does not match its checksum")]
    Checksum { offset: u64 },
    /// It belongs elsewhere in the file.
    #[error("a chunk is for {offset}, expected was {expected}")]
    Misplaced { offset: u64, expected: u64 },
}

/// What ends an attempt: a cause to try again, or one not to.
enum Stop {
    Again(AttemptError),
    Ever(FetchError),
}

impl From<FetchError> for Stop {
    fn from(error: FetchError) -> Self {
        Self::Ever(error)
    }
}

/// Brings a snapshot of another node into `folder`, which must exist. One fetch per shard at a time.
pub async fn fetch_snapshot(
    peers: &Peers,
    from: NodeId,
    shard: ShardId,
    index: LogIndex,
    folder: &Path,
) -> Result<SnapshotFile, FetchError> {
    let name = file_name(shard, index);
    let path = folder.join(&name);
    let part = folder.join(format!("{name}.{FETCH_SUFFIX}"));
    forget_others(folder, shard, &part).await?;
    let mut fetch = Fetch { from, shard, index, written: 0, synced: 0, file: open(&part).await?, part: part.clone() };
    fetch.written = fetch.file.seek(SeekFrom::End(0)).await.map_err(fetch.fault("measure"))?;
    fetch.synced = fetch.written;
    let (mut failures, mut rest) = (0, REST_MIN);
    loop {
        let before = fetch.written;
        let cause = match fetch.attempt(peers).await {
            Ok(()) => break,
            Err(Stop::Ever(error)) => return Err(error),
            Err(Stop::Again(cause)) => cause,
        };
        if fetch.written > before {
            (failures, rest) = (0, REST_MIN);
        } else {
            failures += 1;
        }
        tell(from, shard, fetch.written, &cause);
        if failures == ATTEMPTS_MAX {
            return Err(FetchError::GaveUp(cause));
        }
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(REST_MAX);
    }
    fetch.file.sync_all().await.map_err(fetch.fault("sync"))?;
    keep(part, path, shard, index).await
}

fn tell(from: NodeId, shard: ShardId, at: u64, cause: &AttemptError) {
    let reason: &dyn std::error::Error = cause;
    tracing::warn!(peer = from.0, shard = shard.0, at, error = reason, "a snapshot's transfer broke");
}

async fn open(part: &Path) -> Result<File, FetchError> {
    let opened = OpenOptions::new().create(true).append(true).open(part).await;
    opened.map_err(|source| FetchError::Io { doing: "open", path: part.to_owned(), source })
}

/// Removes what earlier fetches of the shard left behind: nobody goes on with an older snapshot.
async fn forget_others(folder: &Path, shard: ShardId, part: &Path) -> Result<(), FetchError> {
    let fault = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| FetchError::Io { doing, path, source }
    };
    let mut entries = fs::read_dir(folder).await.map_err(fault("list", folder))?;
    while let Some(entry) = entries.next_entry().await.map_err(fault("list", folder))? {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let of_shard = name.starts_with(&format!("{:05}-", shard.0)) && name.ends_with(&format!(".{FETCH_SUFFIX}"));
        if of_shard && path != part {
            fs::remove_file(&path).await.map_err(fault("remove", &path))?;
        }
    }
    Ok(())
}

/// Checks the whole file and gives it its name.
async fn keep(part: PathBuf, path: PathBuf, shard: ShardId, index: LogIndex) -> Result<SnapshotFile, FetchError> {
    let kept = tokio::task::spawn_blocking(move || {
        let fault = |doing| {
            let path = part.clone();
            move |source| FetchError::Io { doing, path, source }
        };
        let checked = match verify(&part) {
            Ok(found) if found.shard == shard && found.index == index => Ok(found),
            Ok(found) => Err(FetchError::Another { shard, index, found: Box::new(found) }),
            Err(error) => Err(FetchError::Unusable(error)),
        };
        let found = match checked {
            Ok(found) => found,
            Err(error) => {
                std::fs::remove_file(&part).map_err(fault("remove"))?;
                return Err(error);
            }
        };
        std::fs::rename(&part, &path).map_err(fault("rename"))?;
        let folder = path.parent().expect("it was joined to its folder");
        sync_folder(folder).map_err(FetchError::Keep)?;
        Ok(SnapshotFile { path, ..found })
    });
    kept.await.expect("checking does not panic, and nobody aborts it")
}

/// A file being fetched.
struct Fetch {
    from: NodeId,
    shard: ShardId,
    index: LogIndex,
    part: PathBuf,
    file: File,
    written: u64,
    synced: u64,
}

impl Fetch {
    /// Takes chunks until the file is complete.
    async fn attempt(&mut self, peers: &Peers) -> Result<(), Stop> {
        let channel = peers.channel(self.from, Lane::Bulk).map_err(FetchError::from)?;
        let mut client = PeerServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = FetchSnapshotRequest { shard: self.shard.0.into(), index: self.index.0, offset: self.written };
        let asked = timeout(CHUNK_WAIT_MAX, client.fetch_snapshot(request)).await.map_err(|_| silent())?;
        let mut chunks = match asked {
            Ok(answer) => answer.into_inner(),
            // There is more here than the snapshot has; the check of the whole will throw it away.
            Err(status) if status.code() == Code::OutOfRange => return Ok(()),
            Err(status) => return Err(self.stop(status)),
        };
        let mut total = None;
        loop {
            let chunk = timeout(CHUNK_WAIT_MAX, chunks.message()).await.map_err(|_| silent())?;
            match (chunk.map_err(|status| self.stop(status))?, total) {
                (Some(chunk), _) => {
                    total = Some(chunk.total);
                    self.write(chunk).await?;
                }
                // Without a chunk everything was here before.
                (None, None) => break,
                (None, Some(total)) if self.written < total => {
                    return Err(Stop::Again(AttemptError::Short { at: self.written, total }));
                }
                (None, Some(_)) => break,
            }
        }
        Ok(())
    }

    async fn write(&mut self, chunk: FetchSnapshotResponse) -> Result<(), Stop> {
        let FetchSnapshotResponse { offset, checksum, data, .. } = chunk;
        if offset != self.written {
            return Err(Stop::Again(AttemptError::Misplaced { offset, expected: self.written }));
        }
        if crc32c::crc32c(&data) != checksum {
            return Err(Stop::Again(AttemptError::Checksum { offset }));
        }
        self.file.write_all(&data).await.map_err(self.fault("write"))?;
        self.file.flush().await.map_err(self.fault("write"))?;
        self.written += u64::try_from(data.len()).expect("a chunk's length fits 64 bits");
        if self.written - self.synced >= SYNC_EVERY_BYTES {
            self.file.sync_data().await.map_err(self.fault("sync"))?;
            self.synced = self.written;
        }
        metrics::snapshot_bytes(Direction::Received, data.len());
        Ok(())
    }

    fn stop(&self, status: Status) -> Stop {
        if status.code() == Code::NotFound {
            let Self { from, shard, index, .. } = *self;
            return Stop::Ever(FetchError::Gone { from, shard, index });
        }
        Stop::Again(AttemptError::Broken(Box::new(status)))
    }

    fn fault(&self, doing: &'static str) -> impl FnOnce(io::Error) -> FetchError + use<> {
        let path = self.part.clone();
        move |source| FetchError::Io { doing, path, source }
    }
}

fn silent() -> Stop {
    Stop::Again(AttemptError::Silent)
}

//! The giving side of a snapshot's transfer: a file in checked chunks. The internal port serves it.
//!
//! # Decisions
//! - All transfers of a node together are slowed to [`BYTES_PER_SECOND`], so that nodes that are brought up take neither
//!   network, disk nor processor from customers. A limit for each transfer was refused: a node that joins has many.

use std::io::SeekFrom;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use steward_proto::peer::v1::{FetchSnapshotRequest, FetchSnapshotResponse};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::Status;

use super::metrics::{self, Direction};
use crate::store::snapshot::list;

/// What travels, and is checked, at once.
pub(super) const CHUNK_BYTES: u32 = 256 * 1024;
/// How fast a node gives snapshots away.
const BYTES_PER_SECOND: u32 = 32 << 20;

/// What all transfers of a node wait for, each chunk in its turn.
pub(super) struct Pace(Mutex<Interval>);

impl Pace {
    pub(super) fn new() -> Self {
        let mut chunks = interval(Duration::from_secs(1) * CHUNK_BYTES / BYTES_PER_SECOND);
        chunks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(Mutex::new(chunks))
    }

    async fn wait(&self) {
        self.0.lock().await.tick().await;
    }
}

/// The chunks of a snapshot from an offset to its end.
pub(super) async fn chunks(
    folder: &Path,
    request: FetchSnapshotRequest,
    pace: Arc<Pace>,
) -> Result<impl Stream<Item = Result<FetchSnapshotResponse, Status>> + Send + use<>, Status> {
    let FetchSnapshotRequest { shard, index, offset } = request;
    let listed = list(folder).map_err(|error| failed(&error))?;
    let found = listed.into_iter().find(|found| u32::from(found.shard.0) == shard && found.index.0 == index);
    let path = found.ok_or_else(|| Status::not_found(format!("there is no snapshot {index} of shard {shard}")))?.path;
    let mut file = File::open(&path).await.map_err(|error| failed(&error))?;
    let total = file.metadata().await.map_err(|error| failed(&error))?.len();
    if offset > total {
        return Err(Status::out_of_range(format!("the snapshot ends at {total}, before {offset}")));
    }
    file.seek(SeekFrom::Start(offset)).await.map_err(|error| failed(&error))?;
    let sending = Sending { file, offset, total, pace };
    Ok(stream::unfold(sending, |mut sending| async move {
        match sending.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), sending)),
            Ok(None) => None,
            Err(error) => {
                // The stream ends after an error: there is nothing behind what could not be read.
                sending.offset = sending.total;
                Some((Err(failed(&error)), sending))
            }
        }
    }))
}

struct Sending {
    file: File,
    offset: u64,
    total: u64,
    pace: Arc<Pace>,
}

impl Sending {
    async fn next(&mut self) -> std::io::Result<Option<FetchSnapshotResponse>> {
        let bytes = (self.total - self.offset).min(CHUNK_BYTES.into());
        if bytes == 0 {
            return Ok(None);
        }
        self.pace.wait().await;
        let data = read(&mut self.file, bytes).await?;
        metrics::snapshot_bytes(Direction::Sent, data.len());
        let (offset, total, checksum) = (self.offset, self.total, crc32c::crc32c(&data));
        self.offset += bytes;
        Ok(Some(FetchSnapshotResponse { offset, total, checksum, data }))
    }
}

async fn read(file: &mut File, bytes: u64) -> std::io::Result<Bytes> {
    let len = usize::try_from(bytes).expect("a chunk fits memory");
    let mut data = BytesMut::zeroed(len);
    file.read_exact(&mut data).await?;
    Ok(data.freeze())
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::warn!(error, "a snapshot could not be sent");
    Status::internal(error.to_string())
}

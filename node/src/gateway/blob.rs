//! Opens blobs for callers that own them. Both protocols stream what this opens.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use steward_actors::blob::{BlobHash, CopyError};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Gateway;
use super::auth::AccountReader;
use super::error::{Code, Refused};

/// Bytes read and sent at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// A blob's file and its length.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) bytes: u64,
}

/// Opens a blob that one of the account's jobs made, or that its client brought. Another account's is answered like none.
pub(super) async fn open(gateway: &Gateway, reader: &AccountReader, hash: &str) -> Result<Opened, Refused> {
    let parsed = BlobHash::parse(hash).ok_or_else(|| Refused::field("hash", "must be 64 lower-case hex digits"))?;
    let absent = || Refused::absent("blob", hash);
    if !gateway.router.reads().owns_blob(reader.account(), &parsed)? {
        return Err(absent());
    }
    // The file stays open when the cache lets it go.
    let brought = gateway.blobs.bring(reader.account(), &parsed).await;
    if let Err(error) = &brought {
        let cause: &dyn std::error::Error = error;
        tracing::warn!(hash, error = cause, "a blob cannot be brought");
        if error.is_of_store() {
            return Err(Refused::new(Code::BlobStore, "the object store did not answer as it should; ask again"));
        }
        if matches!(error, CopyError::Damaged(_)) {
            return Err(Refused::new(Code::BlobDamaged, "the stored bytes are not those of the blob"));
        }
    }
    match File::open(gateway.blobs.path(&parsed)).await {
        Ok(file) => {
            let bytes = file.metadata().await.map_err(|error| unreadable(&error))?.len();
            Ok(Opened { file, bytes })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::error!(hash, "a blob that an event names is not in the folder");
            Err(absent())
        }
        Err(error) => Err(unreadable(&error)),
    }
}

/// The rest of a file, piece by piece.
pub(crate) fn chunks<R: AsyncRead + Unpin>(file: R) -> impl Stream<Item = io::Result<Bytes>> {
    futures_util::stream::try_unfold(file, |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let mut limited = (&mut file).take(u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX));
        let read = limited.read_to_end(&mut chunk).await?;
        Ok((read > 0).then(|| (Bytes::from(chunk), file)))
    })
}

/// A blob that the disk does not give.
pub(super) fn unreadable(error: &io::Error) -> Refused {
    let cause: &dyn std::error::Error = error;
    tracing::error!(error = cause, "a blob cannot be read");
    Refused::new(Code::Internal, "the blob cannot be read; the node's log says more")
}

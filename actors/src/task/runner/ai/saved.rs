//! Results too large for an event, written as blobs by `index` and `embed`.

use crate::blob::{Blob, BlobStore};
use crate::task::runner::ai::error::{failed, storage};
use crate::task::runner::{TaskError, TaskRun};

/// Writes the bytes to the job's folder and moves them into the blob store.
pub(crate) async fn save(run: &TaskRun, blobs: &BlobStore, name: &str, bytes: Vec<u8>) -> Result<Blob, TaskError> {
    let (folder, blobs) = (run.scratch.clone(), blobs.clone());
    let file = folder.join(format!("{name}-{}", run.attempt));
    let saved = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(&file, bytes)?;
        blobs.keep(&file)
    });
    let saved = saved.await.map_err(|_| failed("writing a blob panicked"))?;
    saved.map_err(|error| storage("writing a blob", &error))
}

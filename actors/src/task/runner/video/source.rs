//! Which file a task works on, and where it may leave files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::failure;
use crate::blob::{Blob, BlobHash, BlobStore};
use crate::domain::task::TaskKind;
use crate::task::runner::{TaskError, TaskRun};

/// A recording in the blob store.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub hash: BlobHash,
    pub path: PathBuf,
}

/// The job's recording: what was fetched, else the blob the client named.
pub(super) fn source(run: &TaskRun, blobs: &BlobStore) -> Result<Source, TaskError> {
    let named = run.results.get(&TaskKind::Fetch.whole()).unwrap_or(&run.input);
    located(named, blobs)
}

/// What the job's `normalize` made.
pub(super) fn normalized(run: &TaskRun, blobs: &BlobStore) -> Result<Source, TaskError> {
    let named = run.results.get(&TaskKind::Normalize.whole());
    located(named.ok_or_else(|| failure::input_invalid("the job has no normalised recording"))?, blobs)
}

fn located(named: &Value, blobs: &BlobStore) -> Result<Source, TaskError> {
    let text = named.get("blob").and_then(Value::as_str);
    let text = text.ok_or_else(|| failure::input_invalid("the job names neither a url nor a blob"))?;
    let hash =
        BlobHash::parse(text).ok_or_else(|| failure::input_invalid("`blob` must be 64 lower-case hex digits"))?;
    let path = blobs.path(&hash);
    fs::metadata(&path).map_err(|error| failure::absent(&error))?;
    // The child is confined by this path, so no link may stand in it.
    let path = path.canonicalize().map_err(|error| failure::absent(&error))?;
    Ok(Source { hash, path })
}

/// A folder of this task in the job's scratch.
pub(super) fn work_folder(run: &TaskRun) -> Result<PathBuf, TaskError> {
    let folder = run.scratch.join(run.task.to_string());
    fs::create_dir_all(&folder).and_then(|()| folder.canonicalize()).map_err(|error| failure::storage(&error))
}

/// Moves a finished file into the blob store, off the runtime's threads: it is hashed and synced.
pub(super) async fn keep(blobs: &BlobStore, file: &Path) -> Result<Blob, TaskError> {
    let (blobs, file) = (blobs.clone(), file.to_owned());
    let kept = tokio::task::spawn_blocking(move || blobs.keep(&file)).await.expect("keeping a file does not panic");
    kept.map_err(|error| failure::storage(&error))
}

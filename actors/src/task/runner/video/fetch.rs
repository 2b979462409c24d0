//! Brings the recording into the blob store.
//!
//! Input: `{"url": "https://…", "headers"?: {"name": "value"}}` or `{"blob": "<hash>"}` for one that is there already.
//! Result: `{"blob", "bytes", "content_type"}` (`content_type` is null for a blob, or when the server named none).

use std::fs;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{failure, source};
use crate::blob::BlobStore;
use crate::domain::task::TaskKind;
use crate::egress::{Egress, EgressError};
use crate::task::runner::{Reporter, Retry, Runner, TaskError, TaskRun};

/// Headers a client may send along: enough for a token and a few options.
const HEADERS_MAX: usize = 16;

pub(super) struct FetchRunner {
    pub egress: Arc<Egress>,
    pub blobs: BlobStore,
    pub bytes_max: u64,
}

impl Runner for FetchRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Fetch]
    }

    fn takes(&self) -> &'static [TaskKind] {
        self.kinds()
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.fetch(run, reporter))
    }
}

impl FetchRunner {
    async fn fetch(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let Some(url) = run.input.get("url").and_then(Value::as_str) else {
            let source = source::source(run, &self.blobs)?;
            let bytes = fs::metadata(&source.path).map_err(|error| failure::absent(&error))?.len();
            return Ok(json!({ "blob": source.hash.as_str(), "bytes": bytes, "content_type": null }));
        };
        let headers = headers(run.input.get("headers"))?;
        let file = source::work_folder(run)?.join("download");
        reporter.progress(0.0, "downloading");
        let gets_on = || reporter.gets_on();
        let downloaded = tokio::select! {
            downloaded = self.egress.get_to_file(url, &file, self.bytes_max, &headers, &gets_on) => downloaded,
            () = reporter.cancelled() => return Err(failure::cancelled()),
        };
        let downloaded = downloaded.map_err(|error| refused(&error))?;
        let blob = source::keep(&self.blobs, &file).await?;
        Ok(json!({ "blob": blob.hash.as_str(), "bytes": blob.bytes, "content_type": downloaded.content_type }))
    }
}

fn headers(given: Option<&Value>) -> Result<HeaderMap, TaskError> {
    let mut headers = HeaderMap::new();
    let Some(given) = given else { return Ok(headers) };
    let given = given.as_object().filter(|given| given.len() <= HEADERS_MAX);
    let given = given.ok_or_else(|| failure::input_invalid("`headers` must be an object of at most 16 texts"))?;
    for (name, value) in given {
        let pair = HeaderName::try_from(name).ok().zip(value.as_str().and_then(|v| HeaderValue::from_str(v).ok()));
        let (name, value) = pair.ok_or_else(|| failure::input_invalid(format!("header {name:?} is malformed")))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn refused(error: &EgressError) -> TaskError {
    let retry = match error.retry_after() {
        _ if !error.is_retryable() => Retry::Never,
        Some(wait) => Retry::After(wait),
        None => Retry::BackOff,
    };
    // Its own text would hold a path of this node.
    let message = match error {
        EgressError::File { .. } => "the download could not be written".to_owned(),
        EgressError::Refused { .. }
        | EgressError::Connect { .. }
        | EgressError::Proxy { .. }
        | EgressError::Timeout { .. }
        | EgressError::TooLarge { .. }
        | EgressError::Status { .. }
        | EgressError::BrokenOff { .. } => error.to_string(),
    };
    TaskError { code: error.code(), message, retry }
}

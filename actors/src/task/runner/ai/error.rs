//! The errors AI runners share. Each has one code; texts name what is wrong, never a path, a key or a client's text.

use serde_json::{Value, json};

use crate::domain::task::TaskKind;
use crate::task::runner::{Retry, TaskError, TaskRun};

/// A model that cannot be used here: its weights are absent, or nobody configured its provider.
pub(crate) const MODEL_UNAVAILABLE: &str = "model_unavailable";

/// A recording without speech or a node without a speech model.
const NO_TRANSCRIPT: &str = "no_transcript";

/// The model cannot be used until somebody changes the installation.
pub(crate) fn unavailable(reason: impl Into<String>) -> TaskError {
    TaskError { code: MODEL_UNAVAILABLE, message: reason.into(), retry: Retry::Never }
}

/// The job has no transcript to work on. The job itself goes on: see [`gives_way`].
pub(crate) fn no_transcript(reason: &str) -> TaskError {
    let message = format!("there is no transcript: {reason}");
    TaskError { code: NO_TRANSCRIPT, message, retry: Retry::Never }
}

/// Inside a job that makes a transcript, a step that lacks its model or its text is left out and does not fail the job.
pub(crate) fn gives_way(run: &TaskRun, error: TaskError) -> Result<Value, TaskError> {
    let lacks = matches!(error.code, MODEL_UNAVAILABLE | NO_TRANSCRIPT);
    if lacks && run.results.contains_key(&TaskKind::Transcript.whole()) {
        return Ok(json!({ "status": "unavailable", "reason": error.message }));
    }
    Err(error)
}

/// The task's input is wrong, and stays wrong.
pub(crate) fn invalid(message: impl Into<String>) -> TaskError {
    TaskError { code: "invalid_input", message: message.into(), retry: Retry::Never }
}

/// The model failed in a way another attempt may not.
pub(crate) fn failed(message: impl Into<String>) -> TaskError {
    TaskError { code: "model_failed", message: message.into(), retry: Retry::BackOff }
}

/// The folder of blobs or of the job could not be read or written.
pub(crate) fn storage(what: &str, error: &std::io::Error) -> TaskError {
    TaskError { code: "storage_failed", message: format!("{what}: {}", error.kind()), retry: Retry::BackOff }
}

/// The task was cancelled while it ran.
pub(crate) fn cancelled() -> TaskError {
    TaskError { code: "cancelled", message: "the task was cancelled".to_owned(), retry: Retry::Cancelled }
}

//! Why work on a recording fails, as clients see it: stable codes, no paths. Used by all runners of this module.

use std::io;

use crate::sandbox::{ChildError, Exit, Finished};
use crate::task::runner::{Retry, TaskError};

/// The longest finding of a tool that is passed on.
const FINDING_CHARS_MAX: usize = 200;
/// CPU time and file size limits end a child with these signals.
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
const SIGKILL: i32 = 9;
/// What ffmpeg answers when a signal made it leave early.
const LEFT_EARLY: i32 = 255;

fn failure(code: &'static str, message: impl Into<String>, retry: Retry) -> TaskError {
    TaskError { code, message: message.into(), retry }
}

pub(super) fn unreadable(finding: &str) -> TaskError {
    failure("media_unreadable", format!("the file is no recording we can read: {finding}"), Retry::Never)
}

pub(super) fn unsupported(message: impl Into<String>) -> TaskError {
    failure("media_unsupported", message, Retry::Never)
}

pub(super) fn too_long(message: impl Into<String>) -> TaskError {
    failure("media_too_long", message, Retry::Never)
}

pub(super) fn input_invalid(message: impl Into<String>) -> TaskError {
    failure("input_invalid", message, Retry::Never)
}

pub(super) fn cancelled() -> TaskError {
    failure("cancelled", "the task was cancelled", Retry::Cancelled)
}

pub(super) fn mismatch(message: impl Into<String>) -> TaskError {
    failure("media_mismatch", message, Retry::BackOff)
}

pub(super) fn speech(message: impl Into<String>) -> TaskError {
    failure("speech_failed", message, Retry::BackOff)
}

/// Our own disk. The path stays in the log.
pub(super) fn storage(source: &io::Error) -> TaskError {
    failure(
        "storage_failed",
        format!("a file of the task could not be read or written: {}", source.kind()),
        Retry::BackOff,
    )
}

/// A source blob that is not here.
pub(super) fn absent(source: &io::Error) -> TaskError {
    match source.kind() == io::ErrorKind::NotFound {
        true => failure("blob_absent", "the source is not in the blob store of this node", Retry::BackOff),
        false => storage(source),
    }
}

/// A child that did not end by itself.
pub(super) fn ended(error: &ChildError) -> TaskError {
    match error {
        ChildError::Cancelled => cancelled(),
        ChildError::Start(_) | ChildError::Read(_) => {
            failure("media_tool_failed", "the media tool could not be started", Retry::BackOff)
        }
        ChildError::Refused(_) => {
            failure("sandbox_unavailable", "this node cannot confine the media tool", Retry::BackOff)
        }
        ChildError::Stalled { .. } => failure("media_stalled", "the media tool made no progress", Retry::BackOff),
        ChildError::TooLong { .. } => failure("media_too_slow", "the media tool took too long", Retry::BackOff),
        ChildError::TooMuch { .. } => failure("media_too_large", "the output outgrew its limit", Retry::Never),
    }
}

/// A child that ended by itself, but not well.
pub(super) fn exited(finished: &Finished) -> TaskError {
    let said = |text| finished.stderr_tail.contains(text);
    match finished.exit {
        Exit::Signal(SIGXFSZ) => failure("media_too_large", "the output outgrew its limit", Retry::Never),
        Exit::Signal(SIGXCPU | SIGKILL) | Exit::Code(LEFT_EARLY) => {
            failure("media_too_slow", "the media tool used up its time", Retry::BackOff)
        }
        Exit::Signal(_) => failure("media_tool_crashed", "the media tool crashed on this file", Retry::BackOff),
        Exit::Code(_) if said("No space left on device") => {
            failure("storage_failed", "the disk of this node is full", Retry::BackOff)
        }
        Exit::Code(_) if said("Cannot allocate memory") => {
            failure("media_too_large", "the recording needs more memory than it may use", Retry::Never)
        }
        Exit::Code(_) => unreadable(&finding(&finished.stderr_tail)),
    }
}

/// The tool's last sentence, without the paths in it.
fn finding(stderr: &str) -> String {
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason was given");
    let hidden = |word: &str| word.starts_with('/') || word.starts_with("file:");
    let words = last.split_whitespace().filter(|word| !hidden(word)).collect::<Vec<_>>();
    words.join(" ").chars().take(FINDING_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_hold_no_path() {
        let stderr =
            "[mov @ 0x1] moov atom not found\nfile:/data/blobs/ab/abc: Invalid data found when processing input\n";
        assert_eq!(finding(stderr), "Invalid data found when processing input");
        assert_eq!(finding(" \n"), "no reason was given");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let exit = |exit, stderr: &str| exited(&Finished { exit, stderr_tail: stderr.to_owned() });
        let check = |error: TaskError, code, retry| assert_eq!((error.code, error.retry), (code, retry));
        check(exit(Exit::Code(1), "Invalid data"), "media_unreadable", Retry::Never);
        check(exit(Exit::Code(1), "x: No space left on device"), "storage_failed", Retry::BackOff);
        check(exit(Exit::Signal(25), ""), "media_too_large", Retry::Never);
        check(exit(Exit::Signal(11), ""), "media_tool_crashed", Retry::BackOff);
        check(ended(&ChildError::TooMuch { bytes_max: 1 }), "media_too_large", Retry::Never);
        check(ended(&ChildError::Cancelled), "cancelled", Retry::Cancelled);
    }
}

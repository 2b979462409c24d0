//! An error with everything behind it, as text. For whoever cannot follow `source`: the log, and the other end of a link.

use std::error::Error;

/// An error and its causes in one line.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

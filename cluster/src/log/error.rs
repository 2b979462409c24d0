//! Why the log refused or failed. The driver and the node's start decide on the variant; operators read the text.

use std::io;

/// What went wrong in the log, and where.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Bytes on the disk are not what was written. The node must not start on them.
    #[error("log file {file} is damaged at byte {offset}: {why}")]
    Damaged { file: String, offset: u64, why: String },
    /// A newer release wrote this file; this one can not know what it means.
    #[error("log file {file} has format {found}, this release reads up to {known}: start the newer release")]
    NewerFormat { file: String, found: u32, known: u32 },
    /// Refused before anything was written. The log stays usable.
    #[error("disk has {free} bytes free, the log keeps {floor}")]
    DiskFull { free: u64, floor: u64 },
    /// Refused before anything was written: no group may be larger.
    #[error("batch of {bytes} bytes is over the limit of {max}")]
    TooLarge { bytes: usize, max: usize },
    /// An earlier write or sync failed, so what the disk holds is unknown.
    #[error("log takes no more writes after a failed one")]
    Poisoned,
    #[error("cannot {step} log file {file}")]
    Io { step: &'static str, file: String, source: io::Error },
}

impl LogError {
    pub(crate) fn damaged(file: &str, offset: u64, why: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), offset, why: why.into() }
    }

    /// For `map_err`: keeps the step and the file beside the cause.
    pub(crate) fn io(step: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io { step, file, source }
    }
}

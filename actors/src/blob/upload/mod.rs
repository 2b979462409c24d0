//! Files on their way from clients: kept beside the blobs until they are whole, on the node that began to take them.
//!
//! The gateway calls [`Uploads`]; the event that makes a blob the account's is the gateway's to ask for, by what
//! [`Progress::whole`] says.
//!
//! # Invariants
//! - **U1 durable**: an offset that was told is on disk, bytes and number; a restart goes on from there.
//! - **U2 content**: what is whole was hashed from the disk, and is the blob it was said to be, or nothing of it is left.
//! - **U3 copied first**: [`Progress::whole`] is told after a majority of the account's replicas has the blob.
//! - **U4 one writer**: whoever sends or asks ends a request that still sends, so a dead connection holds nothing up.
//! - **U5 bounded**: uploads, their bytes, their time and the wait for the next bytes have limits.
//! - **U6 absence**: who may ask is not known here; an upload of another account is answered like none.

mod checksum;
mod folder;
mod session;
mod uploads;

#[cfg(test)]
mod tests;

pub use checksum::{Algorithm, CHECKSUM_ALGORITHMS, Checksum};
pub use uploads::{Uploads, sweep_uploads};

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::NodeId;
use uuid::Uuid;

use super::{BlobHash, CopyError};
use crate::domain::account::{BlobUploaded, Rejection};

/// The largest file that a client may bring: the largest recording.
pub const UPLOAD_BYTES_MAX: u64 = 8 << 30;
/// Uploads of one account that a node takes at a time, and the bytes they say they have.
const UPLOADS_OPEN_MAX: usize = 16;
const UPLOADS_OPEN_BYTES_MAX: u64 = 32 << 30;
/// Uploads that a node takes at a time.
const UPLOADS_OF_NODE_MAX: usize = 1_024;
/// Whole uploads of one account that are remembered, so that a last request is answered again. The oldest go first.
const WHOLE_KEPT_MAX: usize = 64;
/// How long an upload waits for its next bytes.
const UPLOAD_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a request may be silent.
const CHUNK_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a request waits for the one before it to let go.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// Bytes that may be written and not yet be on disk.
const SYNC_EVERY_BYTES: u64 = 16 << 20;
/// How often uploads are looked through for those whose time is over.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Bytes of what a client says of a file.
pub const METADATA_BYTES_MAX: usize = 2_048;

/// The name of an upload: the node that has it, and a number nobody guesses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId {
    node: NodeId,
    number: Uuid,
}

impl UploadId {
    fn new(node: NodeId) -> Self {
        Self { node, number: Uuid::now_v7() }
    }

    /// Reads the name as it stands in a path.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (node, number) = text.split_once('-')?;
        let id = Self { node: NodeId(node.parse().ok()?), number: Uuid::try_parse(number).ok()? };
        (id.to_string() == text).then_some(id)
    }

    /// The node that has the file.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.node.0, self.number.simple())
    }
}

/// What a client says of a file before it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewUpload {
    pub bytes: u64,
    /// Other bytes are refused.
    pub hash: Option<BlobHash>,
    pub content_type: String,
    pub name: String,
    /// All of it as it came, to be told again.
    pub metadata: String,
}

/// How far an upload has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes on disk.
    pub offset: u64,
    /// Of how many.
    pub bytes: u64,
    pub expires_at: Timestamp,
    pub metadata: String,
    /// The blob, once it is on its replicas.
    pub whole: Option<BlobUploaded>,
}

/// Why an upload does not go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("the node takes {max} uploads at a time, and has them")]
    NodeFull { max: usize },
    #[error("the upload has {offset} bytes, so it goes on from there and not from {asked}")]
    Offset { offset: u64, asked: u64 },
    #[error("another request is at this upload")]
    Busy,
    #[error("the upload was said to have {bytes} bytes, and more came")]
    TooLong { bytes: u64 },
    #[error("the bytes of the request are not those of its checksum")]
    Checksum,
    #[error("the bytes are blob {found}, not {expected} as was said; nothing of them is kept")]
    WrongBlob { expected: String, found: String },
    #[error("the request ended early; what came of it is kept")]
    Broken,
    #[error("nothing came for {} s; what came before is kept", CHUNK_WAIT_MAX.as_secs())]
    Slow,
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("could not read or write an upload")]
    Disk(#[from] io::Error),
}

impl UploadError {
    fn absent(id: &UploadId) -> Self {
        Self::Rejected(Rejection::NotFound { what: "upload", id: id.to_string() })
    }

    fn limit(what: &'static str, max: usize) -> Self {
        Self::Rejected(Rejection::Limit { what, max })
    }

    fn invalid(field: &'static str, rule: impl Into<String>) -> Self {
        Self::Rejected(Rejection::Invalid { field, rule: rule.into() })
    }
}

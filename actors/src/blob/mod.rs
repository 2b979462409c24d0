//! Bytes too large for an event: content-addressed files in one local folder, copied between the nodes of a cluster.
//!
//! Runners write blobs; events name them by hash; clients read them through the gateway.
//!
//! # Invariants
//! - **B1 durable first**: [`BlobStore::keep`] and [`Incoming::finish`] return after the file and its folder entry are on
//!   disk, so an event never names a blob that a power cut could take.
//! - **B2 content**: a blob's name is the BLAKE3 hash of its bytes, checked when they come from another node; equal bytes
//!   are stored once.
//! - **B3 copied first**: in a cluster a result is reported after a majority of the account's replicas has the blobs it
//!   names, so that whoever leads next finds them; where there is an object store, after the store has them.
//! - **B4 found**: a blob that is missing here is brought from another node when it is needed, and soon after this node
//!   took in a replica; not while the disk here is nearly full.
//! - **B5 handed over**: replicas give their copies up when those who stay have them: [`Missing`] tells the leader.

mod backfill;
mod bucket;
mod incoming;
mod missing;
mod shelf;
mod space;
mod store;
mod upload;

pub use backfill::{Backfill, backfill};
pub use bucket::{Bucket, BucketConfig, BucketError, BucketPlace, fill_store};
pub use incoming::Incoming;
pub use missing::Missing;
pub use shelf::Hold;
pub use store::{Blob, BlobHash, BlobStore};
pub use upload::{
    Algorithm, CHECKSUM_ALGORITHMS, Checksum, METADATA_BYTES_MAX, NewUpload, Progress, UPLOAD_BYTES_MAX, UploadError,
    UploadId, Uploads, sweep_uploads,
};

use std::io;

use futures_util::future::BoxFuture;

use crate::domain::ids::AccountId;

/// Why a blob was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("no other node gave blob {0}")]
    Absent(String),
    #[error("only {copies} of {voters} replicas have blob {hash}")]
    TooFew { hash: String, copies: usize, voters: usize },
    #[error("who holds the account is not known here")]
    Replicas,
    #[error("the bytes of blob {0} are not those of its name")]
    Damaged(String),
    #[error("the object store could not {what} a blob")]
    Store { what: &'static str, source: Box<object_store::Error> },
    #[error("the object store took too long to {what} a blob")]
    StoreSlow { what: &'static str },
    #[error("could not read or write a blob")]
    Disk(#[from] io::Error),
}

impl CopyError {
    /// Whether the object store did not do what was asked, this time.
    #[must_use]
    pub fn is_of_store(&self) -> bool {
        matches!(self, Self::Store { .. } | Self::StoreSlow { .. })
    }
}

/// Where blobs are beside this node's folder: the folders of other nodes, or an object store.
pub trait Copies: Send + Sync + 'static {
    /// Brings a blob into this node's folder from whoever has it.
    fn fetch<'a>(&'a self, account: &'a AccountId, hash: &'a BlobHash) -> BoxFuture<'a, Result<(), CopyError>>;

    /// Makes a blob of this node's folder outlive the node: on a majority of the account's replicas, or in the store.
    fn spread<'a>(&'a self, account: &'a AccountId, hash: &'a BlobHash) -> BoxFuture<'a, Result<(), CopyError>>;
}

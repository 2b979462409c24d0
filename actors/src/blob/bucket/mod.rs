//! Blobs in an object store that speaks S3: durable there before an event names them, and brought from there by any node.
//! The local folder is a cache then. The composition root makes a [`Bucket`] when the settings name a store.
//!
//! # Invariants
//! - **O1 durable first**: [`Copies::spread`] returns after the store has said that it has the whole blob.
//! - **O2 content**: what goes to the store and what comes from it is hashed on the way; other bytes are refused.
//! - **O3 whole**: a large blob goes in parts, and is there when the last step of the store has made it one, or not at all.
//! - **O4 bounded**: every request has a deadline and a bounded number of tries; what fails then says so.
//! - **O5 of one account**: each account has its own object of a blob, so that what one gives up another still has.

mod filler;
mod place;
mod wire;

pub use filler::fill_store;
pub use place::{BucketConfig, BucketPlace};

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as ObjectPath;
use object_store::{BackoffConfig, Error as StoreError, ObjectStoreExt as _, PutPayload, RetryConfig, WriteMultipart};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::{BlobHash, BlobStore, Copies, CopyError};
use crate::domain::ids::AccountId;
use crate::metrics;

/// Bytes of a blob that go in one request. A store takes 10,000 parts, so this is enough for the largest blob.
const PART_BYTES: usize = 8 << 20;
/// Parts of one blob on their way at the same time.
const PARTS_AT_ONCE: usize = 2;
/// How often one request is tried again, how long the waits are, and how long all of it may take.
const TRIES_AGAIN_MAX: usize = 3;
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(20);
/// How long a whole blob may take, one way.
const BLOB_MAX: Duration = Duration::from_secs(15 * 60);
/// The object that says whose the place is.
const OWNER: &str = "steward-cluster";
const OWNER_BYTES_MAX: u64 = 256;
/// The store, and this node's folder before it.
pub struct Bucket {
    store: AmazonS3,
    prefix: ObjectPath,
    blobs: BlobStore,
    /// The folders of other nodes: they may have what was made before there was a store.
    others: Option<Arc<dyn Copies>>,
}

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    #[error("the object store cannot be spoken to as set")]
    Settings(#[source] StoreError),
    #[error("the object store does not let this node in: check the bucket, the region and the credentials")]
    Refused(#[source] StoreError),
    #[error("the place in the object store belongs to another cluster")]
    Foreign,
}

impl Bucket {
    /// Nothing is asked of the store yet.
    pub fn new(config: &BucketConfig<'_>, blobs: BlobStore) -> Result<Self, BucketError> {
        let backoff = BackoffConfig { init_backoff: BACK_OFF_MIN, max_backoff: BACK_OFF_MAX, base: 2.0 };
        let retry = RetryConfig { backoff, max_retries: TRIES_AGAIN_MAX, retry_timeout: RETRY_MAX };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(config.place.bucket())
            .with_region(config.region)
            .with_access_key_id(config.access_key_id)
            .with_secret_access_key(config.secret_access_key)
            .with_virtual_hosted_style_request(!config.is_path_style)
            .with_retry(retry)
            .with_http_connector(wire::Connector);
        if !config.endpoint.is_empty() {
            builder = builder.with_endpoint(config.endpoint).with_allow_http(config.endpoint.starts_with("http://"));
        }
        let store = builder.build().map_err(BucketError::Settings)?;
        let prefix = ObjectPath::from(config.place.prefix());
        Ok(Self { store, prefix, blobs, others: None })
    }

    /// The same on a node that has others beside it.
    #[must_use]
    pub fn with_others(self, others: Option<Arc<dyn Copies>>) -> Self {
        Self { others, ..self }
    }

    /// Makes the place this cluster's, or finds that it is. A store that does not answer is no reason not to start.
    pub async fn claim(&self, cluster: &str) -> Result<(), BucketError> {
        let object = self.prefix.clone().join(OWNER);
        let said = match self.store.get(&object).await {
            Ok(found) if found.meta.size > OWNER_BYTES_MAX => return Err(BucketError::Foreign),
            Ok(found) => found.bytes().await,
            Err(StoreError::NotFound { .. }) => {
                let put = self.store.put(&object, PutPayload::from(cluster.as_bytes().to_vec())).await;
                put.map(|_| Bytes::copy_from_slice(cluster.as_bytes()))
            }
            Err(error) => Err(error),
        };
        match said {
            Ok(said) if said == cluster.as_bytes() => Ok(()),
            Ok(_) => Err(BucketError::Foreign),
            Err(error) if is_refusal(&error) => Err(BucketError::Refused(error)),
            Err(error) => {
                tracing::warn!(%error, "the object store does not answer; blobs that are not here cannot be had");
                Ok(())
            }
        }
    }

    fn object(&self, account: &AccountId, hash: &BlobHash) -> ObjectPath {
        self.prefix.clone().join(account.as_str()).join(hash.as_str())
    }

    /// Makes sure that the store has the account's object. From then on the file here may go.
    async fn ensure(&self, account: &AccountId, hash: &BlobHash) -> Result<(), CopyError> {
        match self.store.head(&self.object(account, hash)).await {
            Ok(_) => metrics::store_asked("look", "done"),
            Err(StoreError::NotFound { .. }) => {
                metrics::store_asked("look", "done");
                self.put(account, hash).await?;
            }
            Err(error) => return Err(failed("look", error)),
        }
        self.blobs.may_go(hash);
        Ok(())
    }

    async fn put(&self, account: &AccountId, hash: &BlobHash) -> Result<(), CopyError> {
        let put = timeout(BLOB_MAX, self.put_parts(account, hash)).await;
        put.map_err(|_| CopyError::StoreSlow { what: "put" })??;
        metrics::store_asked("put", "done");
        Ok(())
    }

    async fn put_parts(&self, account: &AccountId, hash: &BlobHash) -> Result<(), CopyError> {
        let object = self.object(account, hash);
        let mut file = File::open(self.blobs.path(hash)).await?;
        let mut hasher = blake3::Hasher::new();
        let first = part(&mut file, &mut hasher).await?;
        if first.len() < PART_BYTES {
            same(&hasher, hash)?;
            return self.store.put(&object, first.into()).await.map(|_| ()).map_err(|error| failed("put", error));
        }
        let parts = self.store.put_multipart(&object).await.map_err(|error| failed("put", error))?;
        let mut parts = WriteMultipart::new_with_chunk_size(parts, PART_BYTES);
        parts.put(first);
        let sent = async {
            loop {
                parts.wait_for_capacity(PARTS_AT_ONCE - 1).await.map_err(|error| failed("put", error))?;
                let next = part(&mut file, &mut hasher).await?;
                if next.is_empty() {
                    return same(&hasher, hash);
                }
                parts.put(next);
            }
        };
        match sent.await {
            Ok(()) => parts.finish().await.map(|_| ()).map_err(|error| failed("put", error)),
            Err(error) => {
                if let Err(error) = parts.abort().await {
                    tracing::debug!(%error, "the parts of a blob that did not get to the store stay there");
                }
                Err(error)
            }
        }
    }

    async fn get(&self, account: &AccountId, hash: &BlobHash) -> Result<(), CopyError> {
        let got = timeout(BLOB_MAX, self.get_all(account, hash)).await;
        got.map_err(|_| CopyError::StoreSlow { what: "get" })?
    }

    async fn get_all(&self, account: &AccountId, hash: &BlobHash) -> Result<(), CopyError> {
        let mut chunks = match self.store.get(&self.object(account, hash)).await {
            Ok(found) => found.into_stream(),
            Err(StoreError::NotFound { .. }) => return Err(CopyError::Absent(hash.as_str().to_owned())),
            Err(error) => return Err(failed("get", error)),
        };
        let mut incoming = self.blobs.receive(hash).await?;
        while let Some(chunk) = chunks.next().await {
            incoming.write(&chunk.map_err(|error| failed("get", error))?).await?;
        }
        let finished = incoming.finish().await;
        finished.map_err(|error| {
            if error.kind() != io::ErrorKind::InvalidData {
                return CopyError::Disk(error);
            }
            metrics::store_asked("get", "damaged");
            CopyError::Damaged(hash.as_str().to_owned())
        })?;
        metrics::store_asked("get", "done");
        Ok(())
    }

    async fn bring(&self, account: &AccountId, hash: &BlobHash) -> Result<(), CopyError> {
        match self.get(account, hash).await {
            Ok(()) => {
                self.blobs.may_go(hash);
                Ok(())
            }
            Err(refused @ (CopyError::Absent(_) | CopyError::Damaged(_))) => match &self.others {
                Some(others) => others.fetch(account, hash).await.map_err(|_| refused),
                None => Err(refused),
            },
            Err(error) => Err(error),
        }
    }
}

impl Copies for Bucket {
    fn fetch<'a>(&'a self, account: &'a AccountId, hash: &'a BlobHash) -> BoxFuture<'a, Result<(), CopyError>> {
        self.bring(account, hash).boxed()
    }

    fn spread<'a>(&'a self, account: &'a AccountId, hash: &'a BlobHash) -> BoxFuture<'a, Result<(), CopyError>> {
        self.ensure(account, hash).boxed()
    }
}

/// The next part of a file; the last one is shorter.
async fn part(file: &mut File, hasher: &mut blake3::Hasher) -> Result<Bytes, CopyError> {
    let mut bytes = Vec::with_capacity(PART_BYTES);
    let mut limited = file.take(u64::try_from(PART_BYTES).unwrap_or(u64::MAX));
    limited.read_to_end(&mut bytes).await?;
    hasher.update(&bytes);
    Ok(bytes.into())
}

fn same(hasher: &blake3::Hasher, hash: &BlobHash) -> Result<(), CopyError> {
    let is_same = hasher.finalize().to_hex().as_str() == hash.as_str();
    if is_same { Ok(()) } else { Err(CopyError::Damaged(hash.as_str().to_owned())) }
}

fn failed(what: &'static str, error: StoreError) -> CopyError {
    metrics::store_asked(what, "failed");
    CopyError::Store { what, source: Box::new(error) }
}

/// No wait makes these go away.
fn is_refusal(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } | StoreError::NotFound { .. }
    )
}

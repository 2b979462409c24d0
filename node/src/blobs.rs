//! Opens the folder of blobs and what stands behind it: the folders of other nodes, or an object store. Called by the
//! composition root.
//!
//! # Decisions
//! - The folder remembers the store it is a cache of. Started with another one, or with none, the node would find blobs
//!   missing one by one; it refuses instead, and says what to do.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use steward_actors::blob::{Backfill, BlobStore, Bucket, BucketConfig, BucketPlace, Copies, fill_store};
use steward_actors::shard::Shards;
use steward_actors::supervisor;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::Around;
use crate::config::{Blobs, ConfigError, ConfigErrors};

const MIB: u64 = 1 << 20;
/// How long a start waits for the object store.
const CLAIM_MAX: Duration = Duration::from_secs(10);
/// Beside the folder of blobs: which store it is a cache of.
const STORE_FILE: &str = "blobs.store";

/// The folder of blobs, and the object store if there is one.
pub(crate) async fn open(
    settings: &Blobs,
    data_dir: &Path,
    cluster: &str,
) -> anyhow::Result<(BlobStore, Option<Bucket>)> {
    remember(&data_dir.join(STORE_FILE), settings)?;
    let folder = data_dir.join("blobs");
    if settings.store.is_empty() {
        return Ok((BlobStore::open(folder).context("cannot open the folder of blobs")?, None));
    }
    let wrong = |key: &str, rule: &str| ConfigErrors::from(ConfigError::Invalid(format!("{key} {rule}")));
    let place = BucketPlace::parse(&settings.store).map_err(|rule| wrong("blobs.store", rule))?;
    let secret = settings.secret_access_key.read().map_err(|rule| wrong("blobs.secret_access_key", &rule))?;
    let config = BucketConfig {
        place: &place,
        endpoint: &settings.endpoint,
        region: &settings.region,
        is_path_style: settings.path_style,
        access_key_id: &settings.access_key_id,
        secret_access_key: &secret,
    };
    let blobs = BlobStore::open_cache(folder, settings.cache_mib * MIB).context("cannot open the folder of blobs")?;
    let bucket = Bucket::new(&config, blobs.clone()).context("cannot use blobs.store")?;
    match timeout(CLAIM_MAX, bucket.claim(cluster)).await {
        Ok(claimed) => claimed.context("cannot use blobs.store")?,
        Err(_) => tracing::warn!("the object store does not answer; blobs that are not here cannot be had"),
    }
    Ok((blobs, Some(bucket)))
}

/// The blobs as everything else sees them, and what brings the missing ones until the handle is dropped.
pub(crate) fn beyond(
    blobs: BlobStore,
    bucket: Option<Bucket>,
    around: Option<&Around>,
    missing: Option<Arc<Backfill>>,
    shards: &Shards,
    shard_count: u16,
) -> (BlobStore, Option<AbortOnDropHandle<()>>) {
    if let Some(bucket) = bucket {
        let others = around.map(|around| -> Arc<dyn Copies> { around.folders(shard_count) });
        let bucket = Arc::new(bucket.with_others(others));
        let filling = supervisor::spawn("store_filler", fill_store(Arc::clone(&bucket), shards.clone()));
        return (blobs.with_copies(bucket), Some(AbortOnDropHandle::new(filling)));
    }
    let shared = around.map_or(blobs.clone(), |around| blobs.with_copies(around.folders(shard_count)));
    let bringing = missing.map(|missing| Around::bring(missing, shards, &shared));
    (shared, bringing)
}

fn remember(file: &Path, settings: &Blobs) -> anyhow::Result<()> {
    let place =
        if settings.store.is_empty() { String::new() } else { format!("{} {}", settings.store, settings.endpoint) };
    let before = match fs::read_to_string(file) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    if before == place {
        return Ok(());
    }
    if !before.is_empty() {
        bail!(
            "blobs.store must stay what it was: the blobs of this node are in {before}; to move them, copy the whole prefix \
             there and remove {}",
            file.display()
        );
    }
    write(file, &place).with_context(|| format!("cannot write {}", file.display()))
}

/// On disk before a blob may leave the folder.
fn write(file: &Path, place: &str) -> io::Result<()> {
    let mut written = File::create(file)?;
    written.write_all(place.as_bytes())?;
    written.sync_all()?;
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

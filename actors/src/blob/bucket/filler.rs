//! Brings to the store what this node's folder has and the store lacks: the folder may be older than the store.
//!
//! # Invariants
//! - **K1 nothing goes too early**: no file leaves the folder before this has looked for all of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Bucket;
use crate::blob::CopyError;
use crate::shard::Shards;

/// The rest after the store did not answer.
const REST: Duration = Duration::from_secs(30);

/// Tries until the store has everything.
pub async fn fill_store(bucket: Arc<Bucket>, shards: Shards) {
    while let Err(error) = bucket.fill(&shards).await {
        say(&error);
        sleep(REST).await;
    }
    bucket.blobs.may_shrink();
}

fn say(error: &CopyError) {
    let cause: &dyn std::error::Error = error;
    tracing::warn!(error = cause, "blobs of this node could not be brought to the object store; it tries again");
}

impl Bucket {
    async fn fill(&self, shards: &Shards) -> Result<(), CopyError> {
        for row in shards.status() {
            let named = shards.reads().blobs(row.shard).map_err(|error| {
                tracing::error!(shard = row.shard.0, %error, "the blobs of a shard cannot be listed");
                CopyError::Replicas
            })?;
            for (account, hash) in named.iter().filter(|(_, hash)| self.blobs.has(hash)) {
                match self.ensure(account, hash).await {
                    Err(error @ CopyError::Damaged(_)) => {
                        let cause: &dyn std::error::Error = &error;
                        tracing::error!(error = cause, "a blob of this node is damaged and was not put into the store");
                    }
                    done => done?,
                }
            }
        }
        Ok(())
    }
}

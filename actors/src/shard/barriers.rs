//! The format a shard has in force: a row of its own, written by the barriers in its log. Leaders ask for barriers through
//! [`Shards::raise`](super::Shards::raise), the applier reads them.
//!
//! # Invariants
//! - **B1 stored**: the row is written with the applied index, so it survives restarts and travels with snapshots.
//! - **B2 known**: a node that finds a format it does not know, in its rows or in a log, stops before it reads on.

use bytes::Bytes;
use steward_cluster::format::Format;
use steward_cluster::ids::ShardId;
use steward_cluster::store::StateStore;

use super::ReadError;
use super::rows::{Family, shard_key};
use crate::codec::Barrier;

/// A shard holds, or is about to hold, what this binary cannot read.
#[derive(Debug, thiserror::Error)]
#[error("{shard} has {found} in force, this binary knows up to {known}: start version {version} or a later one")]
pub struct NewerFormat {
    pub shard: ShardId,
    pub found: Format,
    pub known: Format,
    /// A version that knows it.
    pub version: String,
}

impl Barrier {
    /// The barrier to the newest format this binary knows, or to an earlier one.
    pub(crate) fn to(format: Format) -> Self {
        Self { format, version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// The last one of a shard; none while it has the first format.
    pub(crate) fn read(store: &dyn StateStore, shard: ShardId) -> Result<Option<Self>, ReadError> {
        let row = store.get(&shard_key(shard, Family::Format))?;
        let barrier = |row: Bytes| Self::of_row(row).map_err(|source| ReadError::Format { shard, source });
        row.map(barrier).transpose()
    }

    /// The format, which this binary may read.
    pub(crate) fn known(&self, shard: ShardId) -> Result<Format, NewerFormat> {
        let (found, known) = (self.format, Format::NEWEST);
        if found > known {
            return Err(NewerFormat { shard, found, known, version: self.version.clone() });
        }
        Ok(found)
    }
}

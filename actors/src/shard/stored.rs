//! What the store says of all shards when a node starts.

use steward_cluster::divergence::Check;
use steward_cluster::format::Format;
use steward_cluster::ids::ShardId;
use steward_cluster::store::StateStore;

use super::StartError;
use super::digest::Digest;
use crate::codec::Barrier;

/// What the replicas here came to at their last checks, so that they are compared after a restart, too.
pub(super) fn stored_checks(store: &dyn StateStore, shards: u16) -> Result<Vec<Check>, StartError> {
    let check = |shard| Ok(Digest::read(store, shard).map_err(StartError::Digest)?.check(shard));
    (0..shards).map(ShardId).filter_map(|shard| check(shard).transpose()).collect()
}

/// What the replicas here have in force, which this binary must know.
pub(super) fn stored_formats(store: &dyn StateStore, shards: u16) -> Result<Vec<(ShardId, Format)>, StartError> {
    let mut formats = vec![];
    for shard in (0..shards).map(ShardId) {
        if let Some(barrier) = Barrier::read(store, shard).map_err(StartError::Format)? {
            formats.push((shard, barrier.known(shard)?));
        }
    }
    Ok(formats)
}

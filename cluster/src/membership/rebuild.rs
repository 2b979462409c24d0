//! Writes a cluster back into an etcd that was wiped. For `steward ctl cluster rebuild`, on one node that remembers it.
//!
//! The other nodes then return by themselves: an id below the new ones that nobody has claimed is theirs to take back.
//! Placement and leaders come back through the shards' leaders, who report again.

use std::sync::Arc;

use super::error::JoinError;
use super::etcd::{Etcd, Guard, Write};
use super::join::{DataState, JoinConfig, look, of_etcd};
use super::keys::{Key, Keys};
use super::record::{ClusterConfig, Known, encode};
use crate::clock::Clock;
use crate::format::Format;
use crate::ids::NodeId;

/// How far above the highest id this node remembers new ids start: more nodes than ever joined while it was away.
const REBUILD_ID_GAP: u64 = 1000;

/// Writes the cluster of this data folder back. `highest` is the highest node id it ever saw, as a member of a shard or
/// in a view, and `in_force` the highest format: no older binary may join before leaders say again what their shards have.
///
/// # Errors
/// [`JoinError::NothingToRebuild`] for a folder that belongs to no cluster, [`JoinError::NotWiped`] when the cluster is
/// there, and those of etcd.
pub async fn rebuild(
    config: &JoinConfig,
    highest: NodeId,
    in_force: Format,
    clock: Arc<dyn Clock>,
) -> Result<(), JoinError> {
    let keys = Keys::of(&config.cluster).ok_or_else(|| JoinError::ClusterName(config.cluster.clone()))?;
    let DataState::Belongs { cluster_id, node } = config.data else {
        return Err(JoinError::NothingToRebuild { cluster: config.cluster.clone() });
    };
    let etcd = Etcd::new(config.endpoints.clone(), config.etcd_tls.clone(), clock);
    let new_ids_from = highest.max(node).0.saturating_add(REBUILD_ID_GAP);
    let record = ClusterConfig {
        cluster_id,
        shards: config.shards,
        replicas: config.replicas,
        seal_fingerprint: config.seal_fingerprint.clone(),
        founded_by: None,
        new_ids_from,
    };
    let name = keys.name(Key::Config);
    let writes = [
        Write::Put(name.clone(), encode(&record)),
        Write::Put(keys.name(Key::Known(node)), encode(&Known { data: config.data_id })),
        Write::Put(keys.name(Key::NextNode), encode(&new_ids_from)),
        Write::Put(keys.name(Key::Format), encode(&in_force)),
    ];
    etcd.write(&[Guard::Absent(name)], &writes).await.map_err(|source| of_etcd(config, source))?;
    // Looked at rather than believed: somebody may have been faster, or a first try of our own.
    match look(&etcd, &keys, &config.cluster).await?.config {
        Some((found, _)) if found == record => Ok(()),
        Some((found, _)) => Err(JoinError::NotWiped { cluster: config.cluster.clone(), found: found.cluster_id }),
        None => Err(JoinError::Contended { cluster: config.cluster.clone(), tries: 1 }),
    }
}

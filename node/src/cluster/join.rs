//! Whose the data folder is, and which node of which cluster this is. Decided once, before anything is opened.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use steward_cluster::clock::Clock;
use steward_cluster::format::Format;
use steward_cluster::ids::NodeId;
use steward_cluster::membership::{self, DataState, EtcdTls, JoinConfig, JoinError, Joined};

use super::remembered::{Remembered, remembered_format};
use crate::config::Config;
use crate::data_dir::{DataDir, Identity, JoinedCluster, NODE_ALONE};

/// What a fingerprint of the sealing key is made for, so that it fits nothing else.
const FINGERPRINT_CONTEXT: &str = "steward 2026 fingerprint of a sealing key";
/// Bytes of the fingerprint that are told.
const FINGERPRINT_BYTES: usize = 8;

/// What this node is.
pub(crate) struct Place {
    pub(crate) identity: Identity,
    /// Its cluster's shards; those of the settings when it is alone.
    pub(crate) shards: u16,
    /// How it registers; none when it is alone.
    pub(crate) membership: Option<Entry>,
}

/// The way into a cluster.
pub(crate) struct Entry {
    pub(crate) config: JoinConfig,
    /// None while etcd is away: a node that belongs to the cluster already tries again.
    pub(crate) joined: Option<Joined>,
}

/// Finds out what this node is, and writes it down. `advertise` is where other nodes reach it.
pub(crate) async fn join(
    config: &Config,
    data_dir: &DataDir,
    node_key: &[u8],
    advertise: Option<String>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Place> {
    let kept = data_dir.identity(config.node.id)?;
    let Some(address) = advertise else { return alone(config, data_dir, kept) };
    let identity = kept.unwrap_or_else(Identity::unjoined);
    data_dir.keep_identity(&identity)?;
    let join = join_config(config, &identity, node_key, address);
    if let Some(cluster) = identity.cluster.as_ref().filter(|cluster| cluster.name != join.cluster) {
        bail!("the data folder belongs to cluster {}, cluster.name is {}", cluster.name, join.cluster);
    }
    let joined = match membership::join(join.clone(), Arc::clone(clock)).await {
        Ok(joined) => joined,
        Err(error @ JoinError::Etcd { .. }) if identity.cluster.is_some() => {
            let cause: &dyn std::error::Error = &error;
            tracing::warn!(error = cause, "the node starts without etcd, from what it remembers");
            let shards = identity.cluster.as_ref().map_or(config.storage.shards, |cluster| cluster.shards);
            return Ok(Place { identity, shards, membership: Some(Entry { config: join, joined: None }) });
        }
        Err(error) => return Err(error).context("the node cannot join its cluster"),
    };
    if identity.is_node() && joined.node != identity.node {
        bail!("the data folder is that of {}, the cluster knows it as {}", identity.node, joined.node);
    }
    let cluster = JoinedCluster {
        name: join.cluster.clone(),
        id: joined.cluster_id,
        shards: join.shards,
        replicas: joined.replicas,
    };
    let is_founder = identity.is_founder || joined.is_founder;
    let identity = Identity { node: joined.node, is_founder, cluster: Some(cluster), ..identity };
    data_dir.keep_identity(&identity)?;
    tracing::info!(node = identity.node.0, cluster = join.cluster, founder = is_founder, "the node has its place");
    let entry = Entry { config: join.clone(), joined: Some(joined) };
    Ok(Place { identity, shards: join.shards, membership: Some(entry) })
}

/// Writes the cluster of the data folder back into an etcd that was wiped. Its node may run or not.
pub(crate) async fn rebuild(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<()> {
    let data_dir = DataDir::look_into(&config.node.data_dir);
    let identity = data_dir.identity(config.node.id)?.context("the data folder is empty")?;
    let Some(cluster) = &identity.cluster else { bail!("the data folder belongs to no cluster") };
    let node_key = data_dir.node_key(config.node_key_file())?;
    let mut join = join_config(config, &identity, &node_key, String::new());
    (join.shards, join.replicas) = (cluster.shards, cluster.replicas);
    let remembered = Remembered::load(&data_dir);
    let highest = remembered.addresses().keys().copied().max().unwrap_or(identity.node).max(identity.node);
    Ok(membership::rebuild(&join, highest, remembered_format(&data_dir), Arc::clone(clock)).await?)
}

/// A node without others.
fn alone(config: &Config, data_dir: &DataDir, kept: Option<Identity>) -> anyhow::Result<Place> {
    if let Some(Identity { cluster: Some(cluster), .. }) = &kept {
        bail!("the data folder belongs to cluster {}, but cluster.name is not set", cluster.name);
    }
    let id = if config.node.id == 0 { NODE_ALONE } else { NodeId(config.node.id) };
    let identity = kept.filter(Identity::is_node).unwrap_or_else(|| Identity::alone(id));
    data_dir.keep_identity(&identity)?;
    Ok(Place { identity, shards: config.storage.shards, membership: None })
}

fn join_config(config: &Config, identity: &Identity, node_key: &[u8], address: String) -> JoinConfig {
    let data = match &identity.cluster {
        Some(cluster) => DataState::Belongs { cluster_id: cluster.id, node: identity.node },
        None if identity.is_node() => DataState::Standalone,
        None => DataState::Empty,
    };
    let cluster = &config.cluster;
    let plain = |endpoint: &String| endpoint.strip_prefix("http://").unwrap_or(endpoint).to_owned();
    let given = |file: &PathBuf| (!file.as_os_str().is_empty()).then(|| file.clone());
    let etcd_tls = given(&cluster.etcd_ca_file)
        .map(|ca_file| EtcdTls { ca_file, client: given(&cluster.etcd_cert_file).zip(given(&cluster.etcd_key_file)) });
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    JoinConfig {
        cluster: cluster.name.clone(),
        endpoints: cluster.etcd.iter().map(plain).collect(),
        etcd_tls,
        node: (config.node.id != 0).then_some(NodeId(config.node.id)),
        data,
        data_id: identity.data_id,
        address,
        zone: config.node.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: Format::NEWEST,
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        shards: config.storage.shards,
        replicas: cluster.replicas,
        seal_fingerprint: fingerprint(node_key),
    }
}

/// Tells two keys apart and nothing else about them.
fn fingerprint(key: &[u8]) -> String {
    let derived = blake3::derive_key(FINGERPRINT_CONTEXT, key);
    hex::encode(&derived[..FINGERPRINT_BYTES])
}

//! How a node gets its id. The composition root calls [`join`], writes the answer into the data folder, and registers.
//!
//! The rules are [`decide`], which is pure; the rest reads what they need and writes what they say, all or nothing.
//!
//! # Decisions
//! - **Only node 1 founds.** Data that was there before the cluster is node 1's, so a node with a wish for another id
//!   waits for it. Nodes without a wish found the cluster when they come first: start a node that has data before them.
//! - **The folder's own id comes first.** It is made and stored before the join, so a node that crashed between the join
//!   and writing down its answer gets the same answer again. Rejected: taking back an id whose node never registered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::error::{EtcdError, JoinError};
use super::etcd::{Etcd, Guard, Listing, Write};
use super::keys::{Key, Keys};
use super::record::{ClusterConfig, Known, Members, NodeInfo, decode, encode};
use super::trust::EtcdTls;
use crate::clock::Clock;
use crate::format::Format;
use crate::ids::NodeId;

/// The node that founds a cluster.
const FOUNDER: NodeId = NodeId(1);
/// How often others may be faster. Each time at least one of them gets in.
const JOIN_TRIES_MAX: u32 = 64;
/// The pause before looking again, at most.
const JOIN_PAUSE: Duration = Duration::from_millis(50);

/// What the data folder says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataState {
    /// There is no data.
    Empty,
    /// There is data of a node of this cluster.
    Belongs {
        /// The cluster.
        cluster_id: Uuid,
        /// The node's id.
        node: NodeId,
    },
    /// There is data of a node that never was in a cluster.
    Standalone,
}

/// What a node brings along.
#[derive(Clone, Debug)]
pub struct JoinConfig {
    /// The name of the cluster.
    pub cluster: String,
    /// `host:port` of the members of etcd, or their URLs of https.
    pub endpoints: Vec<String>,
    /// How etcd is trusted; needed for endpoints of https.
    pub etcd_tls: Option<EtcdTls>,
    /// The id the operator wishes for.
    pub node: Option<NodeId>,
    /// What the data folder says about itself.
    pub data: DataState,
    /// The id of the data folder, made and durable before the join.
    pub data_id: Uuid,
    /// `host:port` where other nodes reach this one.
    pub address: String,
    /// What fails together with it.
    pub zone: String,
    /// The version of the binary.
    pub version: String,
    /// The highest format the binary knows.
    pub format: Format,
    /// Processor cores.
    pub cores: u32,
    /// How many shards the node is set to. All nodes must agree.
    pub shards: u16,
    /// Replicas per shard; counts when the node founds the cluster.
    pub replicas: u8,
    /// Identifies the sealing key without revealing it. All nodes must agree.
    pub seal_fingerprint: String,
}

/// A node that has its id, and is not registered yet. Make `cluster_id`, `node` and `is_founder` durable, then
/// [`register`](Joined::register).
pub struct Joined {
    /// The cluster.
    pub cluster_id: Uuid,
    /// The id of this node.
    pub node: NodeId,
    /// Replicas per shard.
    pub replicas: u8,
    /// Whether this folder founded the cluster, and so is the first home of every shard. False for a folder that
    /// belonged to the cluster before: note it together with the id.
    pub is_founder: bool,
    pub(super) etcd: Arc<Etcd>,
    pub(super) keys: Keys,
    pub(super) config: JoinConfig,
}

/// What etcd holds that matters to a join.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) config: Option<(ClusterConfig, i64)>,
    pub(super) known: BTreeMap<NodeId, Known>,
    /// The next free id, and the revision it was written at.
    pub(super) next_node: Option<(u64, i64)>,
    /// What its shards may hold, by the operator's word or their leaders'.
    pub(super) format: Format,
}

/// What a node has to do to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Create the cluster.
    Found,
    /// Take an id nobody had.
    Claim(NodeId),
    /// Take back an id that etcd forgot.
    Reclaim(NodeId),
    /// Nothing: it is known already.
    Return(NodeId),
}

/// Gets this node its id, or says why it can not have one.
///
/// # Errors
/// Every variant of [`JoinError`] but those of a rebuild.
pub async fn join(config: JoinConfig, clock: Arc<dyn Clock>) -> Result<Joined, JoinError> {
    let keys = Keys::of(&config.cluster).ok_or_else(|| JoinError::ClusterName(config.cluster.clone()))?;
    config.etcd_tls.as_ref().map(EtcdTls::read).transpose().map_err(JoinError::EtcdTls)?;
    let etcd = Arc::new(Etcd::new(config.endpoints.clone(), config.etcd_tls.clone(), clock));
    let (node, cluster) = claim(&etcd, &keys, &config).await?;
    let is_newcomer = !matches!(config.data, DataState::Belongs { .. });
    let is_founder = is_newcomer && cluster.founded_by == Some(config.data_id);
    Ok(Joined { cluster_id: cluster.cluster_id, node, replicas: cluster.replicas, is_founder, etcd, keys, config })
}

impl Joined {
    /// What others are told about this node.
    pub(super) fn info(&self) -> NodeInfo {
        let config = &self.config;
        NodeInfo {
            address: config.address.clone(),
            zone: config.zone.clone(),
            version: config.version.clone(),
            format: config.format,
            cores: config.cores,
            data: config.data_id,
            disk_low: false,
        }
    }
}

/// Looks, decides and writes until a decision stands. Registration calls it again whenever it has to start over.
pub(super) async fn claim(etcd: &Etcd, keys: &Keys, config: &JoinConfig) -> Result<(NodeId, ClusterConfig), JoinError> {
    for _ in 0..JOIN_TRIES_MAX {
        let found = look(etcd, keys, &config.cluster).await?;
        let step = decide(config, &found)?;
        if let (Step::Return(node), Some((cluster, _))) = (step, &found.config) {
            return Ok((node, cluster.clone()));
        }
        let (guards, writes) = changes(keys, config, &found, step);
        // Whether it worked is seen by looking again: a write that was reported failed may have happened.
        let written = etcd.write(&guards, &writes).await.map_err(|source| of_etcd(config, source))?;
        if written.is_none() {
            tokio::time::sleep(JOIN_PAUSE.mul_f64(rand::random_range(0.0..1.0))).await;
        }
    }
    Err(JoinError::Contended { cluster: config.cluster.clone(), tries: JOIN_TRIES_MAX })
}

pub(super) async fn look(etcd: &Etcd, keys: &Keys, cluster: &str) -> Result<Found, JoinError> {
    let listing = etcd.list(keys.root()).await;
    let listing = listing.map_err(|source| JoinError::Etcd { cluster: cluster.to_owned(), source })?;
    read(keys, &listing)
}

fn read(keys: &Keys, listing: &Listing) -> Result<Found, JoinError> {
    let mut found = Found::default();
    for (name, held) in &listing.held {
        let unreadable = |source| JoinError::Unreadable { key: name.clone(), source };
        match keys.parse(name) {
            Some(Key::Config) => found.config = Some((decode(&held.value).map_err(unreadable)?, held.revision)),
            Some(Key::NextNode) => found.next_node = Some((decode(&held.value).map_err(unreadable)?, held.revision)),
            Some(Key::Known(node)) => {
                found.known.insert(node, decode(&held.value).map_err(unreadable)?);
            }
            Some(Key::Format) => found.format = found.format.max(decode(&held.value).map_err(unreadable)?),
            // A hint: what cannot be read says nothing.
            Some(Key::Members(_)) => {
                let format = decode::<Members>(&held.value).map_or(Format::FIRST, |members| members.format);
                found.format = found.format.max(format);
            }
            Some(Key::Controller | Key::Node(_) | Key::Drain(_) | Key::Placement(_) | Key::Leader(_)) | None => {}
        }
    }
    Ok(found)
}

/// The rules of joining.
pub(super) fn decide(ours: &JoinConfig, found: &Found) -> Result<Step, JoinError> {
    let cluster = || ours.cluster.clone();
    let Some((theirs, _)) = &found.config else {
        return decide_without_cluster(ours, found);
    };
    if ours.shards != theirs.shards {
        return Err(JoinError::Shards { cluster: cluster(), ours: ours.shards, theirs: theirs.shards });
    }
    if ours.seal_fingerprint != theirs.seal_fingerprint {
        let (ours, theirs) = (ours.seal_fingerprint.clone(), theirs.seal_fingerprint.clone());
        return Err(JoinError::SealKey { cluster: cluster(), ours, theirs });
    }
    if ours.format < found.format {
        return Err(JoinError::Format { cluster: cluster(), ours: ours.format, theirs: found.format });
    }
    let has_been_here = found.known.iter().find(|(_, known)| known.data == ours.data_id).map(|(node, _)| *node);
    match (ours.data, has_been_here) {
        (DataState::Belongs { cluster_id, .. }, _) if cluster_id != theirs.cluster_id => {
            Err(JoinError::OtherCluster { belongs: cluster_id, cluster: cluster(), found: theirs.cluster_id })
        }
        (DataState::Belongs { node, .. }, _) => {
            refuse_other_wish(ours, node)?;
            match found.known.get(&node) {
                Some(known) if known.data == ours.data_id => Ok(Step::Return(node)),
                Some(_) => Err(JoinError::IdTaken(node)),
                None if node.0 < theirs.new_ids_from => Ok(Step::Reclaim(node)),
                None => Err(JoinError::IdUnknown { cluster: cluster(), node }),
            }
        }
        // It crashed before it could write down that it belongs here.
        (DataState::Empty | DataState::Standalone, Some(node)) => {
            refuse_other_wish(ours, node)?;
            Ok(Step::Return(node))
        }
        (DataState::Standalone, None) => Err(JoinError::OwnData { cluster: cluster() }),
        (DataState::Empty, None) => match ours.node {
            None => Ok(Step::Claim(NodeId(found.next_node.map_or(theirs.new_ids_from, |(next, _)| next)))),
            Some(node) if found.known.contains_key(&node) => Err(JoinError::IdTaken(node)),
            Some(node) if node.0 < theirs.new_ids_from => {
                Err(JoinError::IdOfOldNode { node, from: theirs.new_ids_from })
            }
            Some(node) => Ok(Step::Claim(node)),
        },
    }
}

fn decide_without_cluster(ours: &JoinConfig, found: &Found) -> Result<Step, JoinError> {
    let cluster = ours.cluster.clone();
    match (ours.data, ours.node) {
        (DataState::Belongs { cluster_id, .. }, _) => Err(JoinError::Wiped { cluster, belongs: cluster_id }),
        (DataState::Empty | DataState::Standalone, _) if !found.known.is_empty() => {
            Err(JoinError::ConfigLost { cluster })
        }
        (DataState::Empty, Some(node)) if node != FOUNDER => Err(JoinError::NotTheFounder { cluster, node }),
        (DataState::Empty | DataState::Standalone, _) => {
            refuse_other_wish(ours, FOUNDER)?;
            Ok(Step::Found)
        }
    }
}

fn refuse_other_wish(ours: &JoinConfig, node: NodeId) -> Result<(), JoinError> {
    match ours.node {
        Some(wished) if wished != node => Err(JoinError::IdDiffers { node, wished }),
        Some(_) | None => Ok(()),
    }
}

/// What a step writes, and what must still hold for it.
pub(super) fn changes(keys: &Keys, ours: &JoinConfig, found: &Found, step: Step) -> (Vec<Guard>, Vec<Write>) {
    let (config, next) = (keys.name(Key::Config), keys.name(Key::NextNode));
    let known = |node| keys.name(Key::Known(node));
    let me = encode(&Known { data: ours.data_id });
    let same_cluster = match &found.config {
        Some((_, revision)) => Guard::Unchanged(config.clone(), *revision),
        None => Guard::Absent(config.clone()),
    };
    match step {
        Step::Found => {
            let founded = encode(&founded_config(ours));
            let writes = vec![
                Write::Put(config, founded),
                Write::Put(known(FOUNDER), me),
                Write::Put(next, encode(&(FOUNDER.0 + 1))),
                // There is nothing to go back to.
                Write::Put(keys.name(Key::Format), encode(&ours.format)),
            ];
            (vec![same_cluster, Guard::Absent(known(FOUNDER))], writes)
        }
        Step::Claim(node) => {
            let (unchanged, first) = match found.next_node {
                Some((first, revision)) => (Guard::Unchanged(next.clone(), revision), first),
                None => (Guard::Absent(next.clone()), 1),
            };
            let writes =
                vec![Write::Put(known(node), me), Write::Put(next, encode(&first.max(node.0.saturating_add(1))))];
            (vec![same_cluster, Guard::Absent(known(node)), unchanged], writes)
        }
        Step::Reclaim(node) => (vec![same_cluster, Guard::Absent(known(node))], vec![Write::Put(known(node), me)]),
        Step::Return(_) => (vec![same_cluster], vec![]),
    }
}

fn founded_config(ours: &JoinConfig) -> ClusterConfig {
    ClusterConfig {
        cluster_id: Uuid::now_v7(),
        shards: ours.shards,
        replicas: ours.replicas,
        seal_fingerprint: ours.seal_fingerprint.clone(),
        founded_by: Some(ours.data_id),
        new_ids_from: FOUNDER.0,
    }
}

pub(super) fn of_etcd(config: &JoinConfig, source: EtcdError) -> JoinError {
    JoinError::Etcd { cluster: config.cluster.clone(), source }
}

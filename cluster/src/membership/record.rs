//! What stands in etcd, as JSON. Fields are only ever added, with a default, so nodes of two versions read each other.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::format::Format;
use crate::ids::{NodeId, Term};

/// What all nodes of a cluster agree on. Created once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterConfig {
    pub(crate) cluster_id: Uuid,
    pub(crate) shards: u16,
    pub(crate) replicas: u8,
    pub(crate) seal_fingerprint: String,
    /// The data folder that founded the cluster; none after a rebuild.
    pub(crate) founded_by: Option<Uuid>,
    /// Ids below this are for folders from before a rebuild. 1 while there was none.
    pub(crate) new_ids_from: u64,
}

/// The data folder an id belongs to, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) data: Uuid,
}

/// A running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// `host:port` where other nodes reach it.
    pub address: String,
    /// What fails together: a rack, a building. Replicas of a shard are spread over zones.
    pub zone: String,
    /// The version of its binary, for people.
    pub version: String,
    /// The highest format its binary knows.
    pub format: Format,
    /// Processor cores.
    pub cores: u32,
    /// Its data folder.
    pub data: Uuid,
    /// Whether its disk is nearly full: it should lead nothing.
    #[serde(default)]
    pub disk_low: bool,
}

/// Where a shard should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The nodes that should hold it, ascending.
    pub replicas: Vec<NodeId>,
    /// Who should lead it; none while no replica is there to do so.
    pub preferred_leader: Option<NodeId>,
    /// Counts changes, from 1.
    pub generation: u64,
}

/// Where a shard is, as its leader says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Who receives entries without a vote.
    pub learners: Vec<NodeId>,
    /// Who says so.
    pub leader: NodeId,
    /// In which term.
    pub term: Term,
    /// Entries the slowest of them is behind.
    pub lag: u64,
    /// The format in force there.
    #[serde(default)]
    pub format: Format,
    /// How many of its blobs are still on their way to nodes that are to vote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing_blobs: BTreeMap<NodeId, u64>,
}

impl Members {
    /// Voters that lack nothing, in the first format; nobody learns.
    #[must_use]
    pub fn level(voters: Vec<NodeId>, leader: NodeId, term: Term) -> Self {
        let (learners, missing_blobs) = (vec![], BTreeMap::new());
        Self { voters, learners, leader, term, lag: 0, format: Format::FIRST, missing_blobs }
    }
}

/// A record as it goes into etcd.
pub(crate) fn encode(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys and no values that JSON lacks")
}

/// A record as it comes from etcd.
pub(crate) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_earlier_versions_are_read() {
        let node = r#"{"address":"a:1","zone":"z","version":"0","format":1,"cores":2,
            "data":"00000000-0000-0000-0000-000000000000","draining":true}"#;
        assert!(!decode::<NodeInfo>(node.as_bytes()).unwrap().disk_low, "what is gone is skipped, what is new is no");
        let members = r#"{"voters":[1],"learners":[],"leader":1,"term":3,"lag":0}"#;
        let members: Members = decode(members.as_bytes()).unwrap();
        assert_eq!((members.format, members.missing_blobs.len()), (Format::FIRST, 0));
        let told = Members { missing_blobs: [(NodeId(2), 7)].into(), ..members };
        assert_eq!(decode::<Members>(&encode(&told)).unwrap(), told);
    }
}

//! Rules of joining that take a crash or an accident to reach; the others are tested over a real etcd.

use std::sync::Arc;

use uuid::Uuid;

use super::error::JoinError;
use super::etcd::Etcd;
use super::join::{DataState, Found, JoinConfig, Step, changes, decide};
use super::keys::Keys;
use super::record::{ClusterConfig, Known};
use crate::clock::SystemClock;
use crate::etcd_process::Etcd as EtcdProcess;
use crate::format::Format;
use crate::ids::NodeId;

const OURS: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const CLUSTER: Uuid = Uuid::from_u128(9);

fn ours(data: DataState, node: Option<u64>) -> JoinConfig {
    JoinConfig {
        cluster: "test".to_owned(),
        endpoints: vec![],
        etcd_tls: None,
        node: node.map(NodeId),
        data,
        data_id: OURS,
        address: String::new(),
        zone: String::new(),
        version: String::new(),
        format: Format::FIRST,
        cores: 1,
        shards: 4,
        replicas: 3,
        seal_fingerprint: String::new(),
    }
}

fn found(new_ids_from: u64, known: &[(u64, Uuid)]) -> Found {
    let config = ClusterConfig {
        cluster_id: CLUSTER,
        shards: 4,
        replicas: 3,
        seal_fingerprint: String::new(),
        founded_by: None,
        new_ids_from,
    };
    let known = known.iter().map(|(node, data)| (NodeId(*node), Known { data: *data })).collect();
    Found { config: Some((config, 1)), known, next_node: Some((new_ids_from.max(3), 1)), format: Format::FIRST }
}

fn belongs(node: u64) -> DataState {
    DataState::Belongs { cluster_id: CLUSTER, node: NodeId(node) }
}

#[test]
fn each_rule() {
    let decided = |data, wish, found: &Found| decide(&ours(data, wish), found).map_err(|error| error.to_string());
    let founder = NodeId(1);
    let table = [
        (DataState::Empty, None, Found::default(), Some(Step::Found)),
        (DataState::Standalone, Some(1), Found::default(), Some(Step::Found)),
        (DataState::Standalone, Some(2), Found::default(), None),
        (belongs(1), None, Found::default(), None),
        (DataState::Empty, None, found(1, &[]), Some(Step::Claim(NodeId(3)))),
        (DataState::Empty, Some(9), found(1, &[]), Some(Step::Claim(NodeId(9)))),
        (DataState::Empty, Some(2), found(1, &[(2, OTHER)]), None),
        (DataState::Empty, None, found(1, &[(2, OURS)]), Some(Step::Return(NodeId(2)))),
        (DataState::Empty, Some(5), found(1, &[(2, OURS)]), None),
        (DataState::Standalone, None, found(1, &[(1, OURS)]), Some(Step::Return(founder))),
        (DataState::Standalone, None, found(1, &[(1, OTHER)]), None),
        (belongs(2), None, found(1, &[(2, OURS)]), Some(Step::Return(NodeId(2)))),
        (belongs(2), Some(3), found(1, &[(2, OURS)]), None),
        (belongs(2), None, found(1, &[(2, OTHER)]), None),
        (belongs(2), None, found(1, &[]), None),
        (belongs(2), None, found(1000, &[]), Some(Step::Reclaim(NodeId(2)))),
        (belongs(1000), None, found(1000, &[]), None),
        (DataState::Empty, Some(2), found(1000, &[]), None),
        (DataState::Empty, None, found(1000, &[]), Some(Step::Claim(NodeId(1000)))),
    ];
    for (data, wish, found, want) in table {
        let got = decided(data, wish, &found);
        assert_eq!(got.clone().ok(), want, "{data:?}, wish {wish:?}, {found:?}: {got:?}");
    }
}

#[test]
fn who_does_not_know_the_format_is_refused_and_told() {
    let at = |format| Found { format, ..found(1, &[(2, OURS)]) };
    let newer = Format(Format::FIRST.0 + 1);
    for data in [DataState::Empty, belongs(2)] {
        assert!(decide(&ours(data, None), &at(Format::FIRST)).is_ok());
        let refused = decide(&ours(data, None), &at(newer)).unwrap_err().to_string();
        assert_eq!(
            refused,
            "cluster test has format 2 in force, this binary knows up to format 1: start the release that the other \
             nodes run"
        );
        assert!(decide(&JoinConfig { format: newer, ..ours(data, None) }, &at(newer)).is_ok());
    }
}

#[test]
fn nodes_without_a_config_are_the_rest_of_a_cluster() {
    let rest = Found { config: None, ..found(1, &[(1, OTHER)]) };
    let refused = decide(&ours(DataState::Empty, None), &rest);
    assert!(matches!(refused, Err(JoinError::ConfigLost { .. })), "{refused:?}");
}

#[tokio::test]
async fn who_looked_before_somebody_else_wrote_writes_nothing() {
    let process = EtcdProcess::start(1);
    let etcd = Etcd::new(process.endpoints(), None, Arc::new(SystemClock::new()));
    let keys = Keys::of("test").unwrap();
    let empty = Found::default();
    let (guards, writes) = changes(&keys, &ours(DataState::Empty, None), &empty, Step::Found);
    assert!(etcd.write(&guards, &writes).await.unwrap().is_some());
    let late = JoinConfig { data_id: OTHER, ..ours(DataState::Empty, None) };
    let (guards, writes) = changes(&keys, &late, &empty, Step::Found);
    assert!(etcd.write(&guards, &writes).await.unwrap().is_none());
}

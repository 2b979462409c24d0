//! Membership and placement over a real etcd: joins, refusals, outages, wiped clusters, and who places shards.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[expect(dead_code, reason = "the harness of the nodes uses the rest of it")]
mod etcd;
mod formats;
mod joining;
mod outages;
mod placing;
mod registered;
mod trusting;

use std::sync::Arc;
use std::time::Duration;

use etcd::Etcd;
use steward_cluster::clock::SystemClock;
use steward_cluster::format::Format;
use steward_cluster::ids::NodeId;
use steward_cluster::membership::{DataState, JoinConfig, JoinError, Joined, Membership, View, join};
use uuid::Uuid;

/// Far beyond what a loaded machine needs, leases included.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);

/// A node with an empty data folder and no wishes.
pub(crate) fn node(etcd: &Etcd) -> JoinConfig {
    JoinConfig {
        cluster: "test".to_owned(),
        endpoints: etcd.endpoints(),
        etcd_tls: None,
        node: None,
        data: DataState::Empty,
        data_id: Uuid::now_v7(),
        address: "127.0.0.1:7000".to_owned(),
        zone: "a".to_owned(),
        version: "0.1.0".to_owned(),
        format: Format::FIRST,
        cores: 2,
        shards: 4,
        replicas: 3,
        seal_fingerprint: "aa55".to_owned(),
    }
}

/// The same folder after it was told who it is.
pub(crate) fn after(config: &JoinConfig, joined: &Joined) -> JoinConfig {
    let data = DataState::Belongs { cluster_id: joined.cluster_id, node: joined.node };
    JoinConfig { data, ..config.clone() }
}

pub(crate) async fn enter(config: &JoinConfig) -> Result<Joined, JoinError> {
    join(config.clone(), Arc::new(SystemClock::new())).await
}

/// Joins and registers.
pub(crate) async fn member(config: &JoinConfig) -> Membership {
    enter(config).await.unwrap().register().await.unwrap()
}

/// Waits until a node's view is as wanted.
pub(crate) async fn until(membership: &Membership, what: &str, wanted: impl Fn(&View) -> bool) -> Arc<View> {
    let mut view = membership.view();
    let seen = tokio::time::timeout(WAIT_MAX, view.wait_for(|view| wanted(view))).await;
    let seen = seen.map(|view| Arc::clone(&view.unwrap()));
    seen.unwrap_or_else(|_| panic!("waited in vain for {what}: {:#?}", membership.view().borrow()))
}

/// The ids of the nodes in a view.
pub(crate) fn ids(view: &View) -> Vec<u64> {
    view.nodes.keys().map(|NodeId(id)| *id).collect()
}

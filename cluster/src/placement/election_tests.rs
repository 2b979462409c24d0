//! One controller at a time, over a real etcd.

use std::sync::Arc;

use super::election::Office;
use crate::clock::SystemClock;
use crate::etcd_process::Etcd as EtcdProcess;
use crate::ids::{NodeId, ShardId};
use crate::membership::{Etcd, Guard, Key, Keys, Placement, Write};

fn placement(generation: u64) -> Placement {
    Placement { replicas: vec![NodeId(1)], preferred_leader: Some(NodeId(1)), generation }
}

struct Stage {
    etcd: Etcd,
    keys: Keys,
    _process: EtcdProcess,
}

async fn stage() -> Stage {
    let process = EtcdProcess::start(1);
    let etcd = Etcd::new(process.endpoints(), None, Arc::new(SystemClock::new()));
    let keys = Keys::of("test").unwrap();
    let known = [1, 2].map(|id| Write::Put(keys.name(Key::Known(NodeId(id))), b"{}".to_vec()));
    etcd.write(&[], &known).await.unwrap();
    Stage { etcd, keys, _process: process }
}

impl Stage {
    async fn take(&self, node: u64) -> Option<Office> {
        Office::take(&self.etcd, &self.keys, NodeId(node)).await.unwrap()
    }

    async fn place(&self, office: &Office, over: i64, generation: u64) -> bool {
        office.place(&self.etcd, &self.keys, ShardId(0), over, &placement(generation)).await.unwrap()
    }

    async fn placed(&self) -> (i64, Placement) {
        let listing = self.etcd.list(self.keys.root()).await.unwrap();
        let held = &listing.held[&self.keys.name(Key::Placement(ShardId(0)))];
        (held.revision, serde_json::from_slice(&held.value).unwrap())
    }
}

#[tokio::test]
async fn a_controller_that_was_replaced_writes_nothing() {
    let stage = stage().await;
    let first = stage.take(1).await.unwrap();
    assert!(stage.take(2).await.is_none(), "the office is held");
    assert!(stage.place(&first, 0, 1).await);
    // As when its lease runs out while it is paused: it does not notice.
    stage.etcd.write(&[], &[Write::Delete(stage.keys.name(Key::Controller))]).await.unwrap();
    let second = stage.take(2).await.unwrap();
    let (revision, _) = stage.placed().await;
    assert!(!stage.place(&first, revision, 2).await);
    assert_eq!(stage.placed().await, (revision, placement(1)));
    assert!(stage.place(&second, revision, 2).await);
    second.resign(&stage.etcd).await.unwrap();
    assert!(stage.take(1).await.is_some(), "an office that was given back is free");
}

#[tokio::test]
async fn a_plan_over_an_old_placement_writes_nothing() {
    let stage = stage().await;
    let office = stage.take(1).await.unwrap();
    assert!(stage.place(&office, 0, 1).await);
    assert!(!stage.place(&office, 0, 1).await);
    let (revision, _) = stage.placed().await;
    assert!(stage.place(&office, revision, 2).await);
    assert!(!stage.place(&office, revision, 3).await);
    assert_eq!(stage.placed().await.1, placement(2));
}

#[tokio::test]
async fn a_wiped_cluster_has_no_controller() {
    let stage = stage().await;
    stage.etcd.write(&[Guard::Exists(stage.keys.name(Key::Known(NodeId(1))))], &[]).await.unwrap().unwrap();
    stage.etcd.write(&[], &[Write::Delete(stage.keys.name(Key::Known(NodeId(1))))]).await.unwrap();
    assert!(stage.take(1).await.is_none());
}

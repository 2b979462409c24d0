//! From one node to three and back to one, while everybody writes.

use std::sync::atomic::Ordering;

use crate::etcd::Etcd;
use crate::load::{Load, everywhere};
use crate::node::Setup;
use crate::{leads, until};

const SHARDS: u16 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_to_three_and_shrinks_to_one_while_it_is_written_to() {
    let etcd = Etcd::start(1);
    let first = Setup { id: 1, shards: SHARDS, founders: vec![1] }.start(&etcd).await;
    let load = Load::start(SHARDS);
    load.add(&first);
    load.more(20).await;
    first.purge();
    let second = Setup { id: 2, shards: SHARDS, founders: vec![] }.start(&etcd).await;
    let third = Setup { id: 3, shards: SHARDS, founders: vec![] }.start(&etcd).await;
    load.add(&second);
    load.add(&third);
    let all = [&first, &second, &third];
    until("three voters everywhere", || all.iter().all(|node| node.is_voted_by(&[1, 2, 3]))).await;
    until("leaders on all", || leads(&all, SHARDS).iter().all(|leads| [1, 2].contains(leads))).await;
    load.more(20).await;
    everywhere(&all, &load.stop().await).await;
    for node in [&second, &third] {
        assert!(node.kept.installed.load(Ordering::SeqCst) >= usize::from(SHARDS), "snapshots bring the beginning");
    }

    let load = Load::start(SHARDS);
    all.iter().for_each(|node| load.add(node));
    third.membership.wish_drain(first.id, true).await.unwrap();
    third.membership.wish_drain(second.id, true).await.unwrap();
    until("one voter", || third.is_voted_by(&[3])).await;
    until("nothing elsewhere", || first.holds() == 0 && second.holds() == 0).await;
    load.more(20).await;
    assert_eq!(leads(&all, SHARDS), [0, 0, usize::from(SHARDS)]);
    everywhere(&[&third], &load.stop().await).await;
    assert!(first.kept.values(steward_cluster::ids::ShardId(0)).is_empty(), "what left is gone");
    [first, second, third].into_iter().for_each(crate::Node::kill);
}

//! What nodes see of each other: registrations, wishes, hints.

use steward_cluster::ids::{NodeId, ShardId, Term};
use steward_cluster::membership::Members;

use crate::etcd::Etcd;
use crate::{enter, ids, member, node, until};

#[tokio::test]
async fn nodes_see_each_other_come_drain_and_leave() {
    let etcd = Etcd::start(1);
    let first = member(&node(&etcd)).await;
    let second = member(&node(&etcd)).await;
    let third = enter(&node(&etcd)).await.unwrap();
    let view = until(&first, "two nodes", |view| view.nodes.len() == 2 && view.known.len() == 3).await;
    assert_eq!(ids(&view), [1, 2]);
    assert_eq!(view.nodes[&NodeId(2)].address, "127.0.0.1:7000");
    assert!(view.known.contains(&third.node), "known before it registers");

    first.wish_drain(NodeId(2), true).await.unwrap();
    until(&second, "a wish", |view| view.is_draining(NodeId(2)) && view.drains.contains(&NodeId(2))).await;
    first.wish_drain(NodeId(2), false).await.unwrap();
    until(&second, "no wish", |view| view.drains.is_empty()).await;

    second.leave().await;
    let view = until(&first, "one node", |view| view.nodes.len() == 1).await;
    assert_eq!(view.known.len(), 3, "an id stays known");
}

#[tokio::test]
async fn a_node_that_dies_leaves_the_view_when_its_lease_runs_out() {
    let etcd = Etcd::start(1);
    let first = member(&node(&etcd)).await;
    let second = member(&node(&etcd)).await;
    until(&first, "two nodes", |view| view.nodes.len() == 2).await;
    drop(second);
    let view = until(&first, "one node", |view| view.nodes.len() == 1).await;
    assert_eq!(ids(&view), [1]);
    assert!(view.etcd_reachable());
}

#[tokio::test]
async fn the_newest_word_on_each_shard_arrives() {
    let etcd = Etcd::start(1);
    let first = member(&node(&etcd)).await;
    let second = member(&node(&etcd)).await;
    for leader in [1, 2, 3, 2] {
        first.announce_leaders((0..4).map(|shard| (ShardId(shard), NodeId(leader))).collect());
    }
    let members = |term| {
        let level = Members::level(vec![NodeId(1), NodeId(2)], NodeId(2), Term(term));
        Members { learners: vec![NodeId(3)], lag: 7, ..level }
    };
    first.report_members(vec![(ShardId(3), members(4)), (ShardId(3), members(5))]);
    let view = until(&second, "all leaders", |view| view.leaders == [Some(NodeId(2)); 4]).await;
    assert_eq!(view.placement, [None, None, None, None]);
    until(&second, "members", |view| view.members[3] == Some(members(5))).await;

    // What an old leader says late does not replace what a newer one said.
    until(&first, "its own words", |view| view.members[3] == Some(members(5))).await;
    first.report_members(vec![(ShardId(3), members(3)), (ShardId(2), members(1))]);
    let view = until(&second, "the other shard", |view| view.members[2] == Some(members(1))).await;
    assert_eq!(view.members[3], Some(members(5)));
}

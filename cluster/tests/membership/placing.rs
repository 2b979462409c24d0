//! The controller over a real etcd: it places what is reported, and another takes over when it dies.

use steward_cluster::ids::{NodeId, ShardId, Term};
use steward_cluster::membership::{Members, Membership, View};
use steward_cluster::placement::Controller;

use crate::etcd::Etcd;
use crate::{member, node, until};

const SHARDS: u16 = 4;

/// What the leaders of all shards would say.
fn report(membership: &Membership, voters: &[NodeId], term: u64) {
    let members = Members::level(voters.to_vec(), voters[0], Term(term));
    membership.report_members((0..SHARDS).map(|shard| (ShardId(shard), members.clone())).collect());
}

fn all_on(view: &View, nodes: &[NodeId]) -> bool {
    view.placement.iter().all(|placement| placement.as_ref().is_some_and(|placement| placement.replicas == nodes))
}

#[tokio::test]
async fn shards_spread_over_three_nodes_and_another_node_goes_on_when_the_controller_dies() {
    let etcd = Etcd::start(1);
    let nodes: [NodeId; 3] = [1, 2, 3].map(NodeId);
    let first = member(&node(&etcd)).await;
    let office = Controller::start(&first);
    until(&first, "a controller", |view| view.controller == Some(NodeId(1))).await;
    report(&first, &nodes[..1], 1);
    until(&first, "what is there in writing", |view| all_on(view, &nodes[..1])).await;

    let second = member(&node(&etcd)).await;
    let third = member(&node(&etcd)).await;
    let others = [Controller::start(&second), Controller::start(&third)];
    let view = until(&second, "three replicas", |view| all_on(view, &nodes)).await;
    assert_eq!(view.controller, Some(NodeId(1)), "one controller is enough");
    let leads = |id| view.placement.iter().flatten().filter(|p| p.preferred_leader == Some(NodeId(id))).count();
    assert_eq!((1..=3).map(leads).max(), Some(2));
    report(&second, &nodes, 2);

    drop((office, first));
    let view = until(&second, "another controller", |view| view.controller.is_some_and(|node| node != NodeId(1))).await;
    assert!(all_on(&view, &nodes));
    let leads_nothing =
        |view: &View, node| view.placement.iter().flatten().all(|placement| placement.preferred_leader != Some(node));
    until(&second, "no leadership for the dead", |view| {
        !view.nodes.contains_key(&NodeId(1)) && leads_nothing(view, NodeId(1))
    })
    .await;
    assert!(all_on(&second.view().borrow(), &nodes), "it keeps its replicas for now");

    second.wish_drain(NodeId(1), true).await.unwrap();
    second.wish_drain(NodeId(2), true).await.unwrap();
    until(&third, "all on the last node", |view| all_on(view, &nodes[2..])).await;
    drop(others);
}

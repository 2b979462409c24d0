//! Nodes that leave: their replicas find another place, their leaderships go at once.

use std::collections::BTreeMap;
use std::time::Duration;

use steward_cluster::ids::{ShardId, Term};
use steward_cluster::raft::Role;

use crate::etcd::Etcd;
use crate::load::{Load, everywhere};
use crate::node::Setup;
use crate::{Node, leads, three, until};

/// How long a node with a third of [`MANY`] leaderships may take to give them up.
const GIVEN_UP_IN: Duration = Duration::from_secs(3);
const MANY: u16 = 64;
const FEW: u16 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn the_replicas_of_a_node_that_drains_move_to_a_fourth() {
    let etcd = Etcd::start(1);
    let [first, second, third] = three(&etcd, FEW).await;
    let load = Load::start(FEW);
    [&first, &second, &third].into_iter().for_each(|node| load.add(node));
    load.more(20).await;
    second.membership.wish_drain(first.id, true).await.unwrap();
    let fourth = Setup { id: 4, shards: FEW, founders: vec![] }.start(&etcd).await;
    load.add(&fourth);
    let others = [&second, &third, &fourth];
    until("its place is taken", || others.iter().all(|node| node.is_voted_by(&[2, 3, 4]))).await;
    until("it holds nothing", || first.holds() == 0).await;
    load.more(20).await;
    everywhere(&others, &load.stop().await).await;
    [first, second, third, fourth].into_iter().for_each(Node::kill);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_gives_its_leaderships_up_in_time() {
    let etcd = Etcd::start(1);
    let [first, second, third] = three(&etcd, MANY).await;
    let all = [&first, &second, &third];
    until("a third for everybody", || leads(&all, MANY).iter().all(|leads| [21, 22].contains(leads))).await;
    second.membership.wish_drain(first.id, true).await.unwrap();
    let left = first.executor.give_up_leads(GIVEN_UP_IN).await;
    assert_eq!((left, leads(&[&first], MANY)[0]), (0, 0));
    let others = [&second, &third];
    let led = |shard: &ShardId| others.iter().any(|node| is_leader(node, *shard));
    assert_eq!(
        (0..MANY).map(ShardId).filter(|shard| !led(shard)).collect::<Vec<_>>(),
        vec![],
        "others lead everything"
    );
    // What others moved here before they knew moves on: one election for coming, one for going.
    let terms: BTreeMap<ShardId, Term> = leads_in(&second).into_iter().collect();
    for shard in terms.keys() {
        second.handle().transfer(*shard, first.id, |_| {});
    }
    let went = |shard: &ShardId, before: Term| first.status(*shard).is_some_and(|now| now.term.0 >= before.0 + 2);
    until("all that came has gone", || terms.iter().all(|(shard, before)| went(shard, *before))).await;
    until("nothing is led here", || leads(&[&first], MANY)[0] == 0).await;
    [first, second, third].into_iter().for_each(Node::kill);
}

/// Whether it leads the shard, ready to or not yet.
fn is_leader(node: &Node, shard: ShardId) -> bool {
    node.status(shard).is_some_and(|status| matches!(status.role, Role::Leader { .. }))
}

/// The shards it leads, and in which term.
fn leads_in(node: &Node) -> Vec<(ShardId, Term)> {
    let led = (0..MANY).map(ShardId).filter(|shard| node.leads(*shard));
    led.filter_map(|shard| Some((shard, node.status(shard)?.term))).collect()
}

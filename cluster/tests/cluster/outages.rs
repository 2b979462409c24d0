//! What breaks: a node that leads dies, with etcd and without.

use crate::etcd::Etcd;
use crate::load::{Load, everywhere};
use crate::{Node, leads, three, until};

const SHARDS: u16 = 6;

/// Kills a node that leads something, and sees the others go on with everything.
async fn others_go_on(mut etcd: Etcd, without_etcd: bool) {
    let [first, second, third] = three(&etcd, SHARDS).await;
    let load = Load::start(SHARDS);
    let all = [&first, &second, &third];
    all.iter().for_each(|node| load.add(node));
    until("two each", || leads(&all, SHARDS) == [2, 2, 2]).await;
    if without_etcd {
        etcd.kill(0);
    }
    load.remove(first.id);
    first.kill();
    let others = [&second, &third];
    until("others lead", || leads(&others, SHARDS).iter().sum::<usize>() == usize::from(SHARDS)).await;
    load.more(20).await;
    everywhere(&others, &load.stop().await).await;
    [second, third].into_iter().for_each(Node::kill);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_take_over_from_a_leader_that_dies() {
    others_go_on(Etcd::start(1), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elections_go_on_without_etcd() {
    others_go_on(Etcd::start(1), true).await;
}

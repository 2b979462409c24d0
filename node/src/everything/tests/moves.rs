//! Shards that other nodes hold come once and in order, whatever becomes of leaders and connections; consumers stand at
//! the leaders.

use std::collections::BTreeMap;
use std::sync::Arc;

use steward_actors::domain::ids::ConsumerId;
use steward_cluster::ids::{LogIndex, NodeId, ShardId};

use super::super::{Everything, Places};
use super::world::{Around, Node, Port, SHARDS, everything, read_until};
use crate::gateway::error::Code;
use crate::gateway::forward::Leader;

const A: NodeId = NodeId(11);
const B: NodeId = NodeId(12);
const ACCOUNTS: u64 = 6;
const ROUNDS: u16 = 12;

fn all() -> impl Iterator<Item = ShardId> {
    (0..SHARDS).map(ShardId)
}

/// Every account gets an event.
async fn round(node: &Node) {
    for account in 0..ACCOUNTS {
        node.happens(&format!("account-{account}")).await;
    }
}

/// How many events every account has after so many rounds: one in the first, two in each other.
fn after_rounds(rounds: u16) -> BTreeMap<String, u64> {
    (0..ACCOUNTS).map(|account| (format!("account-{account}"), u64::from(rounds) * 2 - 1)).collect()
}

/// A node in the middle, and one that leads everything, reached at two places as if it were two nodes.
async fn two_doors() -> (Node, Node, Arc<Around>, [Port; 2], Everything) {
    let (middle, far) = (Node::start().await, Node::start().await);
    let doors = [Port::open(&far.shards).await, Port::open(&far.shards).await];
    let around = Arc::new(Around::default());
    around.is_at(A, &doors[0]);
    around.is_at(B, &doors[1]);
    all().for_each(|shard| around.leads(shard, Leader::At(A)));
    let everything = everything(&middle, &around);
    (middle, far, around, doors, everything)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_while_leaders_move() {
    let (_middle, far, around, _doors, everything) = two_doors().await;
    let mut merge = everything.follow(everything.beginning(), vec![], vec![]);
    let mut seen = BTreeMap::new();
    for number in 1..=ROUNDS {
        round(&far).await;
        // One shard after the other changes its leader while its events are on their way.
        let leader = if number % 8 < 4 { B } else { A };
        around.leads(ShardId(number % SHARDS), Leader::At(leader));
        if number % 3 == 0 {
            read_until(&mut merge, &mut seen, &after_rounds(number)).await;
        }
    }
    read_until(&mut merge, &mut seen, &after_rounds(ROUNDS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_is_asked_again_where_it_comes_back() {
    let (_middle, far, around, doors, everything) = two_doors().await;
    let mut merge = everything.follow(everything.beginning(), vec![], vec![]);
    let mut seen = BTreeMap::new();
    round(&far).await;
    read_until(&mut merge, &mut seen, &after_rounds(1)).await;
    drop(doors);
    round(&far).await;
    let again = Port::open(&far.shards).await;
    around.is_at(A, &again);
    read_until(&mut merge, &mut seen, &after_rounds(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_goes_on_elsewhere_with_exactly_the_rest() {
    let (_middle, far, around, _doors, everything) = two_doors().await;
    let mut merge = everything.follow(everything.beginning(), vec![], vec![]);
    let mut seen = BTreeMap::new();
    round(&far).await;
    read_until(&mut merge, &mut seen, &after_rounds(1)).await;
    let cursor = everything.cursor(merge.places());
    drop(merge);
    round(&far).await;
    let other = Node::start().await;
    let elsewhere = super::world::everything(&other, &around);
    let mut merge = elsewhere.follow(elsewhere.reached_places(&cursor).await.unwrap(), vec![], vec![]);
    read_until(&mut merge, &mut seen, &after_rounds(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_stand_at_the_leaders() {
    let (_middle, far, _around, _doors, everything) = two_doors().await;
    let ledger = ConsumerId::parse("ledger").unwrap();
    round(&far).await;
    assert_eq!(everything.consumer(&ledger).await.unwrap(), None);
    let tips = everything.tips().await.unwrap();
    assert!(tips.iter().all(|(shard, tip)| tip == far.shards.log_feed().tip(shard)));
    everything.acknowledge(&ledger, &tips).await.unwrap();
    assert_eq!(everything.consumer(&ledger).await.unwrap(), Some(tips.clone()));

    // Going back is allowed, going ahead is not.
    everything.acknowledge(&ledger, &everything.beginning()).await.unwrap();
    assert_eq!(everything.consumer(&ledger).await.unwrap(), Some(everything.beginning()));
    let mut ahead: Places = tips;
    ahead.set(ShardId(2), LogIndex(1_000_000));
    let refused = everything.acknowledge(&ledger, &ahead).await.unwrap_err();
    assert!(refused.message.starts_with("cursor is ahead of the log of shard 2"), "{refused}");
    let refused = everything.reached_places(&everything.cursor(&ahead)).await.unwrap_err();
    assert!(refused.message.starts_with("cursor is ahead of the log of shard 2"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_nobody_leads_is_waited_for_and_named() {
    let (_middle, far, around, _doors, everything) = two_doors().await;
    round(&far).await;
    around.leads(ShardId(1), Leader::Unknown);
    let waiting = everything.clone();
    let asked = steward_actors::supervisor::spawn("test", async move { waiting.tips().await });
    around.leads(ShardId(1), Leader::At(B));
    asked.await.unwrap().unwrap();
    around.leads(ShardId(1), Leader::Unknown);
    let refused = everything.tips().await.unwrap_err();
    assert_eq!(refused.code, Code::NotLed);
    assert!(refused.message.contains("shard 1"), "{refused}");
}

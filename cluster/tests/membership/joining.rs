//! Who gets in, under which id, and who does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use steward_cluster::clock::SystemClock;
use steward_cluster::format::Format;
use steward_cluster::ids::NodeId;
use steward_cluster::membership::{DataState, JoinConfig, JoinError, rebuild};
use uuid::Uuid;

use crate::etcd::Etcd;
use crate::{after, enter, member, node, until};

/// How often the race is run: who reads before whom writes is different every time.
const RACES: usize = 20;

#[tokio::test]
async fn of_five_nodes_one_founds_the_cluster_and_all_have_ids_of_their_own() {
    let etcd = Etcd::start(1);
    for race in 0..RACES {
        let node = || JoinConfig { cluster: format!("race-{race}"), ..node(&etcd) };
        let configs: [JoinConfig; 5] = std::array::from_fn(|_| node());
        let [a, b, c, d, e] = configs.each_ref().map(enter);
        let (a, b, c, d, e) = tokio::try_join!(a, b, c, d, e).unwrap();
        let joined = [a, b, c, d, e];
        assert_eq!(joined.iter().filter(|joined| joined.is_founder).count(), 1);
        assert!(joined.iter().all(|other| other.cluster_id == joined[0].cluster_id));
        let ids: BTreeSet<u64> = joined.iter().map(|joined| joined.node.0).collect();
        assert_eq!(ids, (1..=5).collect());
        assert_eq!(joined.iter().find(|joined| joined.is_founder).unwrap().node, NodeId(1));
    }
}

#[tokio::test]
async fn a_crash_after_the_join_changes_neither_the_id_nor_the_founder() {
    let etcd = Etcd::start(1);
    let founder = JoinConfig { data: DataState::Standalone, ..node(&etcd) };
    let second = node(&etcd);
    for _ in 0..2 {
        // The answer is never written down, so the folder says the same of itself again.
        let joined = enter(&founder).await.unwrap();
        assert!(joined.is_founder && joined.node == NodeId(1));
        let joined = enter(&second).await.unwrap();
        assert!(!joined.is_founder && joined.node == NodeId(2));
    }
    let founded = enter(&founder).await.unwrap();
    let back = enter(&after(&founder, &founded)).await.unwrap();
    assert!(!back.is_founder && back.node == NodeId(1) && back.cluster_id == founded.cluster_id);
}

#[tokio::test]
async fn wished_ids_are_given_once() {
    let etcd = Etcd::start(1);
    let wish = |id| JoinConfig { node: Some(NodeId(id)), ..node(&etcd) };
    assert!(matches!(enter(&wish(2)).await.err(), Some(JoinError::NotTheFounder { node: NodeId(2), .. })));
    let first = wish(1);
    let joined = enter(&first).await.unwrap();
    assert!(joined.is_founder);
    assert_eq!(enter(&wish(3)).await.unwrap().node, NodeId(3));
    assert_eq!(enter(&wish(2)).await.unwrap().node, NodeId(2));
    assert_eq!(enter(&node(&etcd)).await.unwrap().node, NodeId(4));
    assert!(matches!(enter(&wish(2)).await.err(), Some(JoinError::IdTaken(NodeId(2)))));
    let other = JoinConfig { node: Some(NodeId(7)), ..after(&first, &joined) };
    assert!(matches!(enter(&other).await.err(), Some(JoinError::IdDiffers { wished: NodeId(7), .. })));
}

#[tokio::test]
async fn what_does_not_belong_is_refused_and_told_why() {
    let etcd = Etcd::start(1);
    let first = node(&etcd);
    let joined = enter(&first).await.unwrap();
    let refused = async |config: JoinConfig| enter(&config).await.err().expect("it is refused").to_string();

    let standalone = JoinConfig { data: DataState::Standalone, ..node(&etcd) };
    assert_eq!(
        refused(standalone).await,
        "this data folder belongs to a node without a cluster; it will not be mixed into test, which exists"
    );
    let belongs =
        |cluster_id, id| JoinConfig { data: DataState::Belongs { cluster_id, node: NodeId(id) }, ..node(&etcd) };
    let (other, ours) = (Uuid::now_v7(), joined.cluster_id);
    assert_eq!(
        refused(belongs(other, 1)).await,
        format!("this data folder belongs to cluster {other}; it will not be mixed into test, which is {ours}")
    );
    assert!(refused(belongs(ours, 1)).await.starts_with("node 1 belongs to another data folder"));
    assert_eq!(refused(belongs(ours, 9)).await, "cluster test does not know node 9, the id in this data folder");

    let shards = refused(JoinConfig { shards: 8, ..after(&first, &joined) }).await;
    assert_eq!(shards, "this node is set to 8 shards, cluster test has 4; the number can not change");
    let key = refused(JoinConfig { seal_fingerprint: "bb".to_owned(), ..node(&etcd) }).await;
    assert_eq!(key, "the sealing key of this node (bb) is not the one of cluster test (aa55)");
    let name = refused(JoinConfig { cluster: "a/b".to_owned(), ..node(&etcd) }).await;
    assert!(name.contains("can not name a cluster"), "{name}");
}

#[tokio::test]
async fn a_wiped_etcd_takes_the_cluster_back_only_when_asked_to() {
    let clock = || Arc::new(SystemClock::new());
    let (first, second, joined, second_joined) = {
        let etcd = Etcd::start(1);
        let (first, second) = (node(&etcd), node(&etcd));
        let joined = enter(&first).await.unwrap();
        let second_joined = enter(&second).await.unwrap();
        let refused = rebuild(&after(&first, &joined), NodeId(2), Format::FIRST, clock()).await;
        assert!(matches!(refused, Err(JoinError::NotWiped { .. })), "{refused:?}");
        (after(&first, &joined), after(&second, &second_joined), joined, second_joined)
    };
    let etcd = Etcd::start(1);
    let [first, second] = [first, second].map(|config| JoinConfig { endpoints: etcd.endpoints(), ..config });
    let refused = enter(&first).await.err().unwrap();
    assert!(matches!(refused, JoinError::Wiped { belongs, .. } if belongs == joined.cluster_id), "{refused}");
    assert!(refused.to_string().contains("steward ctl cluster rebuild"), "{refused}");
    let refused = rebuild(&node(&etcd), NodeId(2), Format::FIRST, clock()).await;
    assert!(matches!(refused, Err(JoinError::NothingToRebuild { .. })), "{refused:?}");

    rebuild(&first, NodeId(2), Format::CHECKS, clock()).await.unwrap();
    let old = JoinConfig { format: Format::FIRST, ..second.clone() };
    let refused = enter(&old).await.err();
    assert!(matches!(refused, Some(JoinError::Format { theirs: Format::CHECKS, .. })), "{refused:?}");
    let [first, second] = [first, second].map(|config| JoinConfig { format: Format::CHECKS, ..config });
    let node = |etcd| JoinConfig { format: Format::CHECKS, ..node(etcd) };
    let third = enter(&node(&etcd)).await.unwrap();
    assert_eq!(third.node, NodeId(1002), "ids that may be in use are not given out");
    assert!(!third.is_founder && third.cluster_id == joined.cluster_id);
    let old = JoinConfig { node: Some(NodeId(2)), ..node(&etcd) };
    assert!(matches!(enter(&old).await.err(), Some(JoinError::IdOfOldNode { from: 1002, .. })));
    let back = enter(&second).await.unwrap();
    assert_eq!((back.node, back.cluster_id), (second_joined.node, joined.cluster_id));
    let usurper = JoinConfig { data_id: Uuid::now_v7(), ..second.clone() };
    assert!(matches!(enter(&usurper).await.err(), Some(JoinError::IdTaken(NodeId(2)))));

    let first = member(&first).await;
    until(&first, "its own registration", |view| view.nodes.contains_key(&NodeId(1))).await;
}

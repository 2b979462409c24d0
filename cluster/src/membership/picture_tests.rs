//! What a view makes of what etcd says: outages, grace, foreign clusters, nonsense.

use std::time::Duration;

use uuid::Uuid;

use super::etcd::{Held, Listing, Reach};
use super::keys::{Key, Keys};
use super::picture::{Change, Picture, RETURN_GRACE};
use super::record::{ClusterConfig, NodeInfo, encode};
use crate::format::Format;
use crate::ids::{NodeId, ShardId};

const CLUSTER: Uuid = Uuid::from_u128(1);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn keys() -> Keys {
    Keys::of("test").unwrap()
}

fn config(cluster_id: Uuid) -> Vec<u8> {
    let seal_fingerprint = String::new();
    encode(&ClusterConfig { cluster_id, shards: 2, replicas: 3, seal_fingerprint, founded_by: None, new_ids_from: 1 })
}

fn info() -> Vec<u8> {
    let text = String::new;
    let (address, zone, version) = (text(), text(), text());
    encode(&NodeInfo { address, zone, version, format: Format::FIRST, cores: 1, data: CLUSTER, disk_low: false })
}

fn listing(cluster_id: Uuid, nodes: &[u64]) -> Listing {
    let mut listing = Listing { revision: 7, ..Listing::default() };
    let mut hold = |key, value| listing.held.insert(keys().name(key), Held { value, revision: 1 });
    hold(Key::Config, config(cluster_id));
    for node in nodes {
        hold(Key::Node(NodeId(*node)), info());
    }
    listing
}

fn picture(nodes: &[u64]) -> Picture {
    let mut picture = Picture::new(keys(), CLUSTER, 2);
    picture.replace(&listing(CLUSTER, nodes), at(0)).unwrap();
    picture
}

fn nodes(picture: &Picture) -> Vec<u64> {
    picture.view().nodes.keys().map(|node| node.0).collect()
}

fn lose(picture: &mut Picture, node: u64, now: u64) {
    picture.apply(&[Change::Deleted(&keys().name(Key::Node(NodeId(node))))], at(now)).unwrap();
    picture.settle(at(now));
}

#[test]
fn a_lease_that_runs_out_in_good_times_counts_at_once() {
    let mut picture = picture(&[1, 2]);
    lose(&mut picture, 2, 5);
    assert_eq!(nodes(&picture), [1]);
}

#[test]
fn leases_that_ran_out_in_an_outage_have_a_while_to_come_back() {
    let grace = RETURN_GRACE.as_secs();
    let mut picture = picture(&[1, 2, 3]);
    picture.reach(Reach::Down { since: at(10) });
    assert_eq!(picture.view().etcd_unreachable_since, Some(at(10)));
    lose(&mut picture, 2, 100);
    picture.reach(Reach::Up { since: Some(at(100)) });
    lose(&mut picture, 3, 101);
    assert_eq!(nodes(&picture), [1, 2, 3]);
    // Node 3 registers again, node 2 does not.
    let name = keys().name(Key::Node(NodeId(3)));
    picture.apply(&[Change::Put(&name, &info())], at(102)).unwrap();
    assert_eq!(picture.settle(at(100 + grace - 1)), Some(at(100 + grace)));
    assert_eq!(nodes(&picture), [1, 2, 3]);
    assert_eq!(picture.settle(at(100 + grace)), None);
    assert_eq!(nodes(&picture), [1, 3]);
    lose(&mut picture, 3, 101 + grace);
    assert_eq!(nodes(&picture), [1], "the outage is forgotten");
}

#[test]
fn reading_everything_anew_keeps_who_is_missed_after_an_outage() {
    let mut picture = picture(&[1, 2]);
    picture.reach(Reach::Up { since: Some(at(50)) });
    picture.replace(&listing(CLUSTER, &[1]), at(51)).unwrap();
    assert_eq!(nodes(&picture), [1, 2]);
    picture.replace(&listing(CLUSTER, &[1]), at(500)).unwrap();
    assert_eq!(nodes(&picture), [1]);
}

#[test]
fn another_cluster_or_none_changes_nothing() {
    let mut picture = picture(&[1, 2]);
    picture.replace(&listing(Uuid::from_u128(2), &[7]), at(1)).unwrap_err();
    picture.replace(&Listing::default(), at(1)).unwrap_err();
    let (config, node) = (keys().name(Key::Config), keys().name(Key::Node(NodeId(1))));
    picture.apply(&[Change::Deleted(&node), Change::Deleted(&config)], at(1)).unwrap_err();
    assert_eq!(nodes(&picture), [1, 2]);
}

#[test]
fn what_is_unreadable_or_out_of_range_is_left_out() {
    let mut picture = picture(&[1]);
    let name = |key| keys().name(key);
    let changes = [
        (name(Key::Node(NodeId(2))), b"{".to_vec()),
        (name(Key::Leader(ShardId(2))), b"1".to_vec()),
        (name(Key::Format), b"many".to_vec()),
        (name(Key::Leader(ShardId(1))), b"1".to_vec()),
        ("/steward/test/later/1".to_owned(), vec![]),
    ];
    let changes: Vec<Change<'_>> = changes.iter().map(|(name, value)| Change::Put(name, value)).collect();
    picture.apply(&changes, at(1)).unwrap();
    assert_eq!(nodes(&picture), [1]);
    assert_eq!(picture.view().leaders, [None, Some(NodeId(1))]);
    assert_eq!(picture.view().wished_format, Format::FIRST);
}

#[test]
fn members_of_a_leader_that_knew_no_formats_have_the_first() {
    let mut picture = picture(&[1]);
    let old = br#"{"voters":[1],"learners":[],"leader":1,"term":3,"lag":0}"#;
    let (members, format) = (keys().name(Key::Members(ShardId(0))), keys().name(Key::Format));
    picture.apply(&[Change::Put(&members, old), Change::Put(&format, b"2")], at(1)).unwrap();
    let view = picture.view();
    assert_eq!(view.members[0].as_ref().map(|members| members.format), Some(Format::FIRST));
    assert_eq!(view.wished_format, Format(2));
}

//! Etcd stops, dies, comes back, forgets: calls end in time, the view stays, and registrations come back by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_client::{Client, DeleteOptions};
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_cluster::format::Format;
use steward_cluster::ids::{NodeId, ShardId, Term};
use steward_cluster::membership::{EtcdError, JoinError, LEASE_TTL, Members, Membership, rebuild};

use crate::etcd::Etcd;
use crate::{WAIT_MAX, after, enter, ids, member, node, until};

/// Three tries of one second, and their pauses.
const CALL_MAX: Duration = Duration::from_secs(4);

/// The client in a test's own hands.
async fn by_hand(etcd: &Etcd) -> Client {
    Client::connect(etcd.endpoints(), None).await.unwrap()
}

async fn assert_fails_in_time(membership: &Membership) {
    let clock = SystemClock::new();
    let failure = membership.wish_drain(NodeId(9), true).await.unwrap_err();
    assert!(matches!(failure, EtcdError::Deadline { .. } | EtcdError::Failed { .. }), "{failure}");
    assert!(clock.monotonic() < CALL_MAX, "it took {:?}", clock.monotonic());
}

#[tokio::test]
async fn an_etcd_that_hangs_longer_than_leases_last_changes_nothing() {
    let etcd = Etcd::start(1);
    let first = member(&node(&etcd)).await;
    let second = member(&node(&etcd)).await;
    until(&first, "two nodes", |view| view.nodes.len() == 2).await;
    let mut seen = first.view();
    let shrunk = Arc::new(AtomicBool::new(false));
    let watching = async {
        while seen.changed().await.is_ok() {
            shrunk.fetch_or(seen.borrow().nodes.len() < 2, Ordering::Relaxed);
        }
    };
    let outage = async {
        etcd.pause(0);
        assert_fails_in_time(&first).await;
        let view = until(&first, "the outage", |view| !view.etcd_reachable()).await;
        let since = view.etcd_unreachable_since.unwrap();
        assert_eq!(ids(&view), [1, 2]);
        // Until every lease has run out.
        let clock = SystemClock::new();
        while clock.monotonic() < LEASE_TTL + Duration::from_secs(1) {
            assert_fails_in_time(&first).await;
        }
        assert_eq!(first.view().borrow().etcd_unreachable_since, Some(since), "it is the time of the first failure");
        etcd.go_on(0);
        until(&first, "etcd", |view| view.etcd_reachable()).await;
        let mut client = by_hand(&etcd).await;
        let both = async {
            loop {
                let options = etcd_client::GetOptions::new().with_prefix().with_count_only();
                if client.get("/steward/test/nodes/", Some(options)).await.is_ok_and(|found| found.count() == 2) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT_MAX, both).await.expect("both nodes register again");
        first.wish_drain(NodeId(9), true).await.unwrap();
        until(&second, "a wish from after the outage", |view| view.drains.contains(&NodeId(9))).await;
    };
    tokio::select! {
        () = watching => unreachable!("the node publishes as long as it lives"),
        () = outage => {}
    }
    assert!(!shrunk.load(Ordering::Relaxed), "a node left the view");
}

#[tokio::test]
async fn an_etcd_that_dies_and_comes_back_with_its_data_is_picked_up_again() {
    let mut etcd = Etcd::start(1);
    let first = member(&node(&etcd)).await;
    let second = member(&node(&etcd)).await;
    until(&first, "two nodes", |view| view.nodes.len() == 2).await;
    etcd.kill(0);
    assert_fails_in_time(&first).await;
    let view = until(&first, "the outage", |view| !view.etcd_reachable()).await;
    assert_eq!(ids(&view), [1, 2]);
    // Said while nobody listens.
    second.announce_leaders(vec![(ShardId(1), NodeId(2))]);
    etcd.restart(0);
    let view = until(&first, "what was said", |view| view.leaders[1].is_some()).await;
    assert_eq!(ids(&view), [1, 2]);
    until(&first, "etcd", |view| view.etcd_reachable()).await;
}

/// Asks until etcd takes it: without a leader it takes nothing.
async fn wish(membership: &Membership, node: NodeId) {
    let taken = async { while membership.wish_drain(node, true).await.is_err() {} };
    tokio::time::timeout(WAIT_MAX, taken).await.expect("the others elect a leader and take it");
}

/// Makes sure that the first member follows, so that its death costs no election.
async fn let_others_lead(etcd: &Etcd) {
    let mut client = Client::connect(&etcd.endpoints()[..1], None).await.unwrap();
    let me = client.member_list().await.unwrap().header().unwrap().member_id();
    if client.status().await.unwrap().leader() == me {
        let members = client.member_list().await.unwrap();
        let other = members.members().iter().find(|member| member.id() != me).unwrap().id();
        client.move_leader(other).await.unwrap();
    }
}

#[tokio::test]
async fn when_the_member_in_use_dies_the_same_call_goes_on_with_another() {
    let mut etcd = Etcd::start(3);
    let first = member(&node(&etcd)).await;
    let_others_lead(&etcd).await;
    etcd.kill(0);
    first.wish_drain(NodeId(9), true).await.unwrap();
    until(&first, "the wish", |view| view.drains.contains(&NodeId(9)) && view.etcd_reachable()).await;
    assert_eq!(enter(&node(&etcd)).await.unwrap().node, NodeId(2));
}

#[tokio::test]
async fn with_three_members_any_one_may_die_or_hang() {
    let mut etcd = Etcd::start(3);
    let first = member(&node(&etcd)).await;
    let second = member(&node(&etcd)).await;
    until(&first, "two nodes", |view| view.nodes.len() == 2).await;
    // Each in turn, so that the one in use and the leader are among them.
    for at in 0..3 {
        let [killed, paused] = [100, 200].map(|wish| NodeId(wish + u64::try_from(at).unwrap()));
        etcd.kill(at);
        wish(&first, killed).await;
        until(&second, "a wish", |view| view.drains.contains(&killed)).await;
        etcd.restart(at);
        etcd.pause(at);
        wish(&first, paused).await;
        until(&second, "a wish", |view| view.drains.contains(&paused)).await;
        etcd.go_on(at);
    }
    assert_eq!(ids(&first.view().borrow()), [1, 2]);
}

#[tokio::test]
async fn a_compacted_history_is_read_anew() {
    let etcd = Etcd::start(1);
    let first = member(&node(&etcd)).await;
    until(&first, "itself", |view| view.nodes.len() == 1).await;
    let mut client = by_hand(&etcd).await;
    let put = client.put("/steward/test/drains/5", "{}", None).await.unwrap();
    client.compact(put.header().unwrap().revision(), None).await.unwrap();
    until(&first, "the wish", |view| view.drains.contains(&NodeId(5))).await;
    let second = member(&node(&etcd)).await;
    until(&second, "the wish", |view| view.drains.contains(&NodeId(5)) && view.nodes.len() == 2).await;
}

#[tokio::test]
async fn running_nodes_outlive_a_wiped_etcd_and_come_back_after_a_rebuild() {
    let etcd = Etcd::start(1);
    let configs = [node(&etcd), node(&etcd)];
    let joined = enter(&configs[0]).await.unwrap();
    let belonging = after(&configs[0], &joined);
    let first = joined.register().await.unwrap();
    let second = member(&configs[1]).await;
    let report = Members::level(vec![NodeId(2)], NodeId(2), Term(1));
    second.announce_leaders(vec![(ShardId(0), NodeId(2))]);
    second.report_members(vec![(ShardId(0), report.clone())]);
    until(&first, "all of it", |view| view.nodes.len() == 2 && view.members[0].is_some()).await;

    let mut client = by_hand(&etcd).await;
    client.delete("/steward/test/", Some(DeleteOptions::new().with_prefix())).await.unwrap();
    let refused = enter(&belonging).await.err().unwrap();
    assert!(matches!(refused, JoinError::Wiped { .. }), "{refused}");
    // A change in a cluster that is not theirs does not reach them.
    client.put("/steward/test/drains/5", "{}", None).await.unwrap();

    rebuild(&belonging, NodeId(2), Format::FIRST, Arc::new(SystemClock::new())).await.unwrap();
    let both = async {
        loop {
            let options = etcd_client::GetOptions::new().with_prefix().with_count_only();
            let count = client.get("/steward/test/nodes/", Some(options)).await.unwrap().count();
            let members = client.get("/steward/test/members/0", None).await.unwrap().count();
            if count == 2 && members == 1 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT_MAX, both).await.expect("nodes register and report again");
    let view = until(&first, "the rebuilt cluster", |view| view.drains.contains(&NodeId(5))).await;
    assert_eq!(ids(&view), [1, 2]);
    until(&first, "its report", |view| view.members[0] == Some(report.clone())).await;
}

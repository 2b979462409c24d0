//! The steps of a shard, as tables: from where it is, towards where it should be.

use super::step::{LEVEL_ENTRIES_MAX, Led, NOTHING, Step, next};
use crate::format::Format;
use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::membership::{NodeInfo, Placement, View};
use crate::raft::{Members, PeerProgress, Role, ShardDetail, ShardStatus};

const THIS: NodeId = NodeId(1);
const LAST: u64 = 10_000;

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// A shard led by node 1 with everybody level.
fn detail(voters: &[u64], learners: &[u64]) -> ShardDetail {
    let members = Members { learners: nodes(learners), ..Members::of_voters(&nodes(voters)) };
    let others = members.all().filter(|node| *node != THIS);
    let peer = |node| PeerProgress { node, matched: LogIndex(LAST), is_active: true, takes_snapshot: false };
    let peers = others.map(peer).collect();
    let status = ShardStatus {
        role: Role::Leader { term: Term(3), ready: true },
        term: Term(3),
        first: LogIndex(1),
        last: LogIndex(LAST),
        committed: LogIndex(LAST),
        applied: LogIndex(LAST),
        is_asleep: false,
        is_parked: false,
        format: Format::FIRST,
    };
    ShardDetail { shard: ShardId(0), status, members, peers, heard: 0 }
}

fn view(draining: &[u64]) -> View {
    let info = |id: &u64| NodeInfo {
        address: format!("10.0.0.{id}:7000"),
        zone: "a".to_owned(),
        version: "1".to_owned(),
        format: Format::FIRST,
        cores: 4,
        data: uuid::Uuid::nil(),
        disk_low: false,
    };
    let drains = draining.iter().copied().map(NodeId).collect();
    View { nodes: (1..=6).map(|id| (NodeId(id), info(&id))).collect(), drains, ..View::empty(1) }
}

fn placed(replicas: &[u64], preferred: u64) -> Placement {
    Placement { replicas: nodes(replicas), preferred_leader: Some(NodeId(preferred)), generation: 1 }
}

fn step(detail: &ShardDetail, placement: &Placement, view: &View) -> Step {
    let led = Led { this: THIS, detail, placement: Some(placement), view, gives_up: false, is_settled: true };
    next(&led).0
}

fn change(voters: &[u64], learners: &[u64]) -> Step {
    Step::Change { voters: nodes(voters), learners: nodes(learners) }
}

fn transfer(to: u64) -> Step {
    Step::Transfer { to: NodeId(to) }
}

#[test]
fn every_place_has_a_next_step() {
    type Row = (&'static str, &'static [u64], &'static [u64], &'static [u64], u64, Step);
    let table: &[Row] = &[
        ("at home", &[1, 2, 3], &[], &[1, 2, 3], 1, Step::Stay),
        ("new replicas learn first", &[1], &[], &[1, 2, 3], 1, change(&[1], &[2, 3])),
        ("some learn already", &[1], &[2], &[1, 2, 3], 1, change(&[1], &[2, 3])),
        ("those who learned vote", &[1], &[2, 3], &[1, 2, 3], 1, change(&[1, 2, 3], &[])),
        ("one replaces another", &[1, 2, 3], &[4], &[1, 2, 4], 1, change(&[1, 2, 4], &[])),
        ("a learner too many goes", &[1, 2, 3], &[4], &[1, 2, 3], 1, change(&[1, 2, 3], &[])),
        ("voters too many go", &[1, 2, 3], &[], &[1], 1, change(&[1], &[])),
        ("another leads before this one goes", &[1, 2, 3], &[4], &[2, 3, 4], 3, transfer(3)),
        ("this one stands in", &[1], &[2, 3, 4], &[2, 3, 4], 2, change(&[1, 2, 3], &[4])),
        ("and hands over", &[1, 2, 3], &[4], &[2, 3, 4], 2, transfer(2)),
        ("a pair for a single one", &[1], &[3], &[3], 3, change(&[1, 3], &[])),
        ("which hands over", &[1, 3], &[], &[3], 3, transfer(3)),
        ("the preferred one leads", &[1, 2, 3], &[], &[1, 2, 3], 2, transfer(2)),
    ];
    for (what, voters, learners, replicas, preferred, wanted) in table {
        let step = step(&detail(voters, learners), &placed(replicas, *preferred), &view(&[]));
        assert_eq!(step, *wanted, "{what}");
    }
}

#[test]
fn nobody_votes_or_leads_who_is_not_level() {
    let behind: [fn(&mut PeerProgress); 3] = [
        |peer| peer.matched = LogIndex(LAST - LEVEL_ENTRIES_MAX - 1),
        |peer| peer.is_active = false,
        |peer| peer.takes_snapshot = true,
    ];
    for (at, fall_back) in behind.into_iter().enumerate() {
        let mut learning = detail(&[1], &[2, 3]);
        fall_back(&mut learning.peers[1]);
        assert_eq!(step(&learning, &placed(&[1, 2, 3], 1), &view(&[])), Step::Stay, "learner {at}");
        let mut following = detail(&[1, 2, 3], &[]);
        following.peers.iter_mut().for_each(fall_back);
        assert_eq!(step(&following, &placed(&[1, 2, 3], 2), &view(&[])), Step::Stay, "leader {at}");
        assert_eq!(step(&following, &placed(&[2, 3, 4], 2), &view(&[1])), change(&[1, 2, 3], &[4]));
    }
    let mut asleep = detail(&[1, 2, 3], &[]);
    asleep.status.is_asleep = true;
    asleep.peers.iter_mut().for_each(|peer| peer.is_active = false);
    assert_eq!(step(&asleep, &placed(&[1, 2, 3], 2), &view(&[])), transfer(2), "who sleeps is not away");
}

#[test]
fn voters_go_only_while_a_majority_of_those_who_stay_is_there() {
    let mut shard = detail(&[1, 2, 3, 4, 5], &[]);
    shard.peers.iter_mut().filter(|peer| [2, 3].contains(&peer.node.0)).for_each(|peer| peer.is_active = false);
    assert_eq!(step(&shard, &placed(&[1, 2, 3], 1), &view(&[])), Step::Stay);
    assert_eq!(step(&shard, &placed(&[1, 2, 4], 1), &view(&[])), change(&[1, 2, 4], &[]));
}

#[test]
fn a_node_that_drains_leads_nothing_and_gets_nothing() {
    let shard = detail(&[1, 2, 3], &[]);
    assert_eq!(step(&shard, &placed(&[1, 2, 3], 1), &view(&[1])), transfer(2));
    assert_eq!(step(&shard, &placed(&[1, 2, 3], 1), &view(&[1, 2])), transfer(3));
    assert_eq!(step(&shard, &placed(&[1, 2, 3], 2), &view(&[2])), Step::Stay, "nobody gets what he gives away");
    assert_eq!(step(&shard, &placed(&[1, 2, 3], 1), &view(&[1, 2, 3])), Step::Stay, "it would go round and round");
    assert_eq!(step(&detail(&[1], &[]), &placed(&[3], 3), &view(&[1])), change(&[1], &[3]), "nobody can lead yet");
}

/// The nodes of a view whose disks are nearly full.
fn full(nodes: &[u64]) -> View {
    let mut view = view(&[]);
    for node in nodes {
        view.nodes.get_mut(&NodeId(*node)).unwrap().disk_low = true;
    }
    view
}

#[test]
fn a_node_whose_disk_is_nearly_full_leads_nothing_while_another_can() {
    let (shard, at_home) = (detail(&[1, 2, 3], &[]), placed(&[1, 2, 3], 1));
    assert_eq!(step(&shard, &at_home, &full(&[1])), transfer(2));
    assert_eq!(step(&shard, &at_home, &full(&[1, 2])), transfer(3), "not to one that is full, too");
    assert_eq!(step(&shard, &at_home, &full(&[1, 2, 3])), Step::Stay, "nobody is better");
    assert_eq!(step(&detail(&[1], &[]), &placed(&[1], 1), &full(&[1])), Step::Stay);
    assert_eq!(step(&shard, &placed(&[1, 2, 3], 2), &full(&[2])), Step::Stay, "it is not given back");
    let leaves = View { drains: [NodeId(1)].into(), ..full(&[2, 3]) };
    assert_eq!(step(&shard, &at_home, &leaves), transfer(2), "who leaves hands over all the same");
    let leaves = View { drains: [NodeId(1)].into(), ..full(&[2]) };
    assert_eq!(step(&shard, &at_home, &leaves), transfer(3));
}

#[test]
fn leaders_of_a_node_that_drains_spread_over_the_others() {
    let successor = |shard| {
        step(&ShardDetail { shard: ShardId(shard), ..detail(&[1, 2, 3], &[]) }, &placed(&[1, 2, 3], 1), &view(&[1]))
    };
    assert_eq!([successor(0), successor(1), successor(2)], [transfer(2), transfer(3), transfer(2)]);
}

#[test]
fn a_node_that_ends_leads_nothing_whoever_else_ends() {
    let (shard, view, placement) = (detail(&[1, 2, 3], &[]), view(&[1, 2, 3]), placed(&[1, 2, 3], 1));
    let led =
        Led { this: THIS, detail: &shard, placement: Some(&placement), view: &view, gives_up: true, is_settled: false };
    assert_eq!(next(&led).0, transfer(2));
    let alone = detail(&[1], &[]);
    assert_eq!(next(&Led { detail: &alone, placement: None, ..led }).0, Step::Stay);
}

#[test]
fn a_shard_waits_while_it_changes_and_while_it_is_new_here() {
    let mut joint = detail(&[1, 2, 4], &[]);
    joint.members.outgoing = nodes(&[1, 2, 3]);
    let placement = placed(&[1, 2, 3], 2);
    assert_eq!(step(&joint, &placement, &view(&[1])), Step::Stay);
    let (shard, calm) = (detail(&[1, 2, 3], &[]), view(&[]));
    let led = Led {
        this: THIS,
        detail: &shard,
        placement: Some(&placement),
        view: &calm,
        gives_up: false,
        is_settled: false,
    };
    assert_eq!(next(&led).0, Step::Stay, "not yet");
    assert_eq!(next(&Led { placement: None, ..led }), (Step::Stay, "a placement"));
    assert_eq!(next(&Led { placement: Some(&placed(&[1, 2, 3], 1)), ..led }), (Step::Stay, NOTHING));
}

/// A node that gave its shards up and said goodbye still answers for a moment.
#[test]
fn a_preferred_leader_that_is_not_registered_gets_nothing() {
    let (detail, placement) = (detail(&[1, 2, 3], &[]), placed(&[1, 2, 3], 2));
    let mut view = view(&[]);
    assert_eq!(step(&detail, &placement, &view), transfer(2));
    view.nodes.remove(&NodeId(2));
    assert_eq!(step(&detail, &placement, &view), Step::Stay);
}

//! What every plan promises, over random clusters that grow, shrink, drain and lose nodes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::plan::{Member, Presence, plan};
use crate::ids::NodeId;
use crate::membership::Placement;

type Shards = Vec<Option<Placement>>;

fn member(id: u64, zone: &str) -> Member {
    Member {
        id: NodeId(id),
        zone: zone.to_owned(),
        draining: false,
        disk_low: false,
        cores: 4,
        presence: Presence::Here,
    }
}

fn in_zones(zones: &[&str]) -> Vec<Member> {
    (1..).zip(zones).map(|(id, zone)| member(id, zone)).collect()
}

/// The shards after the plan; a second plan over them must be empty.
fn planned(members: &[Member], current: &[Option<Placement>], replicas: u8) -> Shards {
    let mut next = current.to_vec();
    for (shard, placement) in plan(members, current, replicas) {
        next[usize::from(shard.0)] = Some(placement);
    }
    assert_eq!(plan(members, &next, replicas), [], "a plan over its own result is empty");
    next
}

fn replicas(shards: &Shards) -> impl Iterator<Item = &Vec<NodeId>> {
    shards.iter().flatten().map(|placement| &placement.replicas)
}

fn counts<'a>(nodes: impl Iterator<Item = &'a NodeId>, members: &[Member]) -> BTreeMap<NodeId, usize> {
    let takers = members.iter().filter(|member| member.takes());
    let mut counts: BTreeMap<NodeId, usize> = takers.map(|member| (member.id, 0)).collect();
    for node in nodes {
        if let Some(count) = counts.get_mut(node) {
            *count += 1;
        }
    }
    counts
}

fn gap(counts: &BTreeMap<NodeId, usize>) -> usize {
    counts.values().max().unwrap() - counts.values().min().unwrap()
}

/// Replicas that were not there before.
fn moved(before: &Shards, after: &Shards) -> usize {
    let new =
        |(before, after): (&Vec<NodeId>, &Vec<NodeId>)| after.iter().filter(|node| !before.contains(node)).count();
    replicas(before).zip(replicas(after)).map(new).sum()
}

#[test]
fn a_shard_has_an_odd_number_of_replicas() {
    for (nodes, want) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 3)] {
        let members = in_zones(&vec!["a"; nodes]);
        let shards = planned(&members, &vec![None; 12], 3);
        assert!(replicas(&shards).all(|replicas| replicas.len() == want), "{nodes} nodes: {shards:?}");
    }
}

#[test]
fn a_cluster_grows_from_one_to_three_and_shrinks_to_one() {
    let mut members = in_zones(&["a", "b", "c"]);
    let one = planned(&members[..1], &vec![None; 8], 3);
    let three = planned(&members, &one, 3);
    assert!(replicas(&three).all(|replicas| replicas.len() == 3));
    assert_eq!(moved(&one, &three), 16);
    members[0].draining = true;
    members[1].draining = true;
    let back = planned(&members, &three, 3);
    assert!(replicas(&back).all(|replicas| *replicas == [NodeId(3)]));
    assert!(back.iter().flatten().all(|placement| placement.preferred_leader == Some(NodeId(3))));
    assert!(back.iter().flatten().all(|placement| placement.generation == 3));
}

#[test]
fn a_node_that_is_away_keeps_its_replicas_and_leads_nothing() {
    let mut members = in_zones(&["a", "b", "c", "d"]);
    let before = planned(&members, &vec![None; 16], 3);
    members[1].presence = Presence::Away;
    let after = planned(&members, &before, 3);
    assert_eq!(moved(&before, &after), 0);
    assert!(after.iter().flatten().all(|placement| placement.preferred_leader != Some(NodeId(2))));
    members[1].presence = Presence::Gone;
    let gone = planned(&members, &after, 3);
    assert!(replicas(&gone).all(|replicas| replicas.len() == 3 && !replicas.contains(&NodeId(2))));
}

#[test]
fn the_last_copies_stay_when_a_node_is_gone_and_nobody_can_take_its_place() {
    let mut members = in_zones(&["a", "b", "c"]);
    let before = planned(&members, &vec![None; 4], 3);
    members[2].presence = Presence::Gone;
    let after = planned(&members, &before, 3);
    assert_eq!(replicas(&before).collect::<Vec<_>>(), replicas(&after).collect::<Vec<_>>());
    members[2].draining = true;
    let drained = planned(&members, &after, 3);
    assert!(replicas(&drained).all(|replicas| replicas.len() == 1 && !replicas.contains(&NodeId(3))));
}

#[test]
fn nothing_moves_while_nobody_could_take_it() {
    let mut members = in_zones(&["a", "b", "c"]);
    let before = planned(&members, &vec![None; 4], 3);
    for member in &mut members {
        member.draining = true;
    }
    assert_eq!(plan(&members, &before, 3), []);
    assert_eq!(plan(&[], &before, 3), []);
}

/// A cluster by chance: up to eight nodes in up to four zones, each in some state.
fn members() -> impl Strategy<Value = Vec<Member>> {
    let presence = prop_oneof![6 => Just(Presence::Here), 1 => Just(Presence::Away), 1 => Just(Presence::Gone)];
    let disk_low = prop::bool::weighted(0.2);
    let node = (0..4u8, prop::bool::weighted(0.15), disk_low, 1..64u32, presence, prop::bool::weighted(0.8));
    prop::collection::vec(node, 1..8).prop_map(|nodes| {
        let all = (1..).zip(nodes).filter(|(_, (.., exists))| *exists);
        all.map(|(id, (zone, draining, disk_low, cores, presence, _))| Member {
            id: NodeId(id),
            zone: format!("zone-{zone}"),
            draining,
            disk_low,
            cores,
            presence,
        })
        .collect()
    })
}

/// Checks everything that holds for any cluster and any past.
fn check(members: &[Member], before: &Shards, after: &Shards) {
    let takers: Vec<&Member> = members.iter().filter(|member| member.takes()).collect();
    if takers.is_empty() {
        assert_eq!(before, after);
        return;
    }
    let find = |node: &NodeId| members.iter().find(|member| member.id == *node);
    let zones: BTreeSet<&str> = takers.iter().map(|member| member.zone.as_str()).collect();
    for (old, new) in before.iter().zip(after) {
        let (old, new) = (old.as_ref(), new.as_ref().expect("every shard is placed"));
        assert_eq!(new.replicas.len() % 2, 1, "{new:?}");
        assert!(new.replicas.is_sorted_by(|a, b| a < b), "{new:?}");
        for node in &new.replicas {
            let member = find(node).expect("replicas are members");
            let had_it = old.is_some_and(|old| old.replicas.contains(node));
            assert!(!member.draining, "{node} is draining");
            assert!(member.takes() || had_it, "{node} is not there and got a replica");
        }
        let leads = new.preferred_leader.and_then(|node| find(&node));
        let able = new.replicas.iter().filter(|node| find(node).is_some_and(Member::takes)).count();
        assert!(leads.map_or(able == 0, |leader| leader.takes() && new.replicas.contains(&leader.id)), "{new:?}");
        let has_space = |node: &NodeId| find(node).is_some_and(|member| member.takes() && !member.disk_low);
        let is_better = leads.is_some_and(|leader| leader.disk_low) && new.replicas.iter().any(has_space);
        assert!(!is_better, "the disk of its leader is nearly full: {new:?}");
        let used: BTreeSet<&str> = new.replicas.iter().filter_map(|node| Some(find(node)?.zone.as_str())).collect();
        let enough = zones.iter().all(|zone| used.contains(zone));
        assert!(used.len() == new.replicas.len() || enough, "crowded although a zone is empty: {new:?}");
    }
    for zone in zones {
        let here: Vec<Member> = members.iter().filter(|member| member.zone == zone).cloned().collect();
        assert!(gap(&counts(replicas(after).flatten(), &here)) <= 1, "uneven in {zone}: {after:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_plan_keeps_its_promises(
        history in prop::collection::vec(members(), 1..5),
        shards in 1..40usize,
        replicas in prop::sample::select(vec![1u8, 2, 3, 5]),
    ) {
        let mut current: Shards = vec![None; shards];
        for members in history {
            let next = planned(&members, &current, replicas);
            check(&members, &current, &next);
            current = next;
        }
    }

    #[test]
    fn equal_nodes_are_even_and_one_more_moves_little(
        nodes in 3..9u64,
        shards in 1..80usize,
        own_zones in any::<bool>(),
    ) {
        let zone = |id: u64| if own_zones { format!("zone-{id}") } else { "zone".to_owned() };
        let members: Vec<Member> = (1..=nodes + 1).map(|id| member(id, &zone(id))).collect();
        let before = planned(&members[..members.len() - 1], &vec![None; shards], 3);
        let after = planned(&members, &before, 3);
        for (shards, members) in [(&before, &members[..members.len() - 1]), (&after, &members[..])] {
            let leaders: Vec<NodeId> = shards.iter().flatten().filter_map(|placement| placement.preferred_leader).collect();
            prop_assert!(gap(&counts(replicas(shards).flatten(), members)) <= 1, "{shards:?}");
            prop_assert!(gap(&counts(leaders.iter(), members)) <= 1, "{leaders:?}");
        }
        let fair = (shards * 3).div_ceil(members.len());
        prop_assert!(moved(&before, &after) <= fair, "{} moves, {fair} would be fair", moved(&before, &after));
    }
}

#[test]
fn a_node_whose_disk_is_nearly_full_is_to_lead_nothing_while_another_can() {
    let mut members = in_zones(&["a", "b", "c"]);
    let at_home = planned(&members, &vec![None; 9], 3);
    let led_by = |shards: &Shards, node| {
        shards.iter().flatten().filter(|placement| placement.preferred_leader == Some(NodeId(node))).count()
    };
    members[0].disk_low = true;
    let full = planned(&members, &at_home, 3);
    assert_eq!([1, 2, 3].map(|node| led_by(&full, node)).iter().sum::<usize>(), 9);
    assert_eq!((led_by(&full, 1), gap(&[(NodeId(2), led_by(&full, 2)), (NodeId(3), led_by(&full, 3))].into())), (0, 1));
    assert!(replicas(&full).eq(replicas(&at_home)), "it keeps its replicas");
    members.iter_mut().for_each(|member| member.disk_low = true);
    let all_full = planned(&members, &full, 3);
    assert_eq!([1, 2, 3].map(|node| led_by(&all_full, node)), [3, 3, 3], "nobody is better");
    members.iter_mut().for_each(|member| member.disk_low = false);
    assert_eq!(led_by(&planned(&members, &full, 3), 1), 3, "and it leads again");
}

//! The cluster as operators see it: nodes, shards, and what keeps a shard from being where it should be.

use steward_cluster::format::{self, Format};
use steward_cluster::ids::NodeId;
use steward_cluster::membership::{Members, Placement, View};
use steward_proto::admin::v1 as pb;

use crate::cluster::Company;

/// What this node knows of the cluster.
pub(super) fn of(company: &Company) -> pb::GetClusterResponse {
    let view = company.view();
    let away = company.etcd_away().unwrap_or_default();
    let shards = (0..).zip(&view.placement).zip(&view.members).map(|((shard, wanted), members)| {
        let is = members.as_ref();
        pb::ClusterShard {
            shard,
            leader: leader(&view, shard, is).map_or(0, |node| node.0),
            term: is.map_or(0, |is| is.term.0),
            voters: is.map(|is| numbers(&is.voters)).unwrap_or_default(),
            learners: is.map(|is| numbers(&is.learners)).unwrap_or_default(),
            wanted: wanted.as_ref().map(|wanted| numbers(&wanted.replicas)).unwrap_or_default(),
            lag: is.map_or(0, |is| is.lag),
            waits_for: waits_for(&view, wanted.as_ref(), is),
            format: is.map_or(Format::FIRST, |is| is.format).0.into(),
        }
    });
    let shards: Vec<pb::ClusterShard> = shards.collect();
    let nodes = view.nodes.iter().map(|(node, info)| pb::ClusterNode {
        node_id: node.0,
        address: info.address.clone(),
        zone: info.zone.clone(),
        version: info.version.clone(),
        leads: count(&shards, |shard| shard.leader == node.0),
        holds: count(&shards, |shard| shard.voters.contains(&node.0) || shard.learners.contains(&node.0)),
        draining: view.is_draining(*node),
        controller: view.controller == Some(*node),
        format: info.format.0.into(),
        disk_low: info.disk_low,
    });
    pb::GetClusterResponse {
        name: company.name().to_owned(),
        nodes: nodes.collect(),
        format: shards.iter().map(|shard| shard.format).min().unwrap_or_default(),
        format_known: format::least_known(&view).0.into(),
        shards,
        etcd_away_ms: u64::try_from(away.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The newest word: leaders announce themselves before they report who holds the shard.
fn leader(view: &View, shard: u32, members: Option<&Members>) -> Option<NodeId> {
    let hint = usize::try_from(shard).ok().and_then(|at| view.leaders.get(at).copied().flatten());
    hint.or(members.map(|members| members.leader))
}

/// What has to happen before a shard is where it should be, in one sentence; nothing when it is.
fn waits_for(view: &View, wanted: Option<&Placement>, is: Option<&Members>) -> String {
    let Some(is) = is else { return "its leader has not said where it is".to_owned() };
    let Some(wanted) = wanted else { return "the controller has not placed it".to_owned() };
    let away = wanted.replicas.iter().find(|node| !view.nodes.contains_key(node));
    if let Some(node) = away.filter(|node| !is.voters.contains(node)) {
        return format!("{node} is to hold it and is not registered");
    }
    if let Some((node, blobs)) = is.missing_blobs.first_key_value() {
        return format!("{blobs} of its blobs are still to come to {node}");
    }
    if let Some(node) = wanted.replicas.iter().find(|node| is.learners.contains(node)) {
        return format!("{node} is learning it");
    }
    if let Some(node) = wanted.replicas.iter().find(|node| !is.voters.contains(node)) {
        return format!("{node} is about to learn it");
    }
    if let Some(node) = is.voters.iter().find(|node| !wanted.replicas.contains(node)) {
        return format!("{node} is about to leave it");
    }
    match wanted.preferred_leader {
        Some(node) if node != is.leader && view.nodes.contains_key(&node) => format!("{node} is about to lead it"),
        Some(_) | None => String::new(),
    }
}

fn numbers(nodes: &[NodeId]) -> Vec<u64> {
    nodes.iter().map(|node| node.0).collect()
}

fn count(shards: &[pb::ClusterShard], counts: impl Fn(&pb::ClusterShard) -> bool) -> u32 {
    u32::try_from(shards.iter().filter(|shard| counts(shard)).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use steward_cluster::ids::Term;
    use steward_cluster::membership::NodeInfo;

    use super::*;

    fn info() -> NodeInfo {
        NodeInfo {
            address: "localhost:1".to_owned(),
            zone: String::new(),
            version: "1".to_owned(),
            format: Format::FIRST,
            cores: 2,
            data: uuid::Uuid::nil(),
            disk_low: false,
        }
    }

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn what_a_shard_waits_for_is_said_in_the_order_it_happens() {
        let registered: BTreeMap<_, _> = nodes(&[1, 2, 3]).into_iter().map(|node| (node, info())).collect();
        let view = View { nodes: registered, ..View::default() };
        let wants = |replicas: &[u64], leader| {
            Some(Placement { replicas: nodes(replicas), preferred_leader: Some(NodeId(leader)), generation: 1 })
        };
        let members = |voters: &[u64], learners: &[u64]| {
            let learners = nodes(learners);
            Some(Members { learners, ..Members::level(nodes(voters), NodeId(1), Term(2)) })
        };
        let lacking = |voters: &[u64], node, blobs| {
            members(voters, &[]).map(|is| Members { missing_blobs: [(NodeId(node), blobs)].into(), ..is })
        };
        let table = [
            (wants(&[1], 1), None, "its leader has not said where it is"),
            (None, members(&[1], &[]), "the controller has not placed it"),
            (wants(&[1, 2, 9], 1), members(&[1], &[]), "node 9 is to hold it and is not registered"),
            (wants(&[1, 2, 3], 1), members(&[1], &[]), "node 2 is about to learn it"),
            (wants(&[1, 2, 3], 1), members(&[1], &[2, 3]), "node 2 is learning it"),
            (wants(&[1], 1), members(&[1, 2, 3], &[]), "node 2 is about to leave it"),
            (wants(&[1], 1), lacking(&[1, 2, 3], 1, 7), "7 of its blobs are still to come to node 1"),
            (wants(&[1, 2, 3], 2), members(&[1, 2, 3], &[]), "node 2 is about to lead it"),
            (wants(&[1, 2, 3], 1), members(&[1, 2, 3], &[]), ""),
        ];
        for (wanted, is, expected) in table {
            assert_eq!(waits_for(&view, wanted.as_ref(), is.as_ref()), expected);
        }
    }
}

//! The second half of a plan: which replica of each shard should lead it. Even over the nodes, with few changes.

use std::collections::{BTreeMap, VecDeque};

use super::plan::{Member, Nodes};
use crate::ids::NodeId;

/// The preferred leader of each shard; none where no replica is there to lead.
pub(super) fn assign(nodes: &Nodes<'_>, replicas: &[Vec<NodeId>], led: &[Option<NodeId>]) -> Vec<Option<NodeId>> {
    let candidates: Vec<Vec<NodeId>> = replicas.iter().map(|replicas| candidates(nodes, replicas)).collect();
    let stays = |(led, candidates): (&Option<NodeId>, &Vec<NodeId>)| led.filter(|node| candidates.contains(node));
    let mut leaders: Vec<Option<NodeId>> = led.iter().zip(&candidates).map(stays).collect();
    let able = nodes.values().filter(|member| member.takes());
    let mut load: BTreeMap<NodeId, usize> = able.map(|member| (member.id, 0)).collect();
    for node in leaders.iter().flatten() {
        *load.entry(*node).or_default() += 1;
    }
    for (leader, candidates) in leaders.iter_mut().zip(&candidates).filter(|(leader, _)| leader.is_none()) {
        *leader = candidates.iter().copied().min_by_key(|node| (load.get(node).copied(), *node));
        if let Some(node) = *leader {
            *load.entry(node).or_default() += 1;
        }
    }
    while even_out(&mut leaders, &candidates, &mut load) {}
    leaders
}

/// Those of a shard's replicas that may lead it: one whose disk is nearly full only where all others are no better.
fn candidates(nodes: &Nodes<'_>, replicas: &[NodeId]) -> Vec<NodeId> {
    let those = |may: fn(&Member) -> bool| -> Vec<NodeId> {
        replicas.iter().copied().filter(|node| nodes.get(node).is_some_and(|member| may(member))).collect()
    };
    let first = those(Member::leads_first);
    if first.is_empty() { those(Member::takes) } else { first }
}

/// Takes one leadership from a node with at least two more than another and gives that other one more, over a chain of
/// shards whose leaders move on by one; says whether there was such a chain.
fn even_out(leaders: &mut [Option<NodeId>], candidates: &[Vec<NodeId>], load: &mut BTreeMap<NodeId, usize>) -> bool {
    let mut by_load: Vec<NodeId> = load.keys().copied().collect();
    by_load.sort_by_key(|node| (std::cmp::Reverse(load[node]), *node));
    for from in by_load {
        let chain = chain(leaders, candidates, from, |node| load[&node] + 2 <= load[&from]);
        let Some(last) = chain.last().map(|(_, to)| *to) else { continue };
        for (shard, to) in chain {
            leaders[shard] = Some(to);
        }
        *load.entry(from).or_default() -= 1;
        *load.entry(last).or_default() += 1;
        return true;
    }
    false
}

/// The shortest chain of shards, each led by the node before it, that ends at a node that may take one more.
fn chain(
    leaders: &[Option<NodeId>],
    candidates: &[Vec<NodeId>],
    from: NodeId,
    may_end: impl Fn(NodeId) -> bool,
) -> Vec<(usize, NodeId)> {
    // How each node was reached: by which shard, from which node.
    let mut reached: BTreeMap<NodeId, (usize, NodeId)> = BTreeMap::new();
    let mut waiting = VecDeque::from([from]);
    while let Some(node) = waiting.pop_front() {
        if node != from && may_end(node) {
            let mut chain = vec![];
            let mut at = node;
            while at != from {
                let (shard, before) = reached[&at];
                chain.push((shard, at));
                at = before;
            }
            chain.reverse();
            return chain;
        }
        for (shard, _) in leaders.iter().enumerate().filter(|(_, leader)| **leader == Some(node)) {
            for next in candidates[shard].iter().filter(|next| **next != from) {
                if !reached.contains_key(next) {
                    reached.insert(*next, (shard, node));
                    waiting.push_back(*next);
                }
            }
        }
    }
    vec![]
}

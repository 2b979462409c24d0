//! The first half of a plan: which nodes hold each shard. Spread over zones first, even second, few moves third.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Member, Nodes, Presence, odd};
use crate::ids::NodeId;

/// The replicas of each shard, ascending.
pub(super) fn assign(
    nodes: &Nodes<'_>,
    held: &[Vec<NodeId>],
    led: &[Option<NodeId>],
    seats: usize,
) -> Vec<Vec<NodeId>> {
    let mut board = Board::new(nodes, held);
    let seats: Vec<usize> = (0..held.len()).map(|shard| seats.min(odd(board.reachable(shard, &held[shard])))).collect();
    for (shard, leader) in led.iter().enumerate() {
        board.trim(shard, *leader, seats[shard]);
    }
    for (shard, held) in held.iter().enumerate() {
        board.fill(shard, held, seats[shard]);
    }
    while board.spread() || board.even_out() {}
    board.shards.into_iter().map(|replicas| replicas.into_iter().collect()).collect()
}

/// The replicas as they are so far.
struct Board<'a> {
    nodes: &'a Nodes<'a>,
    shards: Vec<BTreeSet<NodeId>>,
    /// Replicas per node.
    load: BTreeMap<NodeId, usize>,
}

impl<'a> Board<'a> {
    /// What is held and may stay.
    fn new(nodes: &'a Nodes<'a>, held: &[Vec<NodeId>]) -> Self {
        let keeps = |node: &NodeId| nodes.get(node).is_some_and(|member| member.keeps());
        let shards: Vec<BTreeSet<NodeId>> =
            held.iter().map(|replicas| replicas.iter().copied().filter(keeps).collect()).collect();
        let mut load: BTreeMap<NodeId, usize> = nodes.keys().map(|node| (*node, 0)).collect();
        for node in shards.iter().flatten() {
            *load.entry(*node).or_default() += 1;
        }
        Self { nodes, shards, load }
    }

    fn add(&mut self, shard: usize, node: NodeId) {
        if self.shards[shard].insert(node) {
            *self.load.entry(node).or_default() += 1;
        }
    }

    fn remove(&mut self, shard: usize, node: NodeId) {
        if self.shards[shard].remove(&node)
            && let Some(load) = self.load.get_mut(&node)
        {
            *load -= 1;
        }
    }

    fn load(&self, node: NodeId) -> usize {
        self.load.get(&node).copied().unwrap_or_default()
    }

    fn zone(&self, node: NodeId) -> &'a str {
        self.nodes.get(&node).map_or("", |member| member.zone.as_str())
    }

    /// How many replicas of the shard other than `but` are in the zone.
    fn in_zone(&self, shard: usize, zone: &str, but: Option<NodeId>) -> usize {
        self.shards[shard].iter().filter(|node| Some(**node) != but && self.zone(**node) == zone).count()
    }

    fn takers(&self) -> impl Iterator<Item = &'a Member> {
        self.nodes.values().copied().filter(|member| member.takes())
    }

    /// The nodes of a shard that are gone and may stay in want of others.
    fn gone(&self, held: &[NodeId]) -> impl Iterator<Item = NodeId> {
        let may_stay = |member: &Member| !member.draining && member.presence == Presence::Gone;
        held.iter().copied().filter(move |node| self.nodes.get(node).is_some_and(|member| may_stay(member)))
    }

    /// How many nodes could hold the shard.
    fn reachable(&self, shard: usize, held: &[NodeId]) -> usize {
        let others = self.takers().filter(|member| !self.shards[shard].contains(&member.id)).count();
        self.shards[shard].len() + others + self.gone(held).count()
    }

    /// Takes replicas away from a shard that has too many: the absent, the crowded and the loaded go first, its leader
    /// last.
    fn trim(&mut self, shard: usize, leader: Option<NodeId>, seats: usize) {
        while self.shards[shard].len() > seats {
            let replicas = self.shards[shard].iter().copied();
            let is_away = |node| self.nodes.get(&node).is_none_or(|member| member.presence != Presence::Here);
            let worst = replicas.max_by_key(|node| {
                let crowd = self.in_zone(shard, self.zone(*node), None);
                (is_away(*node), Some(*node) != leader, crowd, self.load(*node), *node)
            });
            let Some(worst) = worst else { return };
            self.remove(shard, worst);
        }
    }

    /// Gives a shard the replicas it lacks; where no node can take one, nodes that are gone keep theirs.
    fn fill(&mut self, shard: usize, held: &[NodeId], seats: usize) {
        while self.shards[shard].len() < seats {
            let free = self.takers().filter(|member| !self.shards[shard].contains(&member.id));
            let best = free.min_by_key(|member| {
                let crowd = self.in_zone(shard, &member.zone, None);
                (crowd, self.load(member.id), Reverse(member.cores), member.id)
            });
            let gone = || self.gone(held).find(|node| !self.shards[shard].contains(node));
            match best.map(|member| member.id).or_else(gone) {
                Some(node) => self.add(shard, node),
                None => break,
            }
        }
    }

    /// Moves one replica out of a zone that holds two of its shard into one that holds none; says whether it did.
    fn spread(&mut self) -> bool {
        for shard in 0..self.shards.len() {
            let crowded = |node: &NodeId| self.in_zone(shard, self.zone(*node), None) > 1;
            let from = self.shards[shard].iter().copied().filter(crowded).max_by_key(|node| (self.load(*node), *node));
            let Some(from) = from else { continue };
            let empty = self.takers().filter(|member| self.in_zone(shard, &member.zone, None) == 0);
            let to = empty.min_by_key(|member| (self.load(member.id), Reverse(member.cores), member.id));
            if let Some(to) = to.map(|member| member.id) {
                self.remove(shard, from);
                self.add(shard, to);
                return true;
            }
        }
        false
    }

    /// Moves one replica from a node that has at least two more to one that has fewer, where zones allow it.
    fn even_out(&mut self) -> bool {
        let mut by_load: Vec<NodeId> = self.takers().map(|member| member.id).collect();
        by_load.sort_by_key(|node| (self.load(*node), *node));
        for from in by_load.iter().rev() {
            for to in by_load.iter().take_while(|to| self.load(**to) + 2 <= self.load(*from)) {
                let may_move = |shard: &usize| {
                    let replicas = &self.shards[*shard];
                    let crowds = |node, but| self.in_zone(*shard, self.zone(node), but);
                    let stays_spread = crowds(*to, Some(*from)) <= crowds(*from, Some(*from));
                    replicas.contains(from) && !replicas.contains(to) && stays_spread
                };
                if let Some(shard) = (0..self.shards.len()).find(may_move) {
                    self.remove(shard, *from);
                    self.add(shard, *to);
                    return true;
                }
            }
        }
        false
    }
}

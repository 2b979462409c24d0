//! The controller and the leaders that follow its plans, while everything else goes wrong, too.

use std::collections::BTreeSet;

use rand::RngExt as _;
use rand::rngs::StdRng;
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::placement::{Rehearsal, Step};

use crate::node::Node;
use crate::oracle::Oracle;

/// Replicas that are wanted of each shard.
const REPLICAS: u8 = 3;

/// What etcd holds, and what an old controller thinks it holds.
pub(crate) struct Placing {
    now: Rehearsal,
    /// What leaders have seen of it: sometimes not the newest.
    seen: Rehearsal,
    nodes: BTreeSet<NodeId>,
}

impl Placing {
    pub(crate) fn new(nodes: BTreeSet<NodeId>, shards: u16) -> Self {
        let now = Rehearsal::new(nodes.clone(), shards, REPLICAS);
        Self { seen: now.clone(), now, nodes }
    }

    /// One thing that could happen next.
    pub(crate) fn step(&mut self, rng: &mut StdRng, node: &mut Node, oracle: &mut Oracle, shards: u16) {
        match rng.random_range(0..12) {
            0..4 => self.report(node, shards),
            4..6 => drop(self.now.plan()),
            6 => self.seen = self.now.clone(),
            7..11 => self.follow(node, oracle, shards),
            _ => {
                // Half of the time nobody; never so many that nothing can be held anywhere.
                let drained = self.nodes.iter().copied().filter(|_| rng.random_bool(0.2)).take(self.nodes.len() - 1);
                self.now.drain(drained.collect());
            }
        }
    }

    /// What happens without faults: everybody knows everything.
    pub(crate) fn calm(&mut self, nodes: &mut [Node], oracle: &mut Oracle, shards: u16) {
        self.now.drain(BTreeSet::new());
        nodes.iter().for_each(|node| self.report(node, shards));
        self.now.plan();
        self.seen = self.now.clone();
        nodes.iter_mut().for_each(|node| self.follow(node, oracle, shards));
    }

    /// Whether every shard is where the controller wants it, and it wants nothing else.
    pub(crate) fn is_done(&self, shards: u16) -> bool {
        (0..shards).all(|shard| self.now.is_placed(ShardId(shard))) && !self.now.clone().plan()
    }

    /// For whoever reads a failure.
    pub(crate) fn standing(&self, shard: ShardId) -> String {
        self.now.standing(shard)
    }

    /// What a node that leads shards, or thinks so, says about them.
    fn report(&mut self, node: &Node, shards: u16) {
        for detail in (0..shards).filter_map(|shard| node.detail(ShardId(shard))) {
            self.now.report(node.id, &detail);
        }
    }

    /// What a node does that leads shards, or thinks so.
    fn follow(&self, node: &mut Node, oracle: &mut Oracle, shards: u16) {
        for shard in (0..shards).map(ShardId) {
            let is_ready = node.life.as_ref().is_some_and(|life| life.ready[usize::from(shard.0)]);
            let Some(detail) = node.detail(shard).filter(|_| is_ready) else { continue };
            match self.seen.next(node.id, &detail) {
                Step::Stay => {}
                Step::Change { voters, learners } => node.change(oracle, shard, &voters, &learners),
                Step::Transfer { to } => node.transfer(shard, to),
            }
        }
    }
}

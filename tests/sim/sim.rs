//! The cluster, the network between its nodes, and the dice: every step does one thing that could happen next.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use steward_cluster::ids::{LogIndex, NodeId, ShardId, Term};
use steward_cluster::raft::PeerMessage;

use crate::fault::Fault;
use crate::invariants::Violation;
use crate::node::Node;
use crate::oracle::Oracle;

const SHARDS: u16 = 3;
/// Messages under way; further ones are lost.
const MESSAGES_MAX: usize = 256;
/// Rounds without faults within which everything must be settled.
const SETTLING_ROUNDS_MAX: usize = 600;

/// One run.
pub(crate) struct Sim {
    pub(crate) nodes: Vec<Node>,
    pub(crate) oracle: Oracle,
    rng: StdRng,
    /// Sender and message, in the order they were sent.
    network: Vec<(NodeId, PeerMessage)>,
    /// From whom to whom nothing comes through; a node may hear one that does not hear it.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// How each clock goes: of so many ticks of the wall a node sees one.
    slowness: Vec<u64>,
    wall: u64,
}

impl Sim {
    pub(crate) fn new(seed: u64, nodes: u64, fault: Fault) -> Result<Self, Violation> {
        let voters: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let node = |id: &NodeId| Node::new(*id, voters.clone(), SHARDS, seed, fault);
        let mut sim = Self {
            nodes: voters.iter().map(node).collect(),
            oracle: Oracle::default(),
            rng: StdRng::seed_from_u64(seed),
            network: Vec::new(),
            cut: BTreeSet::new(),
            slowness: vec![1; voters.len()],
            wall: 0,
        };
        sim.nodes.iter_mut().try_for_each(Node::start)?;
        Ok(sim)
    }

    /// One thing that could happen next.
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        let at = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..1000) {
            0..150 => self.propose(at),
            150..330 => self.each_or_one(at, Self::turn),
            330..460 => self.each_or_one(at, Self::write),
            460..590 => self.each_or_one(at, |sim, at| sim.nodes[at].report()),
            590..720 => self.nodes[at].apply(&mut self.oracle)?,
            720..750 => self.tick(),
            750..940 => self.deliver_some(),
            940..955 => self.nodes[at].store.sync(),
            955..970 => self.take_snapshot(at),
            970..973 => self.crash(at),
            973..976 => self.nodes[at].disk.light(self.rng.random_range(0..6)),
            976..996 => self.restart(at)?,
            996..998 => self.cut(at),
            998 => self.slowness[at] = self.rng.random_range(1..4),
            _ => self.cut.clear(),
        }
        Ok(())
    }

    /// Ends all faults and lets everything under way arrive.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        self.cut.clear();
        for round in 0..SETTLING_ROUNDS_MAX {
            for at in 0..self.nodes.len() {
                self.restart(at)?;
                if round % 2 == 0 {
                    self.nodes[at].tick();
                }
                self.turn(at);
                // Everything under way inside a node, not only the oldest of it: a lag would cause elections.
                while self.nodes[at].is_busy() {
                    self.write(at);
                    self.nodes[at].report();
                    self.nodes[at].apply(&mut self.oracle)?;
                }
            }
            for (_, message) in std::mem::take(&mut self.network) {
                self.arrive(message);
            }
            if self.is_settled() {
                return Ok(());
            }
        }
        Err(Violation::new("progress", format!("not settled after {SETTLING_ROUNDS_MAX} rounds without faults")))
    }

    fn is_settled(&self) -> bool {
        let shards = || (0..SHARDS).map(ShardId);
        let led = |shard: ShardId| {
            let ready = |node: &Node| node.life.as_ref().is_some_and(|life| life.ready[usize::from(shard.0)]);
            self.nodes.iter().any(ready)
        };
        let level =
            |shard| self.nodes.iter().all(|node| node.store.applied(shard) == self.nodes[0].store.applied(shard));
        let arrived = if self.nodes.len() == 1 { self.nodes[0].is_quiet() } else { self.answered() };
        arrived && shards().all(led) && shards().all(level)
    }

    /// With peers there is always a heartbeat under way, so the answers tell when the run has come to rest.
    fn answered(&self) -> bool {
        let lives = |by| self.nodes.iter().any(|node| (node.id, node.lives) == by);
        self.oracle.proposals.iter().all(|proposed| !proposed.answers.is_empty() || !lives(proposed.by))
    }

    /// Mostly all nodes are equally fast; now and then one is ahead of the others.
    fn each_or_one(&mut self, one: usize, act: impl Fn(&mut Self, usize)) {
        if self.rng.random_bool(0.7) {
            (0..self.nodes.len()).for_each(|at| act(self, at));
        } else {
            act(self, one);
        }
    }

    /// Mostly to a leader, in its term; now and then to anybody, or by somebody who decided before the last election.
    fn propose(&mut self, anyone: usize) {
        let shard = ShardId(self.rng.random_range(0..SHARDS));
        let leads = |node: &Node| node.life.as_ref().is_some_and(|life| life.ready[usize::from(shard.0)]);
        let leader = self.nodes.iter().position(leads).filter(|_| self.rng.random_bool(0.9));
        let at = leader.unwrap_or(anyone);
        let Some(life) = &self.nodes[at].life else { return };
        let current = life.terms[usize::from(shard.0)].last().copied().unwrap_or(Term(1));
        let stale = self.rng.random_bool(0.1);
        let term = if stale { Term(self.rng.random_range(0..=current.0)) } else { current };
        for _ in 0..self.rng.random_range(1..4) {
            let padding = self.rng.random_range(0..400);
            self.nodes[at].propose(&mut self.oracle, shard, term, padding);
        }
    }

    /// The wall clock moves; whose clock is slow notices only now and then.
    fn tick(&mut self) {
        self.wall += 1;
        for (node, slowness) in self.nodes.iter_mut().zip(&self.slowness) {
            if self.wall.is_multiple_of(*slowness) {
                node.tick();
            }
        }
    }

    /// Cuts a node off from all others, or one link in both directions or in one.
    fn cut(&mut self, at: usize) {
        let one = self.nodes[at].id;
        let other = self.nodes[self.rng.random_range(0..self.nodes.len())].id;
        match self.rng.random_range(0..3) {
            0 => {
                for node in &self.nodes {
                    self.cut.extend([(one, node.id), (node.id, one)]);
                }
            }
            1 => self.cut.extend([(one, other), (other, one)]),
            _ => self.cut.extend([(one, other)]),
        }
    }

    fn turn(&mut self, at: usize) {
        let from = self.nodes[at].id;
        let messages = self.nodes[at].turn();
        self.network.extend(messages.into_iter().map(|message| (from, message)));
        self.network.truncate(MESSAGES_MAX);
    }

    fn write(&mut self, at: usize) {
        if self.nodes[at].write().is_err() {
            self.crash(at);
        }
    }

    fn crash(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.crash(&mut self.rng);
        // Seldom enough the store's engine does not survive it.
        if self.rng.random_bool(0.1) {
            node.store.lose();
        }
    }

    fn restart(&mut self, at: usize) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        if node.life.is_none() {
            node.start()?;
            if node.life.is_none() {
                self.crash(at);
            }
        }
        Ok(())
    }

    /// Some messages arrive, each time any of those under way; a few are lost on the way, a few come again later.
    fn deliver_some(&mut self) {
        for _ in 0..self.rng.random_range(1..16) {
            if self.network.is_empty() {
                return;
            }
            let which = self.rng.random_range(0..self.network.len());
            let (from, message) = self.network.remove(which);
            if self.cut.contains(&(from, message.to())) || self.rng.random_bool(0.02) {
                continue;
            }
            if self.rng.random_bool(0.02) {
                self.network.push((from, message.clone()));
            }
            self.arrive(message);
        }
    }

    fn arrive(&mut self, message: PeerMessage) {
        let to = message.to();
        if let Some(node) = self.nodes.iter_mut().find(|node| node.id == to) {
            node.receive(message);
        }
    }

    fn take_snapshot(&mut self, at: usize) {
        let shard = ShardId(self.rng.random_range(0..SHARDS));
        let durable = self.nodes.iter().map(|node| node.store.durable(shard)).min();
        self.nodes[at].take_snapshot(shard, durable.unwrap_or(LogIndex(0)));
    }
}

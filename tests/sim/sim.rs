//! The cluster and the dice: every step does one thing that could happen next.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use steward_cluster::ids::{NodeId, ShardId, Term};
use steward_cluster::raft::Members;

use crate::fault::Fault;
use crate::invariants::Violation;
use crate::network::Network;
use crate::node::Node;
use crate::oracle::Oracle;
use crate::placing::Placing;

const SHARDS: u16 = 3;
/// Placing is seldom its turn, so it takes a few steps then.
const PLACING_STEPS: usize = 4;
/// Rounds without faults within which everything must be settled.
const SETTLING_ROUNDS_MAX: usize = 600;

/// How many nodes there are, and how many of them hold every shard from the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: u64,
    pub(crate) founders: u64,
    /// Who holds what is decided by the controller's rules, not by dice.
    pub(crate) is_placed: bool,
}

/// One run.
pub(crate) struct Sim {
    pub(crate) nodes: Vec<Node>,
    shape: Shape,
    pub(crate) oracle: Oracle,
    placing: Placing,
    rng: StdRng,
    network: Network,
    /// How each clock goes: of so many ticks of the wall a node sees one.
    slowness: Vec<u64>,
    wall: u64,
}

impl Sim {
    pub(crate) fn new(seed: u64, shape: Shape, fault: Fault) -> Result<Self, Violation> {
        let ids: Vec<NodeId> = (1..=shape.nodes).map(NodeId).collect();
        let founders: Vec<NodeId> = (1..=shape.founders).map(NodeId).collect();
        let node = |id: &NodeId| Node::new(*id, founders.clone(), SHARDS, seed, fault);
        let mut sim = Self {
            nodes: ids.iter().map(node).collect(),
            shape,
            oracle: Oracle::default(),
            placing: Placing::new(ids.iter().copied().collect(), SHARDS),
            rng: StdRng::seed_from_u64(seed),
            network: Network::default(),
            slowness: vec![1; ids.len()],
            wall: 0,
        };
        sim.nodes.iter_mut().try_for_each(Node::start)?;
        Ok(sim)
    }

    /// One thing that could happen next.
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        let at = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..1000) {
            0..130 => self.propose(at),
            130..140 => self.read()?,
            140..150 if self.shape.is_placed => self.place(at),
            140..150 => self.change_members(),
            150..330 => self.each_or_one(at, Self::turn),
            330..460 => self.each_or_one(at, Self::write),
            460..590 => self.each_or_one(at, |sim, at| sim.nodes[at].report()),
            590..720 => self.nodes[at].apply(&mut self.oracle)?,
            720..750 => self.tick(),
            750..940 => self.network.deliver_some(&mut self.rng, &mut self.nodes),
            940..955 => self.nodes[at].store.sync(),
            955..966 => self.take_snapshot(at),
            966..968 => self.transfer(at),
            968..970 => self.leave(at)?,
            970 => self.reseed(at),
            971..973 => self.crash(at),
            973..976 => self.nodes[at].disk.light(self.rng.random_range(0..6)),
            976..995 => self.restart(at)?,
            995..998 => self.cut(at),
            998 => self.slowness[at] = self.rng.random_range(1..4),
            _ => self.network.heal(),
        }
        Ok(())
    }

    /// Ends all faults and lets everything under way arrive.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        self.network.heal();
        self.slowness.fill(1);
        for round in 0..SETTLING_ROUNDS_MAX {
            self.calm_round()?;
            if self.shape.is_placed && round.is_multiple_of(8) {
                self.placing.calm(&mut self.nodes, &mut self.oracle, SHARDS);
            }
            if self.is_settled() {
                return Ok(());
            }
        }
        Err(Violation::new(
            "progress",
            format!("not settled after {SETTLING_ROUNDS_MAX} rounds without faults: {}", self.standing()),
        ))
    }

    /// Everything under way arrives, unless it is cut off, and some time passes.
    fn calm_round(&mut self) -> Result<(), Violation> {
        self.wall += 1;
        for at in 0..self.nodes.len() {
            self.restart(at)?;
            if self.wall.is_multiple_of(2 * self.slowness[at]) {
                self.network.say_alive(&mut self.nodes, at);
                self.nodes[at].tick(1);
                self.leave(at)?;
            }
            self.turn(at);
            // Everything under way inside a node, not only the oldest of it: a lag would cause elections.
            while self.nodes[at].is_busy() {
                self.write(at);
                self.nodes[at].report();
                self.nodes[at].apply(&mut self.oracle)?;
            }
        }
        self.network.deliver_all(&mut self.nodes);
        Ok(())
    }

    /// Cuts a leader off whose time stands still, lets the others elect one and get something acknowledged, and asks both
    /// for a read.
    pub(crate) fn depose(&mut self) -> Result<(), Violation> {
        self.settle()?;
        let shard = ShardId(0);
        let Some(old) = self.leader(shard) else { return Ok(()) };
        self.network.cut_off(self.nodes[old].id, &self.nodes);
        self.slowness[old] = u64::MAX / 4;
        for _ in 0..SETTLING_ROUNDS_MAX {
            self.calm_round()?;
            let ready = |node: &Node| node.life.as_ref().is_some_and(|life| life.ready[usize::from(shard.0)]);
            let new = (0..self.nodes.len()).find(|at| *at != old && ready(&self.nodes[*at]));
            if let Some(new) = new {
                let term =
                    self.nodes[new].life.as_ref().and_then(|life| life.terms[usize::from(shard.0)].last().copied());
                self.nodes[new].propose(&mut self.oracle, shard, term.unwrap_or_default(), 0);
                (0..4).try_for_each(|_| self.calm_round())?;
                self.nodes.iter_mut().try_for_each(|node| node.read(&mut self.oracle, shard))?;
                return (0..4).try_for_each(|_| self.calm_round());
            }
        }
        Err(Violation::new("progress", "nobody replaced a leader that was cut off"))
    }

    /// How every shard stands on every node, for whoever reads a failure.
    fn standing(&self) -> String {
        let shards = (0..SHARDS).map(ShardId);
        let one = |shard| self.nodes.iter().map(move |node| format!("\n  {}: {}", node.id, node.standing(shard)));
        let placed = |shard| if self.shape.is_placed { self.placing.standing(shard) } else { String::new() };
        shards.map(|shard| format!("\n{shard} {}{}", placed(shard), one(shard).collect::<String>())).collect()
    }

    fn is_settled(&self) -> bool {
        let shards = || (0..SHARDS).map(ShardId);
        let led = |shard: ShardId| {
            let ready = |node: &Node| node.life.as_ref().is_some_and(|life| life.ready[usize::from(shard.0)]);
            self.nodes.iter().any(ready)
        };
        let level = |shard| {
            let members = || self.nodes.iter().filter(|node| self.is_member(node, shard));
            let first = members().next().map(|node| node.store.applied(shard));
            members().all(|node| Some(node.store.applied(shard)) == first && !node.is_parked(shard))
        };
        let complete = |shard| self.current_members(shard).is_some_and(|members| !members.is_joint());
        let arrived = if self.nodes.len() == 1 { self.nodes[0].is_quiet() } else { self.answered() };
        let placed = !self.shape.is_placed || self.placing.is_done(SHARDS);
        arrived && placed && shards().all(led) && shards().all(complete) && shards().all(level)
    }

    /// The members of a shard as its newest ready leader sees them.
    fn current_members(&self, shard: ShardId) -> Option<&Members> {
        let at = usize::from(shard.0);
        let ready = |node: &&Node| node.life.as_ref().is_some_and(|life| life.ready[at]);
        let term = |node: &&Node| node.life.as_ref().and_then(|life| life.terms[at].last().copied());
        self.nodes.iter().filter(ready).max_by_key(term)?.members(shard)
    }

    /// Whether a node holds the shard now, as its leader sees it.
    pub(crate) fn is_member(&self, node: &Node, shard: ShardId) -> bool {
        self.current_members(shard).is_some_and(|members| members.contains(node.id))
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
        let leader = self.leader(shard).filter(|_| self.rng.random_bool(0.9));
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

    /// Asks everybody for a read: whoever leads answers, and whoever thinks so must not.
    fn read(&mut self) -> Result<(), Violation> {
        let shard = ShardId(self.rng.random_range(0..SHARDS));
        self.nodes.iter_mut().try_for_each(|node| node.read(&mut self.oracle, shard))
    }

    /// The controller, or whoever follows it, does something.
    fn place(&mut self, at: usize) {
        for _ in 0..PLACING_STEPS {
            self.placing.step(&mut self.rng, &mut self.nodes[at], &mut self.oracle, SHARDS);
        }
    }

    /// Whoever leads a shard is told to let others hold it: some to vote, some to learn.
    fn change_members(&mut self) {
        if self.shape.nodes == 1 {
            return;
        }
        let shard = ShardId(self.rng.random_range(0..SHARDS));
        let Some(at) = self.leader(shard) else { return };
        let Some(members) = self.nodes[at].members(shard).cloned() else { return };
        let (mut voters, mut learners) = (vec![self.nodes[at].id], Vec::new());
        for node in (1..=self.shape.nodes).map(NodeId).filter(|node| *node != self.nodes[at].id) {
            let is_known = members.contains(node);
            match self.rng.random_range(0..4) {
                0 | 1 if is_known => voters.push(node),
                0..3 => learners.push(node),
                _ => {}
            }
        }
        self.nodes[at].change(&mut self.oracle, shard, &voters, &learners);
    }

    fn leader(&self, shard: ShardId) -> Option<usize> {
        let leads = |node: &Node| node.life.as_ref().is_some_and(|life| life.ready[usize::from(shard.0)]);
        self.nodes.iter().position(leads)
    }

    fn transfer(&mut self, to: usize) {
        let shard = ShardId(self.rng.random_range(0..SHARDS));
        if let Some(at) = self.leader(shard) {
            let to = self.nodes[to].id;
            self.nodes[at].transfer(shard, to);
        }
    }

    /// A node that seems to be out asks whoever leads its shards, and lets go of those it was told it may.
    fn leave(&mut self, at: usize) -> Result<(), Violation> {
        let id = self.nodes[at].id;
        for shard in (0..SHARDS).map(ShardId) {
            let is_out = self.current_members(shard).is_some_and(|members| !members.contains(id));
            if is_out && self.nodes[at].members(shard).is_some() {
                let heard = self.nodes[at].heard_of_leaders(shard);
                let leads = |node: &Node| node.life.as_ref().is_some_and(|life| life.ready[usize::from(shard.0)]);
                for leader in self.nodes.iter_mut().filter(|node| leads(node)) {
                    leader.ask_about(&mut self.oracle, shard, (id, heard))?;
                }
            }
        }
        for (node, shard, heard) in std::mem::take(&mut self.oracle.may_leave) {
            self.nodes.iter_mut().filter(|known| known.id == node).for_each(|known| known.leave(shard, heard));
        }
        Ok(())
    }

    /// The wall clock moves; whose clock is slow notices only now and then.
    fn tick(&mut self) {
        self.wall += 1;
        (0..self.nodes.len()).for_each(|at| self.network.say_alive(&mut self.nodes, at));
        for (node, slowness) in self.nodes.iter_mut().zip(&self.slowness) {
            if self.wall.is_multiple_of(*slowness) {
                node.tick(self.rng.random_range(1..=4));
            }
        }
    }

    /// Cuts a node off from all others, or one link in both directions or in one.
    fn cut(&mut self, at: usize) {
        let one = self.nodes[at].id;
        let other = self.nodes[self.rng.random_range(0..self.nodes.len())].id;
        match self.rng.random_range(0..3) {
            0 => {
                self.network.cut_off(one, &self.nodes);
                // A zombie: it would notice, but its time goes slowly.
                self.slowness[at] = self.rng.random_range(1..6);
            }
            1 => self.network.cut(&[(one, other), (other, one)]),
            _ => self.network.cut(&[(one, other)]),
        }
    }

    /// A node finds that its state is wrong. Here it never is, so whatever replaces it must be the same.
    fn reseed(&mut self, at: usize) {
        let shard = ShardId(self.rng.random_range(0..SHARDS));
        self.oracle.reseeds += usize::from(self.nodes[at].reseed(shard));
    }

    fn turn(&mut self, at: usize) {
        let from = self.nodes[at].id;
        let messages = self.nodes[at].turn();
        self.network.send(from, messages);
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

    fn take_snapshot(&mut self, at: usize) {
        let shard = ShardId(self.rng.random_range(0..SHARDS));
        self.nodes[at].take_snapshot(shard);
    }
}

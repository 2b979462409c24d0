//! The network between simulated nodes: what is under way, who does not hear whom, and how messages get lost, doubled and
//! out of order. The steps of `sim.rs` move it.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::rngs::StdRng;
use steward_cluster::ids::NodeId;
use steward_cluster::raft::PeerMessage;

use crate::node::Node;

/// Messages under way; further ones are lost.
const MESSAGES_MAX: usize = 256;

#[derive(Default)]
pub(crate) struct Network {
    /// Sender and message, in the order they were sent.
    under_way: Vec<(NodeId, PeerMessage)>,
    /// From whom to whom nothing comes through; a node may hear one that does not hear it.
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    pub(crate) fn send(&mut self, from: NodeId, messages: Vec<PeerMessage>) {
        self.under_way.extend(messages.into_iter().map(|message| (from, message)));
        self.under_way.truncate(MESSAGES_MAX);
    }

    pub(crate) fn cut(&mut self, links: &[(NodeId, NodeId)]) {
        self.cut.extend(links);
    }

    /// Cuts a node off from all, in both directions.
    pub(crate) fn cut_off(&mut self, one: NodeId, nodes: &[Node]) {
        self.cut.extend(nodes.iter().flat_map(|node| [(one, node.id), (node.id, one)]));
    }

    /// Nothing is cut any more.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// The others hear that a node is alive, unless they are cut off from it.
    pub(crate) fn say_alive(&self, nodes: &mut [Node], at: usize) {
        let (from, lives, alive) = (nodes[at].id, nodes[at].lives, nodes[at].life.is_some());
        for node in nodes.iter_mut().filter(|node| alive && node.id != from) {
            if !self.cut.contains(&(from, node.id)) {
                node.heard(from, lives);
            }
        }
    }

    /// Some messages arrive, each time any of those under way; a few are lost on the way, a few come again later.
    pub(crate) fn deliver_some(&mut self, rng: &mut StdRng, nodes: &mut [Node]) {
        for _ in 0..rng.random_range(1..16) {
            if self.under_way.is_empty() {
                return;
            }
            let which = rng.random_range(0..self.under_way.len());
            let (from, message) = self.under_way.remove(which);
            if self.cut.contains(&(from, message.to())) || rng.random_bool(0.02) {
                continue;
            }
            if rng.random_bool(0.02) {
                self.under_way.push((from, message.clone()));
            }
            self.arrive(nodes, from, message);
        }
    }

    /// Everything under way arrives, in order, unless it is cut off.
    pub(crate) fn deliver_all(&mut self, nodes: &mut [Node]) {
        for (from, message) in std::mem::take(&mut self.under_way) {
            if !self.cut.contains(&(from, message.to())) {
                self.arrive(nodes, from, message);
            }
        }
    }

    fn arrive(&mut self, nodes: &mut [Node], from: NodeId, message: PeerMessage) {
        let place = |id| nodes.iter().position(|node| node.id == id).expect("nodes stay");
        let (sender, receiver) = (place(from), place(message.to()));
        let lives = nodes[sender].lives;
        nodes[receiver].heard(from, lives);
        if let Some(index) = message.snapshot() {
            // Fetched from whoever has said so, if it is there and still has it.
            let there = nodes[sender].life.is_some() && !self.cut.contains(&(from, message.to()));
            let snapshot = nodes[sender].store.snapshot(message.shard, index).filter(|_| there);
            match snapshot {
                Some(snapshot) => nodes[receiver].store.fetched(message.shard, snapshot),
                None => return self.under_way.push((message.to(), message.snapshot_failed())),
            }
        }
        nodes[receiver].receive(message);
    }
}

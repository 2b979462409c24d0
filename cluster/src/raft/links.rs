//! Which nodes were heard of lately: what one node knows of the others for all its groups at once. The core keeps it.

use std::collections::BTreeMap;

use crate::ids::NodeId;

/// The nodes that were ever heard of.
pub(crate) struct Links {
    nodes: BTreeMap<NodeId, Heard>,
    /// Ticks there were.
    now: usize,
    /// Ticks without a sign of life after which a node counts as lost.
    silence_max: usize,
}

struct Heard {
    /// Which process it was.
    boot: u64,
    /// Ticks there were until then.
    at: usize,
    is_lost: bool,
}

impl Links {
    pub(crate) fn new(silence_max: usize) -> Self {
        Self { nodes: BTreeMap::new(), now: 0, silence_max }
    }

    /// A sign of life, so many ticks after those that were counted. True when the process that was there before is gone.
    pub(crate) fn heard(&mut self, node: NodeId, boot: u64, uncounted: usize) -> bool {
        let heard = Heard { boot, at: self.now + uncounted, is_lost: false };
        let before = self.nodes.insert(node, heard);
        before.is_some_and(|before| before.boot != boot)
    }

    /// Time passes. Gives the nodes that are lost from now on.
    pub(crate) fn tick(&mut self, ticks: usize) -> Vec<NodeId> {
        self.now += ticks;
        let mut lost = Vec::new();
        for (node, heard) in &mut self.nodes {
            if !heard.is_lost && self.now.saturating_sub(heard.at) >= self.silence_max {
                heard.is_lost = true;
                lost.push(*node);
            }
        }
        lost
    }

    /// Ticks until the next node is lost if nothing is heard; none when none is left to lose.
    pub(crate) fn next_loss(&self) -> Option<usize> {
        let left = |heard: &Heard| (heard.at + self.silence_max).saturating_sub(self.now);
        self.nodes.values().filter(|heard| !heard.is_lost).map(left).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId(2);

    #[test]
    fn a_node_is_lost_once_when_it_is_silent_or_another_process() {
        let mut links = Links::new(3);
        assert_eq!(links.next_loss(), None);
        assert!(!links.heard(PEER, 7, 0));
        assert_eq!([links.tick(1), links.tick(1)], [vec![], vec![]]);
        assert!(!links.heard(PEER, 7, 0));
        assert_eq!([links.tick(1), links.tick(1), links.tick(1)], [vec![], vec![], vec![PEER]]);
        assert_eq!([links.tick(1), links.tick(4)], [vec![], vec![]]);
        assert!(!links.heard(PEER, 7, 0));
        assert_eq!([links.tick(2), links.tick(2), links.tick(2)], [vec![], vec![PEER], vec![]]);
        assert!(links.heard(PEER, 8, 0));
    }

    #[test]
    fn silence_is_counted_from_when_a_sign_came() {
        let mut links = Links::new(3);
        links.heard(PEER, 7, 3);
        assert_eq!((links.tick(4), links.next_loss()), (vec![], Some(2)));
        assert_eq!((links.tick(1), links.next_loss()), (vec![], Some(1)));
        assert_eq!((links.tick(1), links.next_loss()), (vec![PEER], None));
        links.heard(PEER, 7, 0);
        assert_eq!(links.next_loss(), Some(3));
    }
}

//! Which nodes were heard of lately: what one node knows of the others for all its groups at once. The core keeps it.

use std::collections::BTreeMap;

use crate::ids::NodeId;

/// The nodes that were ever heard of.
pub(crate) struct Links {
    nodes: BTreeMap<NodeId, Heard>,
    /// Ticks without a sign of life after which a node counts as lost.
    silence_max: usize,
}

struct Heard {
    /// Which process it was.
    boot: u64,
    /// Ticks since then.
    silence: usize,
}

impl Links {
    pub(crate) fn new(silence_max: usize) -> Self {
        Self { nodes: BTreeMap::new(), silence_max }
    }

    /// A sign of life. True when the process that was there before is gone.
    pub(crate) fn heard(&mut self, node: NodeId, boot: u64) -> bool {
        let before = self.nodes.insert(node, Heard { boot, silence: 0 });
        before.is_some_and(|before| before.boot != boot)
    }

    /// Time passes. Gives the nodes that are lost from now on.
    pub(crate) fn tick(&mut self, ticks: usize) -> Vec<NodeId> {
        let mut lost = Vec::new();
        for (node, heard) in &mut self.nodes {
            let before = heard.silence;
            heard.silence = before.saturating_add(ticks);
            if before < self.silence_max && heard.silence >= self.silence_max {
                lost.push(*node);
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_lost_once_when_it_is_silent_or_another_process() {
        let mut links = Links::new(3);
        assert!(!links.heard(NodeId(2), 7));
        assert_eq!([links.tick(1), links.tick(1)], [vec![], vec![]]);
        assert!(!links.heard(NodeId(2), 7));
        assert_eq!([links.tick(1), links.tick(1), links.tick(1)], [vec![], vec![], vec![NodeId(2)]]);
        assert_eq!([links.tick(1), links.tick(4)], [vec![], vec![]]);
        assert!(!links.heard(NodeId(2), 7));
        assert_eq!([links.tick(2), links.tick(2), links.tick(2)], [vec![], vec![NodeId(2)], vec![]]);
        assert!(links.heard(NodeId(2), 8));
    }
}

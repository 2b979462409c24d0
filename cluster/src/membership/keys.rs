//! The names of the keys in etcd, both ways. Everything that reads or writes etcd names keys through it.

use crate::ids::{NodeId, ShardId};

/// A key of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Config,
    NextNode,
    Controller,
    Format,
    Node(NodeId),
    Known(NodeId),
    Drain(NodeId),
    Placement(ShardId),
    Members(ShardId),
    Leader(ShardId),
}

/// The keys of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    root: String,
}

impl Keys {
    /// The keys of the cluster of this name; nothing when the name would not be one step of a key.
    pub(crate) fn of(cluster: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_name = !cluster.is_empty() && cluster.chars().all(plain);
        is_name.then(|| Self { root: format!("/steward/{cluster}/") })
    }

    /// What all keys of the cluster start with; ends with a slash.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    pub(crate) fn name(&self, key: Key) -> String {
        let root = &self.root;
        match key {
            Key::Config => format!("{root}config"),
            Key::NextNode => format!("{root}next_node"),
            Key::Controller => format!("{root}controller"),
            Key::Format => format!("{root}format"),
            Key::Node(node) => format!("{root}nodes/{}", node.0),
            Key::Known(node) => format!("{root}known/{}", node.0),
            Key::Drain(node) => format!("{root}drains/{}", node.0),
            Key::Placement(shard) => format!("{root}placement/{}", shard.0),
            Key::Members(shard) => format!("{root}members/{}", shard.0),
            Key::Leader(shard) => format!("{root}leaders/{}", shard.0),
        }
    }

    /// The key of this name; nothing for keys of other clusters or later versions.
    pub(crate) fn parse(&self, name: &str) -> Option<Key> {
        let rest = name.strip_prefix(&self.root)?;
        let (kind, number) = rest.split_once('/').unwrap_or((rest, ""));
        let node = || number.parse().ok().map(NodeId);
        let shard = || number.parse().ok().map(ShardId);
        match kind {
            "config" => Some(Key::Config),
            "next_node" => Some(Key::NextNode),
            "controller" => Some(Key::Controller),
            "format" => Some(Key::Format),
            "nodes" => node().map(Key::Node),
            "known" => node().map(Key::Known),
            "drains" => node().map(Key::Drain),
            "placement" => shard().map(Key::Placement),
            "members" => shard().map(Key::Members),
            "leaders" => shard().map(Key::Leader),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_again_under_its_name() {
        let keys = Keys::of("prod-1").unwrap();
        let (node, shard) = (NodeId(7), ShardId(63));
        let plain = [Key::Config, Key::NextNode, Key::Controller, Key::Format];
        let of_nodes = [Key::Node(node), Key::Known(node), Key::Drain(node)];
        let of_shards = [Key::Placement(shard), Key::Members(shard), Key::Leader(shard)];
        for key in plain.into_iter().chain(of_nodes).chain(of_shards) {
            assert_eq!(keys.parse(&keys.name(key)), Some(key));
        }
        assert_eq!(keys.name(Key::Node(node)), "/steward/prod-1/nodes/7");
        assert_eq!(keys.parse("/steward/prod-10/nodes/7"), None);
        assert_eq!(keys.parse("/steward/prod-1/nodes/x"), None);
        assert_eq!(keys.parse("/steward/prod-1/later/1"), None);
    }

    #[test]
    fn a_name_is_one_step_of_a_key() {
        for name in ["", "a/b", "a b", "ä"] {
            assert!(Keys::of(name).is_none(), "{name}");
        }
    }
}

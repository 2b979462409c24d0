//! The view in the making: what etcd lists and what happens there go in, a [`View`] comes out. Pure but for its inputs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::etcd::{Listing, Reach};
use super::keys::{Key, Keys};
use super::record::{ClusterConfig, NodeInfo, decode};
use super::register::LEASE_TTL;
use super::view::View;
use crate::format::Format;
use crate::ids::{NodeId, ShardId};

/// After an outage of etcd, nodes whose leases ran out in it stay in the view for so long, to register again.
pub const RETURN_GRACE: Duration = LEASE_TTL;

/// Etcd holds another cluster, or none.
#[derive(Debug, thiserror::Error)]
#[error("etcd does not hold the cluster of this node any more; was it wiped?")]
pub(crate) struct NotOurs;

/// Something that happened in etcd.
pub(super) enum Change<'a> {
    Put(&'a str, &'a [u8]),
    Deleted(&'a str),
}

/// The newest view, and what it needs to go on.
pub(crate) struct Picture {
    keys: Keys,
    cluster_id: Uuid,
    view: View,
    reach: Reach,
    /// Nodes that are gone from etcd and stay in the view until then.
    missed: BTreeMap<NodeId, Duration>,
}

impl Picture {
    pub(crate) fn new(keys: Keys, cluster_id: Uuid, shards: u16) -> Self {
        let view = View::empty(shards);
        Self { keys, cluster_id, view, reach: Reach::Up { since: None }, missed: BTreeMap::new() }
    }

    /// The view as it is now.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Takes in whether etcd answers.
    pub(super) fn reach(&mut self, reach: Reach) {
        self.reach = reach;
        self.view.etcd_unreachable_since = match reach {
            Reach::Up { .. } => None,
            Reach::Down { since } => Some(since),
        };
    }

    /// Takes in all of etcd. The view stays as it is when that is not the cluster of this node.
    pub(crate) fn replace(&mut self, listing: &Listing, now: Duration) -> Result<(), NotOurs> {
        let config = listing.held.get(&self.keys.name(Key::Config));
        let config = config.and_then(|held| decode::<ClusterConfig>(&held.value).ok());
        if config.is_none_or(|config| config.cluster_id != self.cluster_id) {
            return Err(NotOurs);
        }
        let shards = u16::try_from(self.view.placement.len()).unwrap_or(u16::MAX);
        let old = std::mem::replace(&mut self.view, View::empty(shards));
        self.view.etcd_unreachable_since = old.etcd_unreachable_since;
        for (name, held) in &listing.held {
            self.put(name, &held.value);
        }
        for (node, info) in old.nodes {
            if !self.view.nodes.contains_key(&node) && self.miss(node, now) {
                self.view.nodes.insert(node, info);
            }
        }
        Ok(())
    }

    /// Takes in what happened. When the cluster itself was touched nothing is taken in: all of etcd has to be read.
    pub(super) fn apply(&mut self, changes: &[Change<'_>], now: Duration) -> Result<(), NotOurs> {
        let config = self.keys.name(Key::Config);
        if changes.iter().any(|(Change::Put(name, _) | Change::Deleted(name))| *name == config) {
            return Err(NotOurs);
        }
        for change in changes {
            match change {
                Change::Put(name, value) => self.put(name, value),
                Change::Deleted(name) => self.delete(name, now),
            }
        }
        Ok(())
    }

    /// Lets go of nodes that did not come back in time; says when to ask again.
    pub(super) fn settle(&mut self, now: Duration) -> Option<Duration> {
        if matches!(self.reach, Reach::Up { .. }) {
            let late: Vec<NodeId> =
                self.missed.iter().filter(|(_, until)| **until <= now).map(|(node, _)| *node).collect();
            for node in late {
                self.missed.remove(&node);
                self.view.nodes.remove(&node);
            }
        }
        self.missed.values().min().copied()
    }

    /// Notes that a node is gone from etcd; says whether it stays in the view for now.
    fn miss(&mut self, node: NodeId, now: Duration) -> bool {
        let until = match self.reach {
            Reach::Up { since: None } => return false,
            Reach::Up { since: Some(since) } => since + RETURN_GRACE,
            Reach::Down { .. } => now + RETURN_GRACE,
        };
        let stays = until > now;
        if stays {
            self.missed.insert(node, until);
        }
        stays
    }

    fn put(&mut self, name: &str, value: &[u8]) {
        let view = &mut self.view;
        match self.keys.parse(name) {
            Some(Key::Node(node)) => {
                if let Some(info) = readable::<NodeInfo>(name, value) {
                    view.nodes.insert(node, info);
                    self.missed.remove(&node);
                }
            }
            Some(Key::Known(node)) => {
                view.known.insert(node);
            }
            Some(Key::Drain(node)) => {
                view.drains.insert(node);
            }
            Some(Key::Controller) => view.controller = readable(name, value),
            Some(Key::Format) => view.wished_format = readable(name, value).unwrap_or(view.wished_format),
            Some(Key::Placement(shard)) => set(&mut view.placement, shard, readable(name, value)),
            Some(Key::Members(shard)) => set(&mut view.members, shard, readable(name, value)),
            Some(Key::Leader(shard)) => set(&mut view.leaders, shard, readable(name, value)),
            Some(Key::Config | Key::NextNode) | None => {}
        }
    }

    fn delete(&mut self, name: &str, now: Duration) {
        let view = &mut self.view;
        match self.keys.parse(name) {
            Some(Key::Node(node)) => {
                if !self.miss(node, now) {
                    self.view.nodes.remove(&node);
                }
            }
            Some(Key::Known(node)) => {
                view.known.remove(&node);
            }
            Some(Key::Drain(node)) => {
                view.drains.remove(&node);
            }
            Some(Key::Controller) => view.controller = None,
            Some(Key::Format) => view.wished_format = Format::FIRST,
            Some(Key::Placement(shard)) => set(&mut view.placement, shard, None),
            Some(Key::Members(shard)) => set(&mut view.members, shard, None),
            Some(Key::Leader(shard)) => set(&mut view.leaders, shard, None),
            Some(Key::Config | Key::NextNode) | None => {}
        }
    }
}

fn set<T>(list: &mut [Option<T>], shard: ShardId, value: Option<T>) {
    if let Some(place) = list.get_mut(usize::from(shard.0)) {
        *place = value;
    }
}

fn readable<T: DeserializeOwned>(name: &str, value: &[u8]) -> Option<T> {
    decode(value)
        .inspect_err(|error| {
            tracing::warn!(key = name, %error, "a key of etcd is unreadable");
        })
        .ok()
}

//! When a higher format may be put in force: pure rules over a view of the cluster.
//!
//! # Decisions
//! - All registered nodes must know it, not only those that hold the shard: any of them may be given a replica next.
//!   And whoever holds the shard must be registered: a node that is away may come back with an older binary.
//! - An operator says when ([`View::finalized`]); until then nodes go back to the binary before. See
//!   `docs/decisions/0008-formats-rise-by-barriers.md`.

use super::Format;
use crate::ids::{NodeId, ShardId};
use crate::membership::{Members, View};

/// What keeps a cluster from a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A node's binary is too old.
    #[error("{node} runs version {version}, which knows up to {knows}: upgrade it first")]
    Behind {
        /// The node.
        node: NodeId,
        /// The version of its binary.
        version: String,
        /// The highest format that knows.
        knows: Format,
    },
    /// Nobody can tell what a node knows.
    #[error("{node} holds {shard} and is not registered: start it, or wait until another one has taken its place")]
    Absent {
        /// The node.
        node: NodeId,
        /// A shard it holds.
        shard: ShardId,
    },
}

/// The format that a shard's leader is to put in force now, if it is not in force already.
#[must_use]
pub fn due(view: &View, shard: ShardId, in_force: Format) -> Option<Format> {
    let format = view.finalized().min(Format::NEWEST);
    let members = view.members.get(usize::from(shard.0))?.as_ref()?;
    let is_free = behind(view, format).is_none() && absent(view, shard, members).is_none();
    (format > in_force && is_free).then_some(format)
}

/// The highest format that every registered node knows.
#[must_use]
pub fn least_known(view: &View) -> Format {
    view.nodes.values().map(|node| node.format).min().unwrap_or_default()
}

/// The format an operator who finalizes now wants: the highest that any node knows.
///
/// # Errors
/// What keeps the cluster from it.
pub(crate) fn target(view: &View) -> Result<Format, Obstacle> {
    let format = view.nodes.values().map(|node| node.format).max().unwrap_or_default();
    let held = (0..).map(ShardId).zip(&view.members);
    let mut held = held.filter_map(|(shard, members)| Some((shard, members.as_ref()?)));
    let obstacle = behind(view, format).or_else(|| held.find_map(|(shard, members)| absent(view, shard, members)));
    obstacle.map_or(Ok(format), Err)
}

fn behind(view: &View, format: Format) -> Option<Obstacle> {
    let (node, info) = view.nodes.iter().find(|(_, info)| info.format < format)?;
    Some(Obstacle::Behind { node: *node, version: info.version.clone(), knows: info.format })
}

fn absent(view: &View, shard: ShardId, members: &Members) -> Option<Obstacle> {
    let mut holders = members.voters.iter().chain(&members.learners);
    let node = holders.find(|node| !view.nodes.contains_key(node))?;
    Some(Obstacle::Absent { node: *node, shard })
}

//! ⑧ All accounts of the whole cluster on any node, their events for one subscriber and themselves as a list: finds who
//! holds each shard, merges what they say, and keeps where named consumers stand. The gateway calls [`Everything`]; the
//! composition root serves [`FeedServer`] to other nodes.
//!
//! Shards held here are read here, leader or not: what is applied is committed. What only others hold comes from its
//! leader, one stream per node. A place in a shard is one log index, whoever holds it, so a subscriber moves between
//! nodes, and shards move beneath it, with nothing but its cursor.
//!
//! # Invariants
//! - **A1 once**: of each shard, what is handed on continues where the last page ended, whatever sources overlap.
//! - **A2 own order**: within a shard the order is that of its log; between shards none is promised.
//! - **A3 one hop**: what another node asks is answered from this node's own shards or not at all.
//! - **A4 bounded**: pages on their way, waits and tries have limits; who does not read holds up nobody but itself.
//! - **A5 led**: places of consumers are noted and read by leaders only, so that nobody goes on from an older one.

mod accounts;
mod cursor;
mod form;
mod here;
mod leaders;
mod merge;
mod remote;
mod serve;

#[cfg(test)]
mod tests;

pub(crate) use cursor::{ClusterMark, Places};
pub(crate) use leaders::{Everything, Surroundings};
pub(crate) use merge::Merge;
pub(crate) use serve::FeedServer;

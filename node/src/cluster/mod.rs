//! A node among others: gets its id, reaches the other nodes, and tells where shards are led.
//!
//! The composition root calls it, and only on a node with a cluster; a node that is alone has none of this.
//!
//! # Invariants
//! - **C1 id first**: the id of a node is durable in its data folder before any other node hears of it.
//! - **C2 no mixing**: a folder that belongs to a cluster is opened in that cluster or not at all.
//! - **C3 without etcd**: a node that belongs to a cluster starts without etcd too, from the addresses it remembers;
//!   it joins again when etcd is back.

mod around;
mod company;
mod internal;
mod join;
mod neighbours;
mod reach;
mod remembered;
mod whereabouts;

pub(crate) use around::Around;
pub(crate) use company::{Company, WishError, unseen};
pub(crate) use internal::{Internal, Serving};
pub(crate) use join::{Place, join, rebuild};
use neighbours::Registered;
use reach::PeerReach;
pub(crate) use remembered::RememberedFormat;
pub(crate) use whereabouts::Standing;

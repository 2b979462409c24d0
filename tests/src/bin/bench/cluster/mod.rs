//! Three nodes as one cluster on this machine, with etcd: what copies cost, and what clients see when a node dies, is
//! emptied or joins.
//!
//! The disk and the two or so cores are shared by all nodes, so the rates say what replication costs, not what three
//! machines would carry.

mod family;
mod idle;
mod ingest;
mod join;
mod kill;
mod moves;
pub(crate) mod nodes;
mod stubborn;
mod subject;

pub(crate) use family::{PARTS, measure};

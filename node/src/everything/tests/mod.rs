//! Cursors as texts, and shards that come from other nodes.

mod cursors;
mod moves;
mod parked;
mod world;

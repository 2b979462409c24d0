//! Cursors as texts, shards that come from other nodes or turn out wrong here, and lists of accounts.

mod accounts;
mod cursors;
mod moves;
mod parked;
mod world;

//! Shards over a real log and store in temporary folders.

mod accounts;
mod failures;
mod feed;
mod harness;
mod limits;
mod upkeep;

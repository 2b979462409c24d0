//! Shards over a real log and store in temporary folders.

mod accounts;
mod harness;

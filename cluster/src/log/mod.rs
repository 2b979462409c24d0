//! The shard log (being built).

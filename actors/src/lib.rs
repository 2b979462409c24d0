//! What Steward does: the domain (pure), the actors around it, the feed, and the tasks with their runners.

pub mod blob;
pub mod domain;
pub mod shard;
pub mod task;

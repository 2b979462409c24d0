//! What Steward does: the domain (pure), the actors around it, the feed, and the tasks with their runners.

mod account;
pub mod blob;
pub mod codec;
pub mod delivery;
pub mod domain;
pub mod egress;
pub mod elsewhere;
pub mod feed;
pub mod log_feed;
pub mod metrics;
pub mod model;
pub mod rate;
pub mod sandbox;
pub mod seal;
pub mod shard;
pub mod supervisor;
pub mod task;
pub mod vectors;

//! What can go wrong with the state store.

use std::path::PathBuf;

use super::keys::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::ids::ShardId;

/// What an engine says when it fails; each has its own words.
pub(super) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed or panicked. The store is marked damaged and will be rebuilt at the next open.
    #[error("{engine} could not {doing}")]
    Engine { engine: &'static str, doing: &'static str, source: Fault },
    /// A load or clearing was cut short; the shard must be loaded again before it is read.
    #[error("{shard} is only partly loaded")]
    Incomplete { shard: ShardId },
    #[error("key of {len} bytes is too short, longer than {KEY_BYTES_MAX} or in the reserved family")]
    Key { len: usize },
    #[error("value of {len} bytes is longer than {VALUE_BYTES_MAX}")]
    Value { len: usize },
    #[error("could not {doing} {path}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("unknown state engine {name:?}, known are fjall, sled and memory")]
    UnknownEngine { name: String },
}

//! What the shards of a node are started with. The composition root fills it from the settings.

use std::sync::Arc;
use std::time::Duration;

use steward_cluster::raft;

use super::admit::Limits;
use crate::domain::budget::Tariff;

/// Entries of a shard between two comparisons of its replicas.
const CHECK_ENTRIES: u64 = 8_192;

/// How much of a feed is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Newest events of an account that are kept.
    pub events_max: u64,
    /// Age of the oldest event that is kept.
    pub age_max: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events_max: 1_000_000, age_max: Duration::from_secs(90 * 24 * 3600) }
    }
}

/// What shards are started with.
#[derive(Clone, Debug)]
pub struct ShardsConfig {
    /// Fixed at bootstrap.
    pub shards: u16,
    /// Account actors alive at a time.
    pub accounts_live_max: usize,
    pub limits: Limits,
    pub retention: Retention,
    /// Bytes of log after which snapshots are taken. When the last ones were larger, as many bytes as they had: so
    /// snapshots never write much more than the log itself.
    pub snapshot_log_bytes: u64,
    /// Entries of a shard after which its replicas are compared.
    pub check_entries: u64,
    /// How long a leader may be silent before another is elected.
    pub elections_after: Duration,
    /// What models cost.
    pub tariff: Arc<Tariff>,
}

impl Default for ShardsConfig {
    fn default() -> Self {
        Self {
            shards: 64,
            accounts_live_max: 16_384,
            limits: Limits::default(),
            retention: Retention::default(),
            snapshot_log_bytes: 256 << 20,
            check_entries: CHECK_ENTRIES,
            elections_after: raft::SILENCE,
            tariff: Arc::default(),
        }
    }
}

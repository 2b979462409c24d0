//! The shards of one node: started once by the composition root, called by the router.

use std::time::Duration;

use steward_cluster::ids::{LogIndex, ShardId, Term};

use super::{ExecuteError, Reads};
use crate::domain::account::{Answer, Asked};
use crate::domain::ids::AccountId;
use crate::feed::Feed;

/// How much of a feed is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Newest events of an account that are kept.
    pub events_max: u64,
    /// Age of the oldest event that is kept.
    pub age_max: Duration,
}

/// What shards are started with.
#[derive(Clone, Debug)]
pub struct ShardsConfig {
    /// Fixed at bootstrap.
    pub shards: u16,
    /// Account actors alive at a time.
    pub accounts_live_max: usize,
    pub retention: Retention,
}

/// One shard as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRow {
    pub shard: ShardId,
    /// `leader`, `starting` or `follower`.
    pub role: &'static str,
    pub term: Term,
    pub last_index: LogIndex,
    pub applied_index: LogIndex,
    pub snapshot_index: LogIndex,
    pub accounts_live: usize,
}

/// All shards of this node. Cheap to clone.
#[derive(Clone)]
pub struct Shards {}

impl Shards {
    /// The shard an account belongs to, on every node and for ever.
    #[must_use]
    pub fn shard_of(&self, account: &AccountId) -> ShardId {
        unimplemented!("{account}")
    }

    /// Does what is asked, once it is durable, or says why not.
    pub async fn execute(&self, account: &AccountId, asked: Asked) -> Result<Answer, ExecuteError> {
        unimplemented!("{account} {asked:?}")
    }

    #[must_use]
    pub fn reads(&self) -> Reads {
        unimplemented!()
    }

    #[must_use]
    pub fn feed(&self) -> Feed {
        unimplemented!()
    }

    /// Takes an account out of quarantine; false when it was not in it.
    #[must_use]
    pub fn resume(&self, account: &AccountId) -> bool {
        unimplemented!("{account}")
    }

    /// How each shard stands.
    #[must_use]
    pub fn status(&self) -> Vec<ShardRow> {
        unimplemented!()
    }

    /// Account actors alive.
    #[must_use]
    pub fn live_accounts(&self) -> usize {
        unimplemented!()
    }

    /// Takes no more commands, finishes those in hand, and writes everything out.
    pub async fn stop(self) {
        unimplemented!()
    }
}

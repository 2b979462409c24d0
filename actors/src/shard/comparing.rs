//! Puts check entries into the logs of the shards led here, at which their replicas are compared. Housekeeping calls it.
//!
//! The first one follows the barrier at once: whatever brought the replicas there, they begin alike.

use std::collections::BTreeMap;

use steward_cluster::format::Format;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::raft::Proposal;

use super::node::Node;
use crate::codec::encode_check;

/// Where each shard's last check entry was asked for.
#[derive(Debug, Default)]
pub(crate) struct Comparing {
    asked_at: BTreeMap<ShardId, LogIndex>,
}

impl Comparing {
    /// Asks for a check of every shard that may have one and had none, or has applied enough since. One that is lost is
    /// not asked for again before as much is applied once more.
    pub(crate) fn ask(&mut self, node: &Node) {
        let driver = node.driver();
        for shard in (0..node.config.shards).map(ShardId) {
            let Some(term) = node.lead_of(shard).map(|lead| lead.term) else { continue };
            let Some(status) = driver.status(shard).filter(|status| status.format >= Format::CHECKS) else { continue };
            let (applied, asked_at) = (status.applied, self.asked_at.get(&shard).copied());
            let since = asked_at.max(driver.last_check(shard).map(|check| check.index));
            if since.is_none_or(|since| applied.0.saturating_sub(since.0) >= node.config.check_entries) {
                self.asked_at.insert(shard, applied);
                let done = move |outcome: Result<LogIndex, _>| {
                    if let Err(error) = outcome {
                        tracing::debug!(shard = shard.0, %error, "replicas are not compared this time");
                    }
                };
                driver.propose(Proposal { shard, term, data: Box::new(encode_check), done: Box::new(done) });
            }
        }
    }
}

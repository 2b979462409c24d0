//! What this node tells the others of the shards it leads, and when it says so again. The executor calls it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::blobs::Waits;
use super::step::{LEVEL_ENTRIES_MAX, lag};
use crate::ids::{NodeId, ShardId};
use crate::membership::{Announcements, Members, View};
use crate::raft::{Role, ShardDetail};

/// What etcd does not show by then is said again: it was lost, or overtaken by the late word of another leader.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The last word on each shard led here.
pub(super) struct Reports {
    node: NodeId,
    announcements: Arc<Announcements>,
    said: BTreeMap<ShardId, (Members, Duration)>,
}

impl Reports {
    pub(super) fn new(node: NodeId, announcements: Arc<Announcements>) -> Self {
        Self { node, announcements, said: BTreeMap::new() }
    }

    /// Tells what is new about the shards led here.
    pub(super) fn tell(&mut self, details: &[ShardDetail], view: &View, waits: &Waits, now: Duration) {
        let mut leaders = vec![];
        let mut members = vec![];
        for detail in details {
            let shard = detail.shard;
            let Some(report) = self.report(detail, waits) else {
                if !leads(detail) {
                    self.said.remove(&shard);
                }
                continue;
            };
            let before = self.said.get(&shard);
            let is_new = before.is_none_or(|(said, _)| *said != report);
            let is_old = before.is_some_and(|(_, at)| now.saturating_sub(*at) >= SAY_AGAIN_AFTER);
            if is_new || is_old && !self.is_shown(shard, &report, view) {
                leaders.push((shard, self.node));
                members.push((shard, report.clone()));
                self.said.insert(shard, (report, now));
            }
        }
        if !members.is_empty() {
            self.announcements.leaders(leaders);
            self.announcements.members(members);
        }
    }

    /// Where a shard is. While two sets of voters take turns, what was said before stays.
    fn report(&self, detail: &ShardDetail, waits: &Waits) -> Option<Members> {
        let Role::Leader { term, ready: true } = detail.status.role else { return None };
        let members = &detail.members;
        (!members.is_joint()).then(|| Members {
            voters: members.voters.clone(),
            learners: members.learners.clone(),
            leader: self.node,
            term,
            lag: rounded(lag(detail)),
            format: detail.status.format,
            missing_blobs: waits.missing(detail.shard),
        })
    }

    fn is_shown(&self, shard: ShardId, report: &Members, view: &View) -> bool {
        let at = usize::from(shard.0);
        let leader = view.leaders.get(at).copied().flatten();
        let members = view.members.get(at).and_then(Option::as_ref);
        leader == Some(self.node) && members == Some(report)
    }
}

/// Whether this node leads the shard, ready or not.
fn leads(detail: &ShardDetail) -> bool {
    match detail.status.role {
        Role::Leader { .. } => true,
        Role::Follower { .. } => false,
    }
}

/// Its size, so that a busy shard is not written to etcd all the time. What is under way all the time is no lag.
fn rounded(lag: u64) -> u64 {
    if lag <= LEVEL_ENTRIES_MAX { 0 } else { lag.next_power_of_two() }
}

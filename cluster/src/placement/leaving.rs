//! Lets replicas go that nobody counts on any more. The executor starts it.
//!
//! # Invariants
//! - **L1 asked first**: a replica goes only on the word of a leader that was asked after the replica's messages of
//!   leaders were counted, and made sure after the question that it leads. A message that came meanwhile keeps it.
//! - **L2 absence**: nothing here believes etcd; a placement is only the reason to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;

use super::step::placement;
use crate::answer::answer;
use crate::clock::Clock;
use crate::ids::{NodeId, ShardId};
use crate::membership::View;
use crate::peers::{Peers, ask_members};
use crate::raft::{DriverHandle, Role, ShardDetail};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A replica that nobody has told for so long who holds its shard asks.
const UNKNOWN_MAX: Duration = Duration::from_secs(10);
/// Shards asked about at a time.
const ASKED_AT_ONCE_MAX: usize = 8;

/// Asks for the replicas of one node.
pub(super) struct Leaving {
    pub(super) node: NodeId,
    pub(super) driver: DriverHandle,
    pub(super) peers: Peers,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) clock: Arc<dyn Clock>,
    /// Since when replicas here do not know who holds their shard.
    pub(super) unknown_since: BTreeMap<ShardId, Duration>,
}

impl Leaving {
    /// Runs until it is aborted.
    pub(super) async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let Some(details) = answer(|told| self.driver.inspect(told)).await else { continue };
            let view = Arc::clone(&self.view.borrow());
            let doubtful = self.doubtful(&details, &view);
            let mut asked = vec![];
            for detail in doubtful {
                asked.push(self.settle(detail, &view));
            }
            stream::iter(asked).buffer_unordered(ASKED_AT_ONCE_MAX).collect::<Vec<()>>().await;
        }
    }

    /// The replicas that may be out.
    fn doubtful<'a>(&mut self, details: &'a [ShardDetail], view: &View) -> Vec<&'a ShardDetail> {
        let now = self.clock.monotonic();
        let unknown: BTreeSet<ShardId> =
            details.iter().filter(|detail| detail.members.is_unknown()).map(|detail| detail.shard).collect();
        self.unknown_since.retain(|shard, _| unknown.contains(shard));
        for shard in unknown {
            self.unknown_since.entry(shard).or_insert(now);
        }
        details.iter().filter(|detail| self.is_doubtful(detail, view, now)).collect()
    }

    fn is_doubtful(&self, detail: &ShardDetail, view: &View, now: Duration) -> bool {
        match detail.status.role {
            Role::Leader { .. } => return false,
            Role::Follower { .. } => {}
        }
        if let Some(since) = self.unknown_since.get(&detail.shard) {
            return now.saturating_sub(*since) >= UNKNOWN_MAX;
        }
        let is_wanted = placement(view, detail.shard).is_none_or(|placement| placement.replicas.contains(&self.node));
        !is_wanted || !detail.members.contains(self.node)
    }

    /// Asks whoever may lead the shard until one does, and lets the replica go if that one does not count on it.
    async fn settle(&self, detail: &ShardDetail, view: &View) {
        let shard = detail.shard;
        for node in self.candidates(detail, view) {
            let members = match ask_members(&self.peers, node, shard).await {
                Ok(Some(members)) => members,
                Ok(None) => continue,
                Err(error) => {
                    tracing::debug!(%shard, ?error, "a replica that may be out has no answer");
                    continue;
                }
            };
            if !members.contains(&self.node) {
                let left = answer(|told| self.driver.leave(shard, detail.heard, told)).await;
                if left == Some(true) {
                    tracing::info!(%shard, leader = node.0, "a replica that is no member any more has left");
                }
            }
            return;
        }
    }

    /// Who may lead the shard, the likeliest first.
    fn candidates(&self, detail: &ShardDetail, view: &View) -> Vec<NodeId> {
        let followed = match detail.status.role {
            Role::Follower { leader } => leader,
            Role::Leader { .. } => None,
        };
        let hint = view.leaders.get(usize::from(detail.shard.0)).copied().flatten();
        let wanted = placement(view, detail.shard).into_iter().flat_map(|placement| placement.replicas.iter().copied());
        let all = followed.into_iter().chain(hint).chain(wanted).chain(detail.members.all());
        let mut seen = BTreeSet::from([self.node]);
        all.filter(|node| seen.insert(*node)).collect()
    }
}

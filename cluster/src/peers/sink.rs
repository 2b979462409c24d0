//! The Raft driver as the end of every link: it takes the frames, and knows who holds the shards it leads and
//! what their replicas come to.

use super::{FrameSink, HeldBy, Verdicts};
use crate::answer::answer;
use crate::divergence::{Check, Verdict};
use crate::ids::{NodeId, ShardId};
use crate::raft::{DriverHandle, PeerMessage, Role, ShardDetail};

impl FrameSink for DriverHandle {
    fn frame(&self, from: NodeId, boot: u64, messages: Vec<PeerMessage>) {
        self.receive(from, boot, messages);
    }

    fn held_by(&self, shard: ShardId) -> HeldBy {
        Box::pin(members_if_leader(self.clone(), shard))
    }

    fn judge(&self, from: NodeId, checks: Vec<Check>) -> Verdicts {
        Box::pin(verdicts(self.clone(), from, checks))
    }
}

/// The members are read after the leader made sure: in the other order they could be those of a leader long replaced.
async fn members_if_leader(driver: DriverHandle, shard: ShardId) -> Option<Vec<NodeId>> {
    answer(|told| driver.read(shard, told)).await?.ok()?;
    let details = answer(|told| driver.inspect(told)).await?;
    let detail = details.iter().find(|detail| detail.shard == shard)?;
    match detail.status.role {
        Role::Leader { ready: true, .. } => Some(detail.members.all().collect()),
        Role::Leader { ready: false, .. } | Role::Follower { .. } => None,
    }
}

async fn verdicts(driver: DriverHandle, from: NodeId, checks: Vec<Check>) -> Vec<Verdict> {
    checks.iter().for_each(|check| driver.checks().note(from, *check));
    let details = answer(|told| driver.inspect(told)).await.unwrap_or_default();
    let led = |check: &Check| details.iter().find(|detail| detail.shard == check.shard).filter(|detail| leads(detail));
    let verdict = |check: &Check| {
        let detail = led(check)?;
        Some(driver.checks().finding(&detail.members, *check).verdict(check.hash))
    };
    checks.iter().map(|check| verdict(check).unwrap_or(Verdict::Undecided)).collect()
}

fn leads(detail: &ShardDetail) -> bool {
    match detail.status.role {
        Role::Leader { ready, .. } => ready,
        Role::Follower { .. } => false,
    }
}

//! The Raft driver as the end of every link: it takes the frames, and knows who holds the shards it leads.

use super::{FrameSink, HeldBy};
use crate::answer::answer;
use crate::ids::{NodeId, ShardId};
use crate::raft::{DriverHandle, PeerMessage, Role};

impl FrameSink for DriverHandle {
    fn frame(&self, from: NodeId, boot: u64, messages: Vec<PeerMessage>) {
        self.receive(from, boot, messages);
    }

    fn held_by(&self, shard: ShardId) -> HeldBy {
        Box::pin(members_if_leader(self.clone(), shard))
    }
}

/// The members are read after the leader made sure: in the other order they could be those of a leader long replaced.
async fn members_if_leader(driver: DriverHandle, shard: ShardId) -> Option<Vec<NodeId>> {
    answer(|told| driver.read(shard, told)).await?.ok()?;
    let details = answer(|told| driver.inspect(told)).await?;
    let detail = details.into_iter().find(|detail| detail.shard == shard)?;
    match detail.status.role {
        Role::Leader { ready: true, .. } => Some(detail.members.all().collect()),
        Role::Leader { ready: false, .. } | Role::Follower { .. } => None,
    }
}

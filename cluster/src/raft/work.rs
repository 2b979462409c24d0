//! What a round of the driver leaves for the applier.

use crate::ids::{LogIndex, ShardId};
use crate::raft::handle::Done;
use crate::raft::{CommittedEntry, ProposeError, Role};

/// What is to be put in place, applied, answered and told, in this order.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) left: Vec<ShardId>,
    pub(crate) installs: Vec<(ShardId, LogIndex)>,
    pub(crate) parked: Vec<ShardId>,
    pub(crate) committed: Vec<CommittedEntry<Done>>,
    pub(crate) reads: Vec<(ShardId, LogIndex, Done)>,
    pub(crate) rejected: Vec<(Done, ProposeError)>,
    pub(crate) roles: Vec<(ShardId, Role)>,
    pub(crate) snapshots_wanted: Vec<ShardId>,
}

impl Work {
    pub(crate) fn is_empty(&self) -> bool {
        self.is_ordinary()
            && self.parked.is_empty()
            && self.committed.is_empty()
            && self.reads.is_empty()
            && self.rejected.is_empty()
            && self.roles.is_empty()
            && self.snapshots_wanted.is_empty()
    }

    /// Whether it may be done together with the one before: nothing has to come before its entries.
    pub(crate) fn is_ordinary(&self) -> bool {
        self.left.is_empty() && self.installs.is_empty()
    }

    pub(crate) fn join(&mut self, mut later: Self) {
        self.parked.append(&mut later.parked);
        self.committed.append(&mut later.committed);
        self.reads.append(&mut later.reads);
        self.snapshots_wanted.append(&mut later.snapshots_wanted);
        self.rejected.append(&mut later.rejected);
        self.roles.append(&mut later.roles);
    }

    /// What of it concerns a shard. Refusals concern nobody but who proposed, and stay.
    pub(crate) fn take_of(&mut self, shard: ShardId) -> Self {
        Self {
            left: self.left.extract_if(.., |of| *of == shard).collect(),
            installs: self.installs.extract_if(.., |(of, _)| *of == shard).collect(),
            parked: self.parked.extract_if(.., |of| *of == shard).collect(),
            committed: self.committed.extract_if(.., |entry| entry.shard == shard).collect(),
            reads: self.reads.extract_if(.., |(of, ..)| *of == shard).collect(),
            rejected: vec![],
            roles: self.roles.extract_if(.., |(of, _)| *of == shard).collect(),
            snapshots_wanted: self.snapshots_wanted.extract_if(.., |of| *of == shard).collect(),
        }
    }
}

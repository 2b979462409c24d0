//! What goes into the core and what one round of it asks for. Read by the driver, the simulation and the transport.

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};

use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::log::Batch;
use crate::raft::ProposeError;
use crate::raft::group::comes_from_leader;

/// What this node is in one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Elected in `term`; `ready` once everything of earlier terms is committed and handed over.
    Leader {
        /// The term proposals must carry.
        term: Term,
        /// Whether decisions may be based on the applied state.
        ready: bool,
    },
    /// Following, or looking for a leader.
    Follower {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
}

/// One committed entry. Empty data is the first entry of a leader: it only moves the applied index.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    /// The shard whose log holds it.
    pub shard: ShardId,
    /// Its place there.
    pub index: LogIndex,
    /// The term it was appended in.
    pub term: Term,
    /// What was proposed.
    pub data: &'a Bytes,
}

/// A committed entry on its way to the applier, with the token of its proposal when it was proposed here.
#[derive(Debug)]
pub struct CommittedEntry<T> {
    /// The shard whose log holds it.
    pub shard: ShardId,
    /// Its place there.
    pub index: LogIndex,
    /// The term it was appended in.
    pub term: Term,
    /// What was proposed.
    pub data: Bytes,
    /// Who waits for it.
    pub token: Option<T>,
}

impl<T> CommittedEntry<T> {
    /// The entry as the state machine sees it.
    pub fn view(&self) -> Committed<'_> {
        Committed { shard: self.shard, index: self.index, term: self.term, data: &self.data }
    }
}

/// One message of a group to its peer on another node.
#[derive(Clone, Debug)]
pub struct PeerMessage {
    /// The group it belongs to.
    pub shard: ShardId,
    pub(crate) message: Message,
}

impl PeerMessage {
    /// The node it goes to.
    pub fn to(&self) -> NodeId {
        NodeId(self.message.to)
    }

    /// The node it comes from.
    pub fn from(&self) -> NodeId {
        NodeId(self.message.from)
    }

    /// Bytes of the entries it brings.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.message.entries.iter().map(|entry| entry.data.len()).sum()
    }

    pub(crate) fn comes_from_leader(&self) -> bool {
        comes_from_leader(self.message.get_msg_type())
    }

    /// The snapshot its receiver must have on its disk before it takes the message in.
    pub fn snapshot(&self) -> Option<LogIndex> {
        (self.message.get_msg_type() == MessageType::MsgSnapshot)
            .then(|| LogIndex(self.message.get_snapshot().get_metadata().index))
    }

    /// What its receiver answers when it could not get that snapshot.
    pub fn snapshot_failed(&self) -> Self {
        let mut message = Message { from: self.message.to, to: self.message.from, reject: true, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapStatus);
        Self { shard: self.shard, message }
    }
}

/// Everything one round of the core asks its driver to do, for all touched groups.
#[derive(Debug)]
pub struct Round<T> {
    /// Number of the batch; reported back when it is durable. `None` when nothing needs writing.
    pub batch: Option<(u64, Batch)>,
    /// To send now, in this order per peer.
    pub messages: Vec<PeerMessage>,
    /// Snapshots on this node's disk to put in place of what the state machine has, before `committed`.
    pub installs: Vec<(ShardId, LogIndex)>,
    /// To apply, in this order per shard.
    pub committed: Vec<CommittedEntry<T>>,
    /// To answer with an error.
    pub rejected: Vec<(T, ProposeError)>,
    /// Reads to answer, after `committed` is applied; each with an index that is applied then.
    pub reads: Vec<(ShardId, LogIndex, T)>,
    /// To tell the state machine, after `committed` is applied.
    pub roles: Vec<(ShardId, Role)>,
    /// Shards that left this node for good; what the state machine has of them can go.
    pub left: Vec<ShardId>,
    /// Shards of which a peer needs a snapshot: take one and say so with [`crate::raft::Core::offer_snapshot`].
    pub snapshots_wanted: Vec<ShardId>,
    /// The shards this round looked at.
    pub touched: Vec<u16>,
}

impl<T> Default for Round<T> {
    fn default() -> Self {
        Self {
            batch: None,
            messages: Vec::new(),
            installs: Vec::new(),
            committed: Vec::new(),
            rejected: Vec::new(),
            reads: Vec::new(),
            roles: Vec::new(),
            left: Vec::new(),
            snapshots_wanted: Vec::new(),
            touched: Vec::new(),
        }
    }
}

impl<T> Round<T> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.batch.is_none()
            && self.messages.is_empty()
            && self.installs.is_empty()
            && self.committed.is_empty()
            && self.rejected.is_empty()
            && self.reads.is_empty()
            && self.roles.is_empty()
            && self.left.is_empty()
            && self.snapshots_wanted.is_empty()
    }
}

//! Why consensus refused to start, refused a proposal, or could not apply an entry.

use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::log::LogError;

/// Why a node's groups cannot be started from what its log and store hold.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Zero stands for "nobody" in a vote.
    #[error("node id 0 cannot vote")]
    NodeZero,
    /// The log does not say who holds the shard, and nobody else here does.
    #[error("the members of {shard} cannot be read")]
    Members {
        /// The shard they hold.
        shard: ShardId,
    },
    /// The log knows a shard the configuration does not have.
    #[error("the log holds {shard}, the configuration has {shards} shards")]
    UnknownShard {
        /// The shard found.
        shard: ShardId,
        /// How many are configured.
        shards: u16,
    },
    /// The hard state record has another layout.
    #[error("the hard state of {shard} cannot be read")]
    HardState {
        /// The shard it belongs to.
        shard: ShardId,
    },
    /// The hard state is older than the entries, so records of this shard were lost.
    #[error("the hard state of {shard} is of {term:?}, its last entry of {last_term:?}")]
    StaleHardState {
        /// The shard it belongs to.
        shard: ShardId,
        /// The term it promises.
        term: Term,
        /// The term of the last entry.
        last_term: Term,
    },
    /// Entries are missing in the middle of the log.
    #[error("the log of {shard} lacks entry {index:?}")]
    Gap {
        /// The shard with the gap.
        shard: ShardId,
        /// The first missing entry.
        index: LogIndex,
    },
    /// Entries the store has not applied were purged: rebuild it from a snapshot first.
    #[error("the store of {shard} ends at {applied:?}, but its log starts at {first:?}")]
    StoreBehindLog {
        /// The shard to rebuild.
        shard: ShardId,
        /// What the store has applied.
        applied: LogIndex,
        /// The first entry the log still has.
        first: LogIndex,
    },
    /// The store has applied entries the log does not have, so the log has lost durable records.
    #[error("the store of {shard} has applied {applied:?}, but its log ends at {last:?}")]
    LogBehindStore {
        /// The shard that lost entries.
        shard: ShardId,
        /// What the store has applied.
        applied: LogIndex,
        /// The last entry of the log.
        last: LogIndex,
    },
    /// The consensus library refused the configuration.
    #[error("consensus of {shard} cannot be configured")]
    Library {
        /// The first shard it refused.
        shard: ShardId,
        /// Its reason.
        source: raft::Error,
    },
    /// The system gave no thread.
    #[error("thread {name} cannot be started")]
    Thread {
        /// The thread's name.
        name: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Why a proposal was not applied. Only [`ProposeError::OutcomeUnknown`] leaves open whether it still will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads the shard, or nobody.
    #[error("{shard} is led by {leader:?}")]
    NotLeader {
        /// The shard proposed to.
        shard: ShardId,
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The proposal was decided in another term than the one that leads now.
    #[error("a proposal to {shard} was decided in {decided:?}, its leader is in {current:?}")]
    StaleTerm {
        /// The shard proposed to.
        shard: ShardId,
        /// The term of the decision.
        decided: Term,
        /// The term that leads.
        current: Term,
    },
    /// The entry was appended and may still commit, so only an idempotent retry is safe.
    #[error("the outcome of a proposal to {shard} is unknown")]
    OutcomeUnknown {
        /// The shard proposed to.
        shard: ShardId,
    },
    /// Too much is waiting already; nothing was appended.
    #[error("{shard} has too many proposals waiting")]
    Overloaded {
        /// The shard proposed to.
        shard: ShardId,
    },
    /// The disk is nearly full; nothing was appended.
    #[error("disk space is low, {shard} takes no proposals")]
    SpaceLow {
        /// The shard proposed to.
        shard: ShardId,
    },
    /// Empty data is kept for a leader's first entry, and one entry must fit a log record.
    #[error("a proposal to {shard} has {bytes} bytes, allowed are 1 to {bytes_max}")]
    Size {
        /// The shard proposed to.
        shard: ShardId,
        /// Its size.
        bytes: usize,
        /// The largest one allowed.
        bytes_max: usize,
    },
    /// This node has no such shard.
    #[error("{shard} does not exist here")]
    NoSuchShard {
        /// The shard proposed to.
        shard: ShardId,
    },
    /// The driver has stopped; nothing was appended.
    #[error("consensus has stopped")]
    Stopped,
}

impl ProposeError {
    /// The variant as a metric label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::NotLeader { .. } => "not_leader",
            Self::StaleTerm { .. } => "stale_term",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::Overloaded { .. } => "overloaded",
            Self::SpaceLow { .. } => "space_low",
            Self::Size { .. } => "size",
            Self::NoSuchShard { .. } => "no_such_shard",
            Self::Stopped => "stopped",
        }
    }
}

/// Why the members of a shard are not being changed. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Only its leader can.
    #[error("{shard} is led by {leader:?}")]
    NotLeader {
        /// The shard to change.
        shard: ShardId,
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// One change at a time.
    #[error("the members of {shard} are changing already, or its leadership is moving")]
    Busy {
        /// The shard to change.
        shard: ShardId,
    },
    /// Who is to vote must have learned the shard first.
    #[error("{node} must be a learner of {shard} and level with it before it votes")]
    Behind {
        /// The shard to change.
        shard: ShardId,
        /// Who is behind.
        node: NodeId,
    },
    /// A leader does not remove itself, and somebody must vote.
    #[error("the leader of {shard} must stay among its voters: move the leadership first")]
    LeaderLeaves {
        /// The shard to change.
        shard: ShardId,
    },
    /// This node has no such shard.
    #[error("{shard} does not exist here")]
    NoSuchShard {
        /// The shard to change.
        shard: ShardId,
    },
}

/// The state machine could not apply committed entries. They cannot be taken back, so the process ends.
#[derive(Debug, thiserror::Error)]
#[error("committed entries could not be applied")]
pub struct ApplyError {
    /// What the state machine says.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a running driver gave up. Nothing was answered that is not durable; only a restart goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum DriverFailure {
    /// The log could not write, so nothing can become durable.
    #[error("log failed")]
    Log(#[source] LogError),
    /// The state machine could not follow the log.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A thread panicked, as the consensus library does on a broken invariant.
    #[error("thread {thread} panicked: {reason}")]
    Panic {
        /// The thread's name.
        thread: &'static str,
        /// What it said.
        reason: String,
    },
}

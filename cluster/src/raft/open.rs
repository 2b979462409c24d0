//! From what log and store hold after a start to running groups, or to the reason why they cannot run. Called by the core.

use raft::{RawNode, ReadOnlyOption};

use crate::ids::{LogIndex, ShardId, Term};
use crate::log::{LogReader, Position, RecoveredShard};
use crate::raft::group::Group;
use crate::raft::storage::GroupLog;
use crate::raft::vote::Vote;
use crate::raft::{CoreConfig, StartError};

/// Bytes of entries in one message to a peer.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Bytes appended in one group and not yet committed.
const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;
/// Bytes of committed entries one group hands over in one turn.
const COMMITTED_BYTES_MAX: u64 = 4 << 20;
/// Append messages under way to one peer of one group.
const MESSAGES_IN_FLIGHT_MAX: usize = 64;

/// What one shard starts from.
#[derive(Debug, Default)]
pub(crate) struct Start {
    pub(crate) vote: Vote,
    pub(crate) base: (LogIndex, Term),
    pub(crate) entries: Vec<(LogIndex, Term, Position)>,
    pub(crate) applied: LogIndex,
}

impl Start {
    /// Checks that the log has no gap and reaches from below to at least what the store has applied.
    pub(crate) fn new(recovered: RecoveredShard, applied: LogIndex) -> Result<Self, StartError> {
        let shard = recovered.shard;
        let base = recovered.snapshot.unwrap_or_default();
        let vote = match &recovered.hard_state {
            Some(bytes) => Vote::decode(bytes).ok_or(StartError::HardState { shard })?,
            None => Vote::default(),
        };
        let mut entries = recovered.entries;
        entries.retain(|(index, _, _)| *index > base.0);
        for (expected, (index, _, _)) in (base.0.0 + 1..).zip(&entries) {
            if index.0 != expected {
                return Err(StartError::Gap { shard, index: LogIndex(expected) });
            }
        }
        let (last, last_term) = entries.last().map_or(base, |(index, term, _)| (*index, *term));
        // Written before its entries in every batch, so an older one was not what this node wrote last.
        if vote.term < last_term.0 {
            return Err(StartError::StaleHardState { shard, term: Term(vote.term), last_term });
        }
        if applied < base.0 {
            return Err(StartError::StoreBehindLog { shard, applied, first: LogIndex(base.0.0 + 1) });
        }
        if applied > last {
            return Err(StartError::LogBehindStore { shard, applied, last });
        }
        Ok(Self { vote: with_commit(vote, base.0, last, applied), base, entries, applied })
    }

    /// The group of this shard, following nobody yet.
    pub(crate) fn group<T>(
        self,
        shard: ShardId,
        config: &CoreConfig,
        reader: LogReader,
        logger: &slog::Logger,
    ) -> Result<Group<T>, StartError> {
        let entries = self.entries.iter().map(|(_, term, position)| (*term, *position));
        let log = GroupLog::new(self.vote, &config.voters, self.base, entries, config.cached_bytes_max, reader);
        let node = RawNode::new(&library_config(config, self.applied), log, logger)
            .map_err(|source| StartError::Library { shard, source })?;
        let seed = config.seed.rotate_left(16) ^ (config.node.0 << 16) ^ u64::from(shard.0);
        Ok(Group::new(shard, node, config.elections, seed))
    }
}

/// The commit index is written lazily, so it is raised to what is certainly committed and capped at what is left.
fn with_commit(vote: Vote, base: LogIndex, last: LogIndex, applied: LogIndex) -> Vote {
    Vote { commit: vote.commit.max(base.0).max(applied.0).min(last.0), ..vote }
}

fn library_config(config: &CoreConfig, applied: LogIndex) -> raft::Config {
    raft::Config {
        id: config.node.0,
        applied: applied.0,
        heartbeat_tick: config.elections.heartbeat,
        election_tick: config.elections.silence_min,
        min_election_tick: config.elections.silence_min,
        max_election_tick: config.elections.silence_max,
        max_size_per_msg: MESSAGE_BYTES_MAX,
        max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
        max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
        max_committed_size_per_ready: COMMITTED_BYTES_MAX,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::Safe,
        skip_bcast_commit: false,
        // Left off for good: it acknowledges entries a follower does not hold.
        batch_append: false,
        priority: 0,
    }
}

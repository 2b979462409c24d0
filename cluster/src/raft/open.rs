//! From what log and store hold after a start to running groups, or to the reason why they cannot run. Called by the core.

use raft::{RawNode, ReadOnlyOption};

use crate::ids::{LogIndex, ShardId, Term};
use crate::log::{LogReader, Position, RecoveredShard};
use crate::raft::group::{Group, Known};
use crate::raft::storage::GroupLog;
use crate::raft::vote::Vote;
use crate::raft::{CoreConfig, Members, StartError};

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
    pub(crate) changes: Vec<LogIndex>,
    pub(crate) members: (LogIndex, Members),
    /// How far the store is.
    pub(crate) applied: LogIndex,
    /// Whether the members must be written yet.
    pub(crate) is_new: bool,
}

impl Start {
    /// What a replica starts from that was told of its shard by a leader; `vote` is what an earlier one here promised.
    pub(crate) fn unknown(vote: Vote) -> Self {
        Self { vote: Vote { commit: 0, ..vote }, ..Self::default() }
    }

    /// Checks that the log has no gap and reaches from below to at least what the store has applied. `founders` hold a
    /// shard whose log does not say who does.
    pub(crate) fn new(recovered: RecoveredShard, applied: LogIndex, founders: &Members) -> Result<Self, StartError> {
        let shard = recovered.shard;
        let is_new = recovered.members.is_none();
        let members = match &recovered.members {
            Some((since, bytes)) => (*since, Members::decode(bytes).ok_or(StartError::Members { shard })?),
            None if founders.is_unknown() => return Err(StartError::Members { shard }),
            None => (LogIndex(0), founders.clone()),
        };
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
        // Members are written after the entry that made them was applied.
        if let Some(lost) = [applied, members.0].into_iter().find(|index| *index > last) {
            return Err(StartError::LogBehindStore { shard, applied: lost, last });
        }
        let vote = with_commit(vote, base.0, last, applied.max(members.0));
        Ok(Self { vote, base, entries, changes: recovered.changes, members, applied, is_new })
    }

    /// From where on the library goes through committed entries again: behind the entry that made the members, and not
    /// behind one that changes them. The store may be further (its entries are passed over) or less far (what it lacks
    /// is handed to it first).
    fn resumed(&self) -> LogIndex {
        let next_change = self.changes.iter().find(|change| **change > self.members.0);
        let before_change = next_change.map_or(self.applied, |change| self.applied.min(LogIndex(change.0 - 1)));
        before_change.max(self.members.0).max(self.base.0)
    }

    /// Behind which entry and up to which one the library will not hand over what the store lacks.
    pub(crate) fn missed(&self) -> (LogIndex, LogIndex) {
        (self.applied, self.resumed())
    }

    /// The group of this shard, following nobody yet.
    pub(crate) fn group<T>(
        self,
        shard: ShardId,
        config: &CoreConfig,
        reader: LogReader,
        logger: &slog::Logger,
    ) -> Result<Group<T>, StartError> {
        let resumed = self.resumed();
        let is_change = |index: &LogIndex| self.changes.binary_search(index).is_ok();
        let entries = self.entries.iter().map(|(index, term, position)| (*term, is_change(index), *position));
        let log = GroupLog::new(self.vote, self.members, self.base, entries, config.cached_bytes_max, reader);
        let node = RawNode::new(&library_config(config, resumed), log, logger)
            .map_err(|source| StartError::Library { shard, source })?;
        let seed = config.seed.rotate_left(16) ^ (config.node.0 << 16) ^ u64::from(shard.0);
        let known = Known { applied: self.applied, resumed, is_new: self.is_new };
        Ok(Group::new(shard, node, config.elections, seed, known))
    }
}

/// What every configured shard starts from, in order, and what this node promised in it. No start: it is not held here.
pub(crate) fn starts(
    config: &CoreConfig,
    recovered: Vec<RecoveredShard>,
    applied: &[(ShardId, LogIndex)],
) -> Result<Vec<(ShardId, Vote, Option<Start>)>, StartError> {
    let shards = config.shards;
    let founders = Members::of_voters(&config.founders);
    let mut found: Vec<Option<RecoveredShard>> = (0..shards).map(|_| None).collect();
    for recovered in recovered {
        let shard = recovered.shard;
        *found.get_mut(usize::from(shard.0)).ok_or(StartError::UnknownShard { shard, shards })? = Some(recovered);
    }
    let mut starts = Vec::with_capacity(found.len());
    for (number, recovered) in (0..).zip(found) {
        let shard = ShardId(number);
        let applied = applied.iter().find(|(of, _)| *of == shard).map_or(LogIndex(0), |(_, index)| *index);
        let start = match recovered {
            // Only a promise is left of a shard that moved away, or that was about to come.
            Some(gone) if gone.has_left() => {
                let vote = gone.hard_state.map_or(Some(Vote::default()), |bytes| Vote::decode(&bytes));
                starts.push((shard, vote.ok_or(StartError::HardState { shard })?, None));
                continue;
            }
            Some(recovered) => Some(Start::new(recovered, applied, &founders)?),
            None if founders.contains(config.node) => {
                let nothing = RecoveredShard { shard, ..RecoveredShard::default() };
                Some(Start::new(nothing, applied, &founders)?)
            }
            None if applied > LogIndex(0) => {
                return Err(StartError::LogBehindStore { shard, applied, last: LogIndex(0) });
            }
            None => None,
        };
        starts.push((shard, start.as_ref().map_or_else(Vote::default, |start| start.vote), start));
    }
    Ok(starts)
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
        // Followers hear of it with the next entry, or with the next tick: see `group/news.rs`.
        skip_bcast_commit: true,
        // Left off for good: it acknowledges entries a follower does not hold.
        batch_append: false,
        priority: 0,
    }
}

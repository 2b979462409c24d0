//! What an observer outside the cluster knows: what was proposed, decided and answered, and who led. Filled by the
//! nodes as things happen, read by the invariants.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use steward_cluster::ids::{LogIndex, NodeId, ShardId, Term};
use steward_cluster::raft::ProposeError;

use crate::store::Entry;

/// One start of one node.
pub(crate) type Life = (NodeId, u32);

/// A proposal and what became of it.
pub(crate) struct Proposed {
    pub(crate) shard: ShardId,
    /// The term it was decided in.
    pub(crate) term: Term,
    pub(crate) by: Life,
    pub(crate) answers: Vec<Result<LogIndex, ProposeError>>,
}

/// The observer.
#[derive(Default)]
pub(crate) struct Oracle {
    /// Proposal number `n` stands at `n - 1`.
    pub(crate) proposals: Vec<Proposed>,
    pub(crate) decided: BTreeMap<(ShardId, LogIndex), Entry>,
    pub(crate) leaders: BTreeMap<(ShardId, Term), Life>,
    /// Acknowledged proposals by place.
    pub(crate) acknowledged: BTreeMap<(ShardId, LogIndex), u64>,
    /// Read number `n` stands at `n - 1`: its shard, and the last place acknowledged when it was asked for.
    pub(crate) reads: Vec<(ShardId, LogIndex)>,
    pub(crate) reads_answered: usize,
    /// Reads that ask on behalf of a node whether it still holds a shard, and how much that node had heard then.
    pub(crate) leaving: BTreeMap<u64, (NodeId, u64)>,
    /// What leaders said to that: who may let go of which shard, unless it has heard more.
    pub(crate) may_leave: Vec<(NodeId, ShardId, u64)>,
    pub(crate) installs: usize,
    pub(crate) changes: usize,
    pub(crate) reseeds: usize,
    history: DefaultHasher,
}

impl Oracle {
    pub(crate) fn propose(&mut self, shard: ShardId, term: Term, by: Life) -> u64 {
        self.proposals.push(Proposed { shard, term, by, answers: Vec::new() });
        u64::try_from(self.proposals.len()).expect("a length in memory fits 64 bits")
    }

    pub(crate) fn proposal(&self, number: u64) -> Option<&Proposed> {
        self.proposals.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    pub(crate) fn answer(&mut self, number: u64, answer: Result<LogIndex, ProposeError>) {
        format!("{number} {answer:?}").hash(&mut self.history);
        let at = usize::try_from(number - 1).expect("the number was given out here");
        let proposed = &mut self.proposals[at];
        proposed.answers.push(answer);
        if let Ok(index) = answer {
            self.acknowledged.insert((proposed.shard, index), number);
        }
    }

    /// A read is asked for; gives its number.
    pub(crate) fn read(&mut self, shard: ShardId) -> u64 {
        let range = (shard, LogIndex(0))..=(shard, LogIndex(u64::MAX));
        let newest = self.acknowledged.range(range).next_back().map_or(LogIndex(0), |((_, index), _)| *index);
        self.reads.push((shard, newest));
        u64::try_from(self.reads.len()).expect("a length in memory fits 64 bits")
    }

    /// Notes that something happened, so that runs can be compared.
    pub(crate) fn note(&mut self, event: impl Hash) {
        event.hash(&mut self.history);
    }

    /// A number that two equal runs share.
    pub(crate) fn digest(&self) -> u64 {
        self.history.finish()
    }
}

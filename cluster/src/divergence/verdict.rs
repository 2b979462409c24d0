//! Who is right when replicas come to different hashes: a pure rule. The leader of the shard asks it.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::NodeId;
use crate::raft::Members;

/// Voters there must be before a majority means anything.
const VOTERS_MIN: usize = 3;

/// What the leader makes of one replica's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what it should be.
    Agrees,
    /// Most voters come to something else.
    Differs,
    /// Not enough is known, or nobody can tell.
    Undecided,
}

/// What the hashes told so far mean together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing contradicts anything, and some are missing.
    Open,
    /// This is right: most voters come to it, or all of the few there are.
    Right(u64),
    /// They differ, and no majority can come of it.
    Split,
}

impl Finding {
    /// What that means for a replica that comes to `hash`.
    pub(crate) fn verdict(self, hash: u64) -> Verdict {
        match self {
            Self::Right(right) if right == hash => Verdict::Agrees,
            Self::Right(_) => Verdict::Differs,
            Self::Open | Self::Split => Verdict::Undecided,
        }
    }
}

/// Compares what was told of one check. While the members change there is no finding: another check comes.
pub(crate) fn find(members: &Members, told: &BTreeMap<NodeId, u64>) -> Finding {
    if members.is_joint() {
        return Finding::Open;
    }
    let voters = members.voters.len();
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for hash in members.voters.iter().filter_map(|voter| told.get(voter)) {
        *counts.entry(*hash).or_default() += 1;
    }
    let missing = voters - counts.values().sum::<usize>();
    let (hash, most) = counts.iter().max_by_key(|(_, count)| **count).map_or((0, 0), |(hash, count)| (*hash, *count));
    let hashes: BTreeSet<u64> = members.all().filter_map(|member| told.get(&member).copied()).collect();
    let is_alike = hashes.len() <= 1;
    let may_decide = voters >= VOTERS_MIN;
    if most > 0 && (may_decide && 2 * most > voters || is_alike && missing == 0) {
        Finding::Right(hash)
    } else if is_alike || may_decide && 2 * (most + missing) > voters {
        Finding::Open
    } else {
        Finding::Split
    }
}

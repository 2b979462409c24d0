//! The rule as a table.

use super::verdict::{Finding, Verdict, find};
use crate::ids::NodeId;
use crate::raft::Members;

fn members(voters: u64, learners: &[u64]) -> Members {
    let voters: Vec<NodeId> = (1..=voters).map(NodeId).collect();
    Members { learners: learners.iter().copied().map(NodeId).collect(), ..Members::of_voters(&voters) }
}

#[test]
fn most_of_three_voters_are_right_and_fewer_decide_nothing() {
    use Finding::{Open, Right, Split};
    type Case<'a> = (Members, &'a [(u64, u64)], Finding);
    let joint = Members { outgoing: vec![NodeId(1)], ..members(3, &[]) };
    let cases: [Case<'_>; 18] = [
        (members(3, &[]), &[], Open),
        (members(3, &[]), &[(1, 7)], Open),
        (members(3, &[]), &[(1, 7), (2, 7)], Right(7)),
        (members(3, &[]), &[(1, 7), (2, 8)], Open),
        (members(3, &[]), &[(1, 7), (2, 8), (3, 8)], Right(8)),
        (members(3, &[]), &[(1, 7), (2, 8), (3, 9)], Split),
        (joint, &[(1, 7), (2, 7), (3, 7)], Open),
        // Learners are judged and have no say.
        (members(3, &[4, 5]), &[(1, 7), (4, 8), (5, 8)], Open),
        (members(3, &[4, 5]), &[(1, 7), (2, 7), (4, 8), (5, 8)], Right(7)),
        // Strangers neither.
        (members(3, &[]), &[(1, 7), (8, 7), (9, 7)], Open),
        (members(4, &[]), &[(1, 7), (2, 7), (3, 8)], Open),
        (members(4, &[]), &[(1, 7), (2, 7), (3, 8), (4, 8)], Split),
        (members(5, &[]), &[(1, 7), (2, 7), (3, 7), (4, 8)], Right(7)),
        // Of two nobody knows which one is right, but they can agree.
        (members(2, &[]), &[(1, 7)], Open),
        (members(2, &[]), &[(1, 7), (2, 7)], Right(7)),
        (members(2, &[]), &[(1, 7), (2, 8)], Split),
        (members(1, &[2]), &[(1, 7), (2, 7)], Right(7)),
        (members(1, &[2]), &[(1, 7), (2, 8)], Split),
    ];
    for (members, told, expected) in cases {
        let told = told.iter().map(|(node, hash)| (NodeId(*node), *hash)).collect();
        assert_eq!(find(&members, &told), expected, "{members:?} {told:?}");
    }
}

#[test]
fn only_what_is_right_gives_a_verdict() {
    let cases = [
        (Finding::Open, Verdict::Undecided),
        (Finding::Split, Verdict::Undecided),
        (Finding::Right(7), Verdict::Agrees),
        (Finding::Right(8), Verdict::Differs),
    ];
    for (finding, verdict) in cases {
        assert_eq!(finding.verdict(7), verdict, "{finding:?}");
    }
}

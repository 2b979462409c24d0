//! R5: every proposal is answered once, unless its node died first, and a refused one is never decided.

use std::collections::BTreeSet;

use steward_cluster::ids::LogIndex;
use steward_cluster::raft::ProposeError;

use super::Violation;
use crate::oracle::Oracle;
use crate::sim::Sim;

const LETTER: &str = "R5";

/// A proposal is about to be answered.
pub(crate) fn on_answer(oracle: &Oracle, number: u64, answer: Result<LogIndex, ProposeError>) -> Result<(), Violation> {
    let Some(proposed) = oracle.proposal(number) else {
        return Err(Violation::new(LETTER, format!("proposal {number} was never made")));
    };
    if let Some(earlier) = proposed.answers.first() {
        let text = format!("proposal {number} was answered {earlier:?} and now {answer:?}");
        return Err(Violation::new(LETTER, text));
    }
    Ok(())
}

pub(crate) fn check_settled(sim: &Sim) -> Result<(), Violation> {
    let decided: BTreeSet<u64> = sim.oracle.decided.values().map(|(_, number)| *number).collect();
    for (number, proposed) in (1..).zip(&sim.oracle.proposals) {
        let lives = sim.nodes.iter().any(|node| (node.id, node.lives) == proposed.by);
        let text = match proposed.answers.first() {
            None if lives => format!("proposal {number} to {} was never answered", proposed.shard),
            Some(Err(refusal)) if !leaves_open(refusal) && decided.contains(&number) => {
                format!("proposal {number} was refused ({refusal}) and decided")
            }
            None | Some(_) => continue,
        };
        return Err(Violation::new(LETTER, text));
    }
    Ok(())
}

fn leaves_open(refusal: &ProposeError) -> bool {
    matches!(refusal, ProposeError::OutcomeUnknown { .. })
}

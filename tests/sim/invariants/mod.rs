//! The promises of consensus, one file per letter of `cluster/src/raft/mod.rs`. Events are checked as they happen by the
//! node, the rest after every step and once more when everything is settled.

pub(crate) mod r1_durability;
pub(crate) mod r2_order;
pub(crate) mod r3_fencing;
pub(crate) mod r4_readiness;
pub(crate) mod r5_answer;
pub(crate) mod r6_reads;

use std::fmt;

use crate::sim::Sim;

/// A broken promise.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) letter: &'static str,
    pub(crate) text: String,
}

impl Violation {
    pub(crate) fn new(letter: &'static str, text: impl Into<String>) -> Self {
        Self { letter, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.letter, self.text)
    }
}

/// What holds after every step.
pub(crate) fn check(sim: &Sim) -> Result<(), Violation> {
    r1_durability::check(sim)
}

/// What holds when faults are over and nothing is under way.
pub(crate) fn check_settled(sim: &Sim) -> Result<(), Violation> {
    r1_durability::check_settled(sim)?;
    r5_answer::check_settled(sim)
}

//! R3: an entry is appended in the term its proposal was decided in, and a term has one ready
//! leader in one life.

use steward_cluster::ids::{ShardId, Term};

use super::Violation;
use crate::oracle::{Life, Oracle};
use crate::store::Entry;

const LETTER: &str = "R3";

/// An entry is about to be applied.
pub(crate) fn on_apply(oracle: &Oracle, shard: ShardId, (term, number): Entry) -> Result<(), Violation> {
    match oracle.proposal(number) {
        Some(proposed) if (proposed.shard, proposed.term) != (shard, term) => {
            let text = format!("proposal {number} was decided in {:?}, {shard} has it in {term:?}", proposed.term);
            Err(Violation::new(LETTER, text))
        }
        Some(_) | None => Ok(()),
    }
}

/// A node says that it leads and is ready. Before that a lone voter may lose the power, and the term with it.
pub(crate) fn on_ready(oracle: &mut Oracle, shard: ShardId, term: Term, by: Life) -> Result<(), Violation> {
    let leader = *oracle.leaders.entry((shard, term)).or_insert(by);
    if leader != by {
        let text = format!("{shard} has two leaders in {term:?}: {leader:?} and {by:?}");
        return Err(Violation::new(LETTER, text));
    }
    Ok(())
}

//! R6: a read that is answered sees everything that was acknowledged before it was asked for.

use super::Violation;
use crate::oracle::Oracle;
use crate::store::Store;

const LETTER: &str = "R6";

/// A read is about to be answered from a store.
pub(crate) fn on_answer(oracle: &mut Oracle, store: &Store, number: u64) -> Result<(), Violation> {
    let at = usize::try_from(number - 1).expect("the number was given out by the oracle");
    let (shard, newest) = oracle.reads[at];
    let applied = store.applied(shard);
    if applied < newest {
        let text =
            format!("read {number} of {shard} is answered at {applied:?}, {newest:?} was acknowledged before it");
        return Err(Violation::new(LETTER, text));
    }
    oracle.reads_answered += 1;
    Ok(())
}

//! R4: a leader that says it is ready has applied everything decided in earlier terms, and an entry of its own.

use steward_cluster::ids::{ShardId, Term};

use super::Violation;
use crate::oracle::Oracle;
use crate::store::Store;

const LETTER: &str = "R4";

/// A node says that it leads and is ready.
pub(crate) fn on_ready(oracle: &Oracle, store: &Store, shard: ShardId, term: Term) -> Result<(), Violation> {
    let applied = store.applied(shard);
    let earlier = oracle.decided.iter().filter(|((of, _), (in_term, _))| *of == shard && *in_term < term);
    let missing = earlier.map(|((_, index), _)| *index).find(|index| *index > applied);
    if let Some(index) = missing {
        let text = format!("the leader of {shard} in {term:?} is ready at {applied:?} and lacks {index:?}");
        return Err(Violation::new(LETTER, text));
    }
    if !store.entries(shard).iter().any(|(in_term, _)| *in_term == term) {
        let text = format!("the leader of {shard} in {term:?} is ready at {applied:?} without an entry of its term");
        return Err(Violation::new(LETTER, text));
    }
    Ok(())
}

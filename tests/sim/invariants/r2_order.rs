//! R2: every node applies the same entries, in index order, without gaps, and none twice.

use steward_cluster::ids::{LogIndex, ShardId};

use super::Violation;
use crate::oracle::Oracle;
use crate::store::{Entry, Store};

const LETTER: &str = "R2";

/// An entry is about to be applied to a store.
pub(crate) fn on_apply(
    oracle: &mut Oracle,
    store: &Store,
    shard: ShardId,
    index: LogIndex,
    entry: Entry,
) -> Result<(), Violation> {
    let expected = LogIndex(store.applied(shard).0 + 1);
    if index != expected {
        let text = format!("{shard} applies {index:?}, next is {expected:?}");
        return Err(Violation::new(LETTER, text));
    }
    let decided = *oracle.decided.entry((shard, index)).or_insert(entry);
    if decided != entry {
        let text = format!("{shard} applies {entry:?} at {index:?}, decided was {decided:?}");
        return Err(Violation::new(LETTER, text));
    }
    Ok(())
}

//! R1: an acknowledged proposal stays where it was acknowledged, on every node that has come that far.

use steward_cluster::ids::{LogIndex, ShardId};

use super::Violation;
use crate::oracle::Oracle;
use crate::sim::Sim;
use crate::store::{Entry, Store};

const LETTER: &str = "R1";

pub(crate) fn check(sim: &Sim) -> Result<(), Violation> {
    for (&(shard, index), &number) in &sim.oracle.acknowledged {
        for node in &sim.nodes {
            let found = held(&node.store, shard, index);
            if found.is_some_and(|found| found != number) {
                let text =
                    format!("proposal {number} was acknowledged at {index:?} of {shard}, {} holds {found:?}", node.id);
                return Err(Violation::new(LETTER, text));
            }
        }
    }
    Ok(())
}

/// An entry is about to be applied.
pub(crate) fn on_apply(oracle: &Oracle, shard: ShardId, index: LogIndex, (_, number): Entry) -> Result<(), Violation> {
    match oracle.acknowledged.get(&(shard, index)) {
        Some(acknowledged) if *acknowledged != number => {
            let text = format!("proposal {acknowledged} was acknowledged at {index:?} of {shard}, now it is {number}");
            Err(Violation::new(LETTER, text))
        }
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn check_settled(sim: &Sim) -> Result<(), Violation> {
    check(sim)?;
    for (&(shard, index), &number) in &sim.oracle.acknowledged {
        for node in sim.nodes.iter().filter(|node| sim.is_member(node, shard)) {
            if held(&node.store, shard, index).is_none() {
                let text = format!("proposal {number} was acknowledged at {index:?} of {shard}, {} lost it", node.id);
                return Err(Violation::new(LETTER, text));
            }
        }
    }
    Ok(())
}

fn held(store: &Store, shard: ShardId, index: LogIndex) -> Option<u64> {
    let at = usize::try_from(index.0.checked_sub(1)?).ok()?;
    store.entries(shard).get(at).map(|(_, number)| *number)
}

/// The log of a node ends before what its store has applied.
pub(crate) fn log_behind_store(text: String) -> Violation {
    Violation::new(LETTER, text)
}

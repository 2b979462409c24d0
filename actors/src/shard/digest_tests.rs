//! A digest tells a replica that is as it should be from one that is not, however its entries were grouped.

use proptest::prelude::*;
use serde_json::json;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::LogIndex;
use steward_cluster::store::{Engine, StateStore, WriteBatch, open};

use super::digest::Digest;
use super::projection::Projection;
use super::projection_model::{Model, SHARDS};
use super::rows::{Family, Place};
use super::shard_of;
use crate::codec::Decision;
use crate::domain::account::Command;
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::Job;

/// Applies the decisions in batches that end where `cuts` says, and gives what the shard comes to.
fn digest_of(
    decisions: &[Decision],
    cuts: &[bool],
    meddle: impl Fn(usize, &dyn StateStore, &mut Projection<'_>),
) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let store = open(Engine::Memory, folder.path(), 8 << 20).unwrap();
    let mut projection = Projection::new(&*store);
    for ((at, decision), index) in decisions.iter().enumerate().zip(1..) {
        let shard = shard_of(&decision.account, SHARDS);
        projection.add(shard, LogIndex(index), decision).unwrap();
        projection.applied(shard, LogIndex(index), index % 5 == 0).unwrap();
        if cuts[at % cuts.len()] {
            store.write(projection.finish()).unwrap();
            projection = Projection::new(&*store);
            meddle(at, &*store, &mut projection);
        }
    }
    store.write(projection.finish()).unwrap();
    Digest::read(&*store, shard_of(&decisions[0].account, SHARDS)).unwrap().hash
}

/// An account, and what the operations lead to.
fn history(ops: &[(u8, u8, u8)]) -> Vec<Decision> {
    let name = AccountId::parse("acme").unwrap();
    let mut model = Model::new(name);
    let create = Command::CreateAccount { display_name: "A".to_owned(), wrapped_key: vec![1] };
    let commands = std::iter::once((0, None)).chain((1..).zip(ops).map(|(at, op)| (at, Some(op))));
    let mut decisions = vec![];
    for (at, op) in commands {
        let command = op.map_or_else(|| create.clone(), |(op, a, b)| model.command(*op, *a, *b));
        if let Some(decision) = model.decide(command, Timestamp(1000 + at)) {
            model.fold(&decision);
            decisions.push(decision);
        }
    }
    decisions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn grouping_does_not_change_the_digest(
        ops in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..120),
        cuts in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let decisions = history(&ops);
        let one_by_one = digest_of(&decisions, &[true], |_, _, _| {});
        prop_assert_eq!(digest_of(&decisions, &[false], |_, _, _| {}), one_by_one);
        prop_assert_eq!(digest_of(&decisions, &cuts, |_, _, _| {}), one_by_one);
    }
}

/// Requests a job, makes its source, takes a webhook, and then starts a task of the job.
const JOB_THEN_TASK: [(u8, u8, u8); 4] = [(13, 0, 2), (4, 0, 0), (6, 0, 0), (16, 0, 0)];

#[test]
fn a_stored_row_that_is_wrong_changes_the_digest_once_an_event_reads_it() {
    let decisions = history(&JOB_THEN_TASK);
    assert_eq!(decisions.len(), 5);
    let meddle = |after: usize| {
        move |at: usize, store: &dyn StateStore, _: &mut Projection<'_>| {
            let name = AccountId::parse("acme").unwrap();
            let place = Place { shard: shard_of(&name, SHARDS), account: &name };
            if at == after {
                let (id, mut job): (JobId, _) = place.read_all::<_, Job>(store, Family::Job, 1).unwrap().remove(0);
                job.input = json!({"url": "https://b"});
                let mut batch = WriteBatch::default();
                batch.put(place.key(Family::Job, id.as_str().as_bytes()), serde_json::to_vec(&job).unwrap());
                store.write(batch).unwrap();
            }
        }
    };
    let right = digest_of(&decisions, &[true], |_, _, _| {});
    assert_ne!(digest_of(&decisions, &[true], meddle(2)), right);
    // After the last event nobody has read it.
    assert_eq!(digest_of(&decisions, &[true], meddle(4)), right);
}

#[test]
fn forgetting_does_not_change_the_digest() {
    let decisions = history(&JOB_THEN_TASK);
    // As the applier does it: at the beginning of a batch, before its entries.
    let forget = |at: usize, store: &dyn StateStore, projection: &mut Projection<'_>| {
        let name = AccountId::parse("acme").unwrap();
        let delivery = Place { shard: shard_of(&name, SHARDS), account: &name }.delivery_key("source-0", "0");
        if at == 3 {
            assert!(store.get(&delivery).unwrap().is_some());
            projection.forget(delivery);
        }
    };
    assert_eq!(digest_of(&decisions, &[true], forget), digest_of(&decisions, &[true], |_, _, _| {}));
}

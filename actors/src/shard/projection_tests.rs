//! Rows hold what a plain fold holds, for random histories cut into random batches.
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::LogIndex;
use steward_cluster::store::{Direction, Engine, open};

use super::projection::Projection;
use super::projection_commands::{id, outcome};
use super::projection_model::{Model, SHARDS};
use super::rows::{Family, family_range};
use super::{Reads, shard_of};
use crate::domain::account::limits::{REFUSED_MAX, REFUSED_PLACE_BYTES};
use crate::domain::account::{
    Command, DeliveryOutcome, EndpointCreated, EndpointSettings, Moved, RefusedFor, Reported,
};
use crate::domain::ids::AccountId;
use crate::domain::job::{JobKind, JobOptions};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_hold_what_a_fold_holds(ops in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), 0..4_u8), 1..120)) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(Engine::Memory, folder.path(), 8 << 20).unwrap();
        let name = AccountId::parse("acme").unwrap();
        let shard = shard_of(&name, SHARDS);
        let mut model = Model::new(name);
        let create = Command::CreateAccount { display_name: "A".to_owned(), wrapped_key: vec![1] };
        let first = model.decide(create, Timestamp(1)).unwrap();
        let mut projection = Projection::new(&*store);
        model.fold(&first);
        projection.add(shard, LogIndex(1), &first).unwrap();
        for ((op, a, b, cut), index) in ops.into_iter().zip(2..) {
            if let Some(decision) = model.decide(model.command(op, a, b), Timestamp(index * 1000)) {
                model.fold(&decision);
                projection.add(shard, LogIndex(index), &decision).unwrap();
            }
            if cut == 0 {
                store.write(projection.finish()).unwrap();
                model.check(&store);
                projection = Projection::new(&*store);
            }
        }
        store.write(projection.finish()).unwrap();
        model.check(&store);
    }
}

#[test]
fn a_source_keeps_the_last_requests_it_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(Engine::Memory, folder.path(), 8 << 20).unwrap();
    let name = AccountId::parse("acme").unwrap();
    let shard = shard_of(&name, SHARDS);
    let mut model = Model::new(name);
    let create = Command::CreateAccount { display_name: "A".to_owned(), wrapped_key: vec![1] };
    let keep = |bytes: usize| Command::KeepRefused {
        source: id("source", 0),
        refused_for: RefusedFor::BadSignature,
        sealed_request: vec![1; bytes].into(),
    };
    let many = usize::try_from(REFUSED_MAX).unwrap() + 3;
    let commands = [create, model.command(4, 0, 0)].into_iter().chain((0..many).map(|_| keep(1)));
    // The last one takes three places.
    let commands = commands.chain([keep(2 * REFUSED_PLACE_BYTES + 1)]);
    let mut counts = vec![];
    for (command, index) in commands.zip(1..) {
        let decision = model.decide(command, Timestamp(index * 1000)).unwrap();
        model.fold(&decision);
        let mut projection = Projection::new(&*store);
        projection.add(shard, LogIndex(index), &decision).unwrap();
        store.write(projection.finish()).unwrap();
        counts.push(model.refused.values().map(BTreeMap::len).sum::<usize>());
    }
    model.check(&store);
    assert_eq!(counts[many..], [256, 256, 254]);
    let rows = store.scan(&family_range(shard, Family::Refused), Direction::Forward, usize::MAX).unwrap();
    assert_eq!(rows.len(), 254, "those that are too far behind are gone");
    // The sweep was not there, and those that came within the last seven days count all the same.
    let (reads, name) = (Reads::new(Arc::clone(&store), SHARDS), &model.account.id);
    let source = (&id("source", 0), &model.account.sources[&id("source", 0)]);
    let left = |now| reads.refused(name, source, 0, usize::MAX, now).unwrap().len();
    let last_at = u64::try_from(many + 3).unwrap() * 1000;
    let after = |at: u64| Timestamp(at + 7 * 24 * 3_600 * 1000);
    assert_eq!([left(after(last_at)), left(after(last_at - 1)), left(after(last_at - 2001))], [0, 1, 3]);
}

#[test]
fn what_was_given_up_and_sent_again_is_no_longer_dead() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(Engine::Memory, folder.path(), 8 << 20).unwrap();
    let name = AccountId::parse("acme").unwrap();
    let shard = shard_of(&name, SHARDS);
    let mut model = Model::new(name);
    let endpoint = || id("endpoint", 0);
    let (url, patterns, sealed_secret) = ("https://a".to_owned(), vec![], vec![1]);
    let new = EndpointCreated { endpoint: endpoint(), url, patterns, sealed_secret };
    let report = |is_recovery, outcome| Command::ReportDeliveries {
        endpoint: endpoint(),
        moved: vec![Moved { is_recovery, through_seq: 4, pending: vec![] }],
        outcomes: vec![Reported { event_seq: 3, outcome }],
    };
    let commands = [
        Command::CreateAccount { display_name: "A".to_owned(), wrapped_key: vec![1] },
        Command::CreateEndpoint(new, EndpointSettings::default()),
        Command::CreateJob { kind: JobKind::Call, input: json!({"url": "https://a"}), options: JobOptions::default() },
        Command::CreateJob { kind: JobKind::Call, input: json!({"url": "https://b"}), options: JobOptions::default() },
        report(false, DeliveryOutcome::Forgotten),
        Command::RecoverDeliveries { endpoint: endpoint(), after_seq: 2, through_seq: 4 },
        report(true, outcome(0)),
    ];
    let mut deaths = vec![];
    for (command, index) in commands.into_iter().zip(1..) {
        let decision = model.decide(command, Timestamp(index * 1000)).unwrap();
        model.fold(&decision);
        let mut projection = Projection::new(&*store);
        projection.add(shard, LogIndex(index), &decision).unwrap();
        store.write(projection.finish()).unwrap();
        model.check(&store);
        deaths.push(model.dead.len());
    }
    assert_eq!(deaths, [0, 0, 0, 0, 1, 1, 0]);
}

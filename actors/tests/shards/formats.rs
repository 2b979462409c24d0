//! Formats rise by barriers in the log, stay over restarts, travel with snapshots, and stop whoever does not know them.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use prost::Message as _;
use steward_actors::domain::account::{Command, Rejection, SourceAsked};
use steward_actors::shard::{Seat, Shards, ShardsConfig, StartError};
use steward_cluster::clock::SystemClock;
use steward_cluster::format::Format;
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::raft::{DriverFailure, OnFailure, abort_process};
use steward_cluster::store::{WriteBatch, snapshot};
use steward_proto::record::v1 as wire;

use crate::harness::{Setup, asked, founded, opened, until, zoom};

const SHARD: ShardId = ShardId(1);
const OTHER: ShardId = ShardId(0);
/// The family of the row, as `rows.rs` says.
const FORMATS: u8 = 17;
const BEYOND: Format = Format(Format::NEWEST.0 + 1);
/// Far more than what lies between two rounds of snapshots.
const ENTRIES: usize = 32;
const LIMIT: Duration = Duration::from_secs(60);

fn config() -> ShardsConfig {
    ShardsConfig { shards: 2, ..ShardsConfig::default() }
}

fn in_force(shards: &Shards, shard: ShardId) -> Format {
    shards.status().into_iter().find(|row| row.shard == shard).unwrap().format
}

async fn start(folder: &Path, on_failure: OnFailure) -> Result<Shards, StartError> {
    let clock = Arc::new(SystemClock::new());
    Shards::start(config(), Seat::alone(NodeId(1)), opened(folder), clock, vec![], on_failure).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_puts_a_format_in_force_and_what_needs_it_follows() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup { config: config(), ..Setup::default() }.start(folder.path()).await;
    assert_eq!(in_force(&shards, SHARD), Format::FIRST);
    shards.raise(SHARD, Format::CHECKS).await.unwrap();
    assert_eq!(in_force(&shards, SHARD), Format::CHECKS);
    until("replicas are compared", || shards.driver().last_check(SHARD).is_some()).await;
    // Whoever asks for checks asks for this shard's first.
    assert_eq!(shards.driver().last_check(OTHER), None);
    assert_eq!(in_force(&shards, OTHER), Format::FIRST);
    shards.raise(SHARD, Format::FIRST).await.unwrap();
    assert_eq!(in_force(&shards, SHARD), Format::CHECKS, "it only rises");
    shards.crash().await;
    for _ in 0..2 {
        let shards = Setup { config: config(), ..Setup::default() }.start(folder.path()).await;
        assert_eq!((in_force(&shards, SHARD), in_force(&shards, OTHER)), (Format::CHECKS, Format::FIRST));
        shards.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_format_is_refused_until_its_barrier_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup { config: config(), ..Setup::default() }.start(folder.path()).await;
    let account = founded(&shards, "acme").await;
    let shard = shards.shard_of(&account);
    let pause = || asked(Command::ChangeSource { source: zoom(), asked: SourceAsked::Pause });
    let refused = Err(Rejection::NotYet { format: Format::WEBHOOKS.0 }.into());
    assert_eq!(shards.execute(&account, pause()).await, refused);
    shards.raise(shard, Format::CHECKS).await.unwrap();
    assert_eq!(shards.execute(&account, pause()).await, refused, "an earlier one is not enough");
    let is_paused = || shards.reads().account(&account).unwrap().unwrap().sources[&zoom()].is_paused;
    assert!(!is_paused());
    shards.raise(shard, Format::WEBHOOKS).await.unwrap();
    shards.execute(&account, pause()).await.unwrap();
    assert!(is_paused());
    shards.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_beyond_what_is_known_ends_the_replica_before_it_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let (told, failures) = sync_channel(1);
    let on_failure = move |failure: DriverFailure| {
        let first: &dyn Error = &failure;
        let (mut causes, mut next) = (vec![], Some(first));
        while let Some(error) = next {
            causes.push(error.to_string());
            next = error.source();
        }
        told.send(causes).expect("the test waits");
    };
    let shards = start(folder.path(), Arc::new(on_failure)).await.unwrap();
    let raised = shards.raise(SHARD, BEYOND).await;
    assert!(raised.is_err(), "{raised:?}");
    let causes = failures.recv_timeout(LIMIT).unwrap();
    let (known, version) = (Format::NEWEST, env!("CARGO_PKG_VERSION"));
    let expected = format!(
        "{SHARD} has {BEYOND} in force, this binary knows up to {known}: start version {version} or a later one"
    );
    assert_eq!(causes.last(), Some(&expected), "{causes:?}");
    assert_eq!(in_force(&shards, SHARD), Format::FIRST);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_format_beyond_what_is_known_refuse_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(folder.path()).store;
    let [high, low] = SHARD.0.to_be_bytes();
    let barrier = wire::Barrier { format: BEYOND.0.into(), version: "9.8.7".to_owned() };
    let mut batch = WriteBatch::default();
    batch.put(vec![high, low, FORMATS], barrier.encode_to_vec());
    store.write(batch).unwrap();
    store.flush().unwrap();
    drop(store);
    let refused = start(folder.path(), Arc::new(abort_process)).await.err().unwrap().to_string();
    let known = Format::NEWEST;
    assert_eq!(
        refused,
        format!("{SHARD} has {BEYOND} in force, this binary knows up to {known}: start version 9.8.7 or a later one")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_of_the_format_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let config = ShardsConfig { snapshot_log_bytes: 1, ..config() };
    let shards = Setup { config, ..Setup::default() }.start(folder.path()).await;
    let format_of = |shard: ShardId| {
        let found = snapshot::list(&folder.path().join("snapshots")).unwrap();
        let newest = found.into_iter().find(|found| found.shard == shard)?;
        snapshot::verify(&newest.path).ok().map(|file| file.format)
    };
    until("a snapshot before the barrier", || format_of(SHARD) == Some(Format::FIRST)).await;
    // As many bytes of log as the round before wrote: then the next one is due.
    for _ in 0..ENTRIES {
        shards.raise(SHARD, Format::CHECKS).await.unwrap();
    }
    until("a snapshot behind the barrier", || format_of(SHARD) == Some(Format::CHECKS)).await;
    assert_eq!(format_of(OTHER), Some(Format::FIRST));
    shards.stop().await;
}

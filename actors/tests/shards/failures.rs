//! One account that panics, and a store that is lost: neither reaches another account.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;

use crate::harness::{Setup, account, asked, founded, opened, until, webhook};
use steward_actors::shard::{ExecuteError, Opened, Shards, ShardsConfig, open};
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::log::LogConfig;
use steward_cluster::store::{Direction, Engine, KeyRange, Sink, StateStore, StoreError, WriteBatch, mark_damaged};

/// A store that panics when the poisoned account's rows are read.
struct Poisoned {
    store: Arc<dyn StateStore>,
    armed: Arc<AtomicBool>,
}

impl StateStore for Poisoned {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let poisoned = key.windows(6).any(|window| window == b"poison");
        assert!(!(poisoned && self.armed.load(Ordering::SeqCst)), "a poisoned row");
        self.store.get(key)
    }
    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.store.scan(range, direction, limit)
    }
    fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.store.write(batch)
    }
    fn applied(&self, shard: ShardId) -> Result<LogIndex, StoreError> {
        self.store.applied(shard)
    }
    fn shard_view(&self, shard: ShardId, sink: &mut Sink<'_>) -> Result<LogIndex, StoreError> {
        self.store.shard_view(shard, sink)
    }
    fn shards(&self) -> Result<Vec<ShardId>, StoreError> {
        self.store.shards()
    }
    fn clear_shard(&self, shard: ShardId) -> Result<(), StoreError> {
        self.store.clear_shard(shard)
    }
    fn begin_load(&self, shard: ShardId) -> Result<(), StoreError> {
        self.store.begin_load(shard)
    }
    fn pace(&self) -> Result<(), StoreError> {
        self.store.pace()
    }
    fn finish_load(&self, shard: ShardId, index: LogIndex) -> Result<(), StoreError> {
        self.store.finish_load(shard, index)
    }
    fn flush(&self) -> Result<(), StoreError> {
        self.store.flush()
    }
    fn engine(&self) -> &'static str {
        self.store.engine()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_account_is_put_away_and_499_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let armed = Arc::new(AtomicBool::new(false));
    let found = opened(folder.path());
    let store = Arc::new(Poisoned { store: Arc::clone(&found.store), armed: Arc::clone(&armed) });
    let shards = Setup::default().start_over(Opened { store, ..found }).await;
    let poison = founded(&shards, "poison").await;
    let names: Vec<String> = (0..499).map(|n| format!("account-{n}")).collect();
    let others = join_all(names.iter().map(|name| founded(&shards, name))).await;
    armed.store(true, Ordering::SeqCst);
    let ask = || shards.execute(&poison, asked(webhook("d")));
    let mut panics = 0;
    let reason = loop {
        match ask().await.unwrap_err() {
            ExecuteError::Quarantined { reason, .. } => break reason,
            ExecuteError::Overloaded { what, .. } => assert_eq!(what, "queue of a restarting account"),
            error @ (ExecuteError::Rejected(_)
            | ExecuteError::NotLed { .. }
            | ExecuteError::DiskFull
            | ExecuteError::OutcomeUnknown { .. }) => panic!("{error}"),
        }
        panics += 1;
    };
    assert!(reason.contains("a poisoned row"), "{reason}");
    assert!(panics >= 3, "it was given its chances");
    let answers = join_all(others.iter().map(|other| shards.execute(other, asked(webhook("d"))))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().seq == 3));
    armed.store(false, Ordering::SeqCst);
    assert!(matches!(ask().await, Err(ExecuteError::Quarantined { .. })), "it stays away until an operator says so");
    assert!(shards.resume(&poison));
    let answer = loop {
        match ask().await {
            Err(ExecuteError::Overloaded { .. }) => tokio::task::yield_now().await,
            answer => break answer.unwrap(),
        }
    };
    assert_eq!((answer.seq, answer.repeated), (3, false), "none of the failed commands happened");
    shards.stop().await;
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup::default().start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    shards.crash().await;
    let full = LogConfig { reserve_bytes: u64::MAX, ..LogConfig::default() };
    let shards = Setup::default().start_over(open(folder.path(), Engine::Fjall, 1 << 20, full).unwrap()).await;
    for _ in 0..3 {
        let asks = (0..20).map(|n| shards.execute(&acme, asked(webhook(&format!("d-{n}")))));
        let answers = join_all(asks).await;
        assert!(answers.iter().all(|answer| answer == &Err(ExecuteError::DiskFull)), "{answers:?}");
    }
    assert_eq!(shards.reads().bounds(&acme).unwrap(), (1, 2));
    shards.crash().await;
    let shards = Setup::default().start(folder.path()).await;
    let answer = shards.execute(&acme, asked(webhook("d-1"))).await.unwrap();
    assert_eq!((answer.seq, answer.repeated), (3, false));
    shards.stop().await;
}

fn contents(shards: &Shards, count: usize) -> Vec<String> {
    let reads = shards.reads();
    let of = |n: usize| {
        let account = account(&format!("account-{n}"));
        format!("{:?} {:?}", reads.account(&account).unwrap(), reads.events(&account, 0, 1000).unwrap())
    };
    (0..count).map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_comes_back_from_snapshots_and_log() {
    let folder = tempfile::tempdir().unwrap();
    let config = ShardsConfig { snapshot_log_bytes: 64 << 10, ..ShardsConfig::default() };
    let setup = || Setup { config: config.clone(), ..Setup::default() };
    let shards = setup().start(folder.path()).await;
    let names: Vec<String> = (0..200).map(|n| format!("account-{n}")).collect();
    let accounts = join_all(names.iter().map(|name| founded(&shards, name))).await;
    let send = async |what: &str| {
        for n in 0..5 {
            let delivery = format!("{what}-{n}");
            let asks = accounts.iter().map(|account| shards.execute(account, asked(webhook(&delivery))));
            join_all(asks).await.into_iter().for_each(|answer| assert!(answer.is_ok()));
        }
    };
    send("before").await;
    until("snapshots are taken", || shards.status().iter().any(|row| row.snapshot_index.0 > 0)).await;
    send("after").await;
    let before = contents(&shards, accounts.len());
    shards.crash().await;
    mark_damaged(&folder.path().join("state"), "a test says so").unwrap();
    let again = opened(folder.path());
    assert_eq!(again.rebuilt.as_deref(), Some("a test says so"));
    let shards = setup().start_over(again).await;
    assert_eq!(contents(&shards, accounts.len()), before);
    assert!(shards.execute(&accounts[0], asked(webhook("before-1"))).await.unwrap().repeated);
    shards.stop().await;
}

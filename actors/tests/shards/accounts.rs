//! Commands to many accounts over a real log and store: durable, once, and the same after a restart.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{CACHE_BYTES, Setup, account, asked, create, create_source, founded, keyed, webhook, zoom};
use steward_actors::domain::account::{Command, Rejection};
use steward_actors::shard::{ExecuteError, Shards, open};
use steward_actors::supervisor::spawn;
use steward_cluster::log::LogConfig;
use steward_cluster::store::Engine;

const ACCOUNTS: usize = 200;
const WEBHOOKS: usize = 10;

/// Every account gets its webhooks, each webhook twice at the same time.
async fn fill(shards: &Shards) {
    let shards = Arc::new(shards.clone());
    let tasks: Vec<_> = (0..ACCOUNTS)
        .map(|n| {
            let shards = Arc::clone(&shards);
            spawn("test", async move {
                let account = founded(&shards, &format!("account-{n}")).await;
                for delivery in 0..WEBHOOKS {
                    let ask = || shards.execute(&account, asked(webhook(&format!("d-{delivery}"))));
                    let (one, two) = tokio::join!(ask(), ask());
                    let (one, two) = (one.unwrap(), two.unwrap());
                    assert_eq!(one.seq, two.seq);
                    assert!(!one.repeated && two.repeated, "the second one changes nothing");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_accounts_keep_their_order_and_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup::default().start(folder.path()).await;
    fill(&shards).await;
    let read = |shards: &Shards| {
        let reads = shards.reads();
        let of = |n| {
            let account = account(&format!("account-{n}"));
            (reads.account(&account).unwrap().unwrap(), reads.events(&account, 0, 100).unwrap())
        };
        (0..ACCOUNTS).map(of).collect::<Vec<_>>()
    };
    let before = read(&shards);
    for (_, events) in &before {
        let seqs: Vec<u64> = events.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, (1..=12).collect::<Vec<u64>>());
    }
    shards.crash().await; // No stop: what was answered is durable.
    let shards = Setup::default().start(folder.path()).await;
    assert_eq!(read(&shards), before);
    let again = shards.execute(&account("account-7"), asked(webhook("d-3"))).await.unwrap();
    assert!(again.repeated);
    assert_eq!(shards.execute(&account("account-7"), asked(webhook("new"))).await.unwrap().seq, 13);
    shards.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_first_answer() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup::default().start(folder.path()).await;
    let acme = account("acme");
    let ask = |fingerprint| shards.execute(&acme, keyed(create(), "k", fingerprint));
    let (first, second) = tokio::join!(ask(1), ask(1));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.seq, first.repeated, second.seq, second.repeated), (1, false, 1, true));
    assert_eq!(ask(2).await.unwrap_err(), ExecuteError::Rejected(Rejection::KeyReused));
    let missing = shards.execute(&account("nobody"), asked(create_source())).await.unwrap_err();
    assert!(matches!(missing, ExecuteError::Rejected(Rejection::NotFound { what: "account", .. })));
    shards.stop().await;
}

/// With a slow disk an early answer would be seen before its event can be read.
#[tokio::test(flavor = "multi_thread")]
async fn answers_leave_when_what_they_rest_on_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let slow = LogConfig { sync_delay: Duration::from_millis(100), ..LogConfig::default() };
    let opened = open(folder.path(), Engine::Fjall, CACHE_BYTES, slow).unwrap();
    let shards = Setup::default().start_over(opened).await;
    let acme = founded(&shards, "acme").await;
    let newest = || shards.reads().bounds(&acme).unwrap().1;
    let ask = |command| shards.execute(&acme, asked(command));
    let repeated = async {
        assert!(ask(webhook("d")).await.unwrap().repeated);
        assert_eq!(newest(), 3);
    };
    let (first, ()) = tokio::join!(ask(webhook("d")), repeated);
    assert_eq!(first.unwrap().seq, 3);
    let delete = || Command::DeleteSource { source: zoom() };
    let refused = async {
        let refusal = ask(delete()).await.unwrap_err();
        assert!(matches!(refusal, ExecuteError::Rejected(Rejection::NotFound { what: "source", .. })));
        assert_eq!(newest(), 4);
    };
    let (deleted, ()) = tokio::join!(ask(delete()), refused);
    assert_eq!(deleted.unwrap().seq, 4);
    shards.stop().await;
}

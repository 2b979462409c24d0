//! What is refused, and how many actors live.

use std::time::Duration;

use futures_util::future::join_all;

use crate::harness::{Setup, account, asked, create, founded, webhook};
use steward_actors::shard::{ExecuteError, Limit, Limits, Shards, ShardsConfig};
use steward_actors::supervisor::spawn;

/// On one thread no actor runs before all commands were sent, so exactly the limit gets in.
#[tokio::test(flavor = "current_thread")]
async fn a_full_account_refuses_and_says_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { account: Limit { commands: 4, bytes: 1 << 20 }, ..Limits::default() };
    let config = ShardsConfig { limits, ..ShardsConfig::default() };
    let shards = Setup { config, ..Setup::default() }.start(folder.path()).await;
    let (acme, other) = (founded(&shards, "acme").await, founded(&shards, "other").await);
    let asks = (0..100).map(|n| shards.execute(&acme, asked(webhook(&format!("d-{n}")))));
    let (answers, neighbour) = tokio::join!(join_all(asks), shards.execute(&other, asked(webhook("d-1"))));
    let refused = |answer: &Result<_, ExecuteError>| match answer {
        Err(ExecuteError::Overloaded { what, retry_after }) => {
            assert_eq!((*what, *retry_after), ("account", Duration::from_secs(1)));
            true
        }
        Ok(_) => false,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(answers.iter().filter(|answer| refused(answer)).count(), 96);
    neighbour.unwrap();
    assert_eq!(shards.execute(&acme, asked(webhook("later"))).await.unwrap().seq, 7, "refused means nothing was done");
    shards.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_actors_serve_many_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let config = ShardsConfig { accounts_live_max: 100, ..ShardsConfig::default() };
    let started = Setup { config, ..Setup::default() }.start(folder.path()).await;
    let shards: &Shards = &started;
    for round in 0..2 {
        let tasks: Vec<_> = (0..20)
            .map(|task| {
                let shards = shards.clone();
                spawn("test", async move {
                    for n in (task..1000).step_by(20) {
                        let account = account(&format!("account-{n}"));
                        if round == 0 {
                            shards.execute(&account, asked(create())).await.unwrap();
                            shards.execute(&account, asked(crate::harness::create_source())).await.unwrap();
                        } else {
                            assert_eq!(shards.execute(&account, asked(webhook("d"))).await.unwrap().seq, 3);
                        }
                        assert!(shards.live_accounts() <= 100 + 20, "only busy ones go beyond");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(shards.live_accounts() <= 100);
    }
    started.stop().await;
}

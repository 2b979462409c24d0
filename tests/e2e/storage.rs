//! What keeps the data: every engine takes webhooks, and a full disk refuses them before anything is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use steward_tests::harness::{Disk, Node, NodeBuilder, Platform, data, eventually, now_ms, skipped};

use crate::webhooks_in::source;

/// Enough for a log, its store, and some room above the reserve of 32 MiB.
const DISK_MIB: u64 = 128;
/// The log looks at the disk this often, and a little later.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

async fn webhooks_survive(node: NodeBuilder) {
    let mut node = node.start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::Stripe).await;
    let send = async |node: &Node, number: u64| {
        let delivery = Platform::Stripe.sample(number);
        let answer = node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["duplicate"] == true
    };
    for number in 0..20 {
        assert!(!send(&node, number).await);
    }
    let before = api.feed("acme").await;
    node.kill();
    node.restart();
    let api = node.api().await;
    assert_eq!(api.feed("acme").await, before);
    assert!(send(&node, 7).await, "a repeat is known after the restart");
    assert!(!send(&node, 20).await);
    assert_eq!(api.feed("acme").await.len(), before.len() + 1);
}

#[tokio::test]
async fn sled_keeps_webhooks_over_a_kill() {
    // After a kill sled's files are not trusted: they are built again from the log.
    let node = Node::builder().set("storage.engine=sled");
    webhooks_survive(node.expecting("is rebuilt from snapshots").expecting("was thrown away")).await;
}

#[tokio::test]
async fn memory_keeps_webhooks_over_a_kill() {
    webhooks_survive(Node::builder().set("storage.engine=memory")).await;
}

#[tokio::test]
async fn fjall_keeps_webhooks_over_a_kill() {
    webhooks_survive(Node::builder().set("storage.engine=fjall")).await;
}

#[tokio::test]
async fn a_full_disk_refuses_webhooks_before_anything_is_lost() {
    let disk = match Disk::mount(DISK_MIB) {
        Ok(disk) => disk,
        Err(reason) => return skipped(&reason),
    };
    let mut node = Node::builder().on_disk(disk.path()).expecting("disk space is low").start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let send = async |node: &Node, number: u64| {
        let delivery = Platform::GitHub.sample(number);
        node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await
    };
    let mut acknowledged = BTreeSet::new();
    for number in 0..10 {
        assert_eq!(send(&node, number).await.status, 200);
        acknowledged.insert(format!("delivery-{number}"));
    }
    disk.fill_but(16);
    // What is under way when the disk fills still fits: that is what the reserve is for.
    let mut number = 10;
    let refused = eventually(NOTICED_WITHIN, "a refusal", async || {
        let answer = send(&node, number).await;
        if answer.status == 200 {
            acknowledged.insert(format!("delivery-{number}"));
            number += 1;
            return None;
        }
        Some(answer)
    })
    .await;
    refused.problem(507, "disk_full");
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(node.get("/livez").await.status, 200);
    assert_eq!(api.feed_of("acme", "webhook.github.push").await.len(), acknowledged.len(), "reads go on");

    disk.free();
    let accepted = eventually(NOTICED_WITHIN, "webhooks to be taken again", async || {
        Some(send(&node, number).await).filter(|answer| answer.status == 200)
    });
    accepted.await;
    acknowledged.insert(format!("delivery-{number}"));
    node.kill();
    node.restart();
    let found = node.api().await.feed_of("acme", "webhook.github.push").await;
    let found: Vec<String> =
        found.iter().map(|event| data(event)["delivery_ids"][0].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.len(), acknowledged.len(), "nothing refused is on the feed, nothing twice");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), acknowledged);
}

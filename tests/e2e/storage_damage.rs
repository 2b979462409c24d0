//! Damaged files: a store is built again, a log refuses to start and says where.

use std::fs;
use std::path::{Path, PathBuf};

use steward_tests::harness::{Node, Platform, now_ms};

use crate::webhooks_in::source;

/// Distance between flipped bytes: no block of any engine is spared.
const FLIP_EVERY: usize = 64;

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

async fn with_webhooks(node: &Node, webhooks: u64) -> String {
    let path = source(&node.api().await, "acme", Platform::GitHub).await;
    for number in 0..webhooks {
        let delivery = Platform::GitHub.sample(number);
        assert_eq!(node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await.status, 200);
    }
    path
}

#[tokio::test]
async fn a_damaged_store_is_built_again_and_the_feed_is_whole() {
    let mut node = Node::start();
    let path = with_webhooks(&node, 30).await;
    let before = node.api().await.feed("acme").await;
    assert!(node.terminate().await.success());
    let damaged = files(&node.data_dir().join("shards/state"));
    assert!(!damaged.is_empty());
    for file in damaged {
        let mut bytes = fs::read(&file).unwrap();
        bytes.iter_mut().step_by(FLIP_EVERY).for_each(|byte| *byte ^= 0xff);
        fs::write(&file, bytes).unwrap();
    }
    node.expect("state store is rebuilt from snapshots");
    node.expect("was thrown away and built again");
    node.restart();
    node.logged("the rebuild", |line| line["message"] == "state store is rebuilt from snapshots");
    let api = node.api().await;
    assert_eq!(api.feed("acme").await, before);
    let delivery = Platform::GitHub.sample(7);
    let repeated = node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await;
    assert_eq!(repeated.json()["duplicate"], true, "what was known before is known again");
}

#[tokio::test]
async fn a_missing_store_is_built_again() {
    let mut node = Node::start();
    with_webhooks(&node, 5).await;
    let before = node.api().await.feed("acme").await;
    node.kill();
    fs::remove_dir_all(node.data_dir().join("shards/state")).unwrap();
    node.restart();
    assert_eq!(node.api().await.feed("acme").await, before);
}

#[tokio::test]
async fn a_damaged_log_refuses_to_start_and_says_where() {
    let mut node = Node::start();
    with_webhooks(&node, 30).await;
    assert!(node.terminate().await.success());
    let log = files(&node.data_dir().join("shards/log"))
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "log"));
    let log = log.expect("there is a segment");
    let mut bytes = fs::read(&log).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("the segment holds something");
    bytes[used / 2] ^= 0x01;
    fs::write(&log, &bytes).unwrap();
    node.expect("steward: ");
    let said = node.refuses_to_start();
    let name = log.file_name().unwrap().to_str().unwrap();
    assert!(said.contains("is damaged at byte ") && said.contains(name), "{said}");
    let offset = said.split("at byte ").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let offset: usize = offset.and_then(|digits| digits.parse().ok()).expect("an offset is named");
    assert!(offset <= used / 2 && used / 2 - offset < 4096, "byte {} was flipped, byte {offset} is named", used / 2);
    // Put right, it starts.
    bytes[used / 2] ^= 0x01;
    fs::write(&log, &bytes).unwrap();
    node.restart();
    assert_eq!(node.api().await.feed("acme").await.len(), 32);
}

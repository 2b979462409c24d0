//! Parts of a node that stand still are named, and the process ends when nothing else helps.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;
use steward_tests::harness::{Frozen, Node, WAIT_MAX, eventually, skipped};
use tokio::task::JoinSet;

/// What a node says while a part of it stands still.
const STANDS: &str = "has stood still for";
/// The last words of one that ends itself.
const ENDS: &str = "nothing else helps, the process ends";

#[tokio::test]
async fn a_thread_that_hangs_is_named_until_it_gets_on() {
    let node = Node::builder().set("node.standstill_s=2").set("node.standstill_s_max=0").expecting(STANDS).start();
    let api = node.api().await;
    api.create_account("before").await;
    let frozen = match Frozen::thread(node.pid(), "steward-applier") {
        Ok(frozen) => frozen,
        Err(reason) => return skipped(&format!("a_thread_that_hangs_is_named_until_it_gets_on: {reason}")),
    };
    // Something to apply, which is answered when it is applied.
    let mut asked = JoinSet::new();
    asked.spawn(async move { api.create_account("meanwhile").await });
    let named = async || {
        let answer = node.get("/readyz").await;
        (answer.status == 503).then(|| answer.text())
    };
    let named = eventually(WAIT_MAX, "readyz to name it", named).await;
    assert!(named.contains("applier has stood still for") && named.contains("at shard"), "{named}");
    assert_eq!(node.get("/livez").await.status, 200, "the process lives");
    let text = node.get("/metrics").await.text();
    let seconds = |part: &str| {
        let name = format!("steward_standstill_seconds{{part=\"{part}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
    };
    assert_ne!(seconds("applier"), "0");
    assert_eq!(["log", "driver", "tasks", "runtime"].map(seconds), ["0"; 4], "others get on");
    drop(frozen);
    asked.join_next().await.unwrap().unwrap();
    let over = async || (node.get("/readyz").await.status == 200).then_some(());
    eventually(WAIT_MAX, "readyz to see that it is over", over).await;
}

#[tokio::test]
async fn a_node_whose_log_hangs_ends_itself_and_starts_again_with_all_it_acknowledged() {
    let builder = Node::builder().set("node.standstill_s=1").set("node.standstill_s_max=3");
    let mut node = builder.expecting(STANDS).expecting(ENDS).start();
    let api = node.api().await;
    api.create_account("acknowledged").await;
    let frozen = match Frozen::thread(node.pid(), "steward-log") {
        Ok(frozen) => frozen,
        Err(reason) => return skipped(&format!("a_node_whose_log_hangs: {reason}")),
    };
    let mut asked = JoinSet::new();
    asked.spawn(async move { api.create_account("late").await });
    eventually(WAIT_MAX, "the last words", async || node.last_logged(ENDS)).await;
    drop(frozen); // What stands still in this way cannot even be killed.
    assert_eq!(node.ends().await.signal(), Some(Signal::ABORT.as_raw()));
    let was_answered = asked.join_next().await.unwrap().is_ok(); // Between the log's next breath and the end there is a moment for it.
    node.restart();
    let api = node.api().await;
    assert_eq!(api.feed("acknowledged").await.len(), 1);
    if was_answered {
        assert_eq!(api.feed("late").await.len(), 1);
    }
}

//! What `ctl job show` and `ctl job list` tell people about a real recording that is split over tasks.

use std::fs;

use serde_json::json;
use steward_tests::harness::{Node, Outside};

use crate::pipeline::{media_node, recording};

/// What a command printed; it succeeds.
fn printed(node: &Node, args: &[&str]) -> String {
    let output = node.ctl(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The line of a table or list that begins with a word.
fn line<'a>(text: &'a str, word: &str) -> &'a str {
    text.lines().find(|line| line.split_whitespace().next() == Some(word)).unwrap_or_else(|| panic!("{word} in {text}"))
}

#[tokio::test]
async fn a_job_is_shown_with_a_bar_for_each_chunk_and_what_was_probed() {
    let platform = Outside::serving("video/webm", fs::read(recording("meeting_360p_25s.webm")).expect("the fixture"));
    let node = media_node().start();
    node.raised().await;
    let api = node.api().await;
    api.create_account("acme").await;
    let job = api.create_job("acme", "normalize", &json!({"url": platform.url("/rec.webm")})).await;
    let (ended, told) = api.follow("acme", 0).await.until_job_ends(&job).await;
    assert_eq!(ended, "job.succeeded", "{told}");

    let shown = printed(&node, &["job", "show", "acme", &job]);
    let full = format!("▕{}▏100%", "█".repeat(24));
    for task in ["fetch", "probe", "encode-1", "encode-2", "sound", "normalize"] {
        let line = line(&shown, task);
        assert!(line.contains(&full) && line.contains("succeeded"), "{line}");
    }
    let recording = line(&shown, "recording:");
    for fact in ["matroska,webm", "0:00:24.754", "vp8 640x360, 618 pictures", "opus 1 channel"] {
        assert!(recording.contains(fact), "{fact} in {recording}");
    }
    assert!(line(&shown, "decision:").contains("transcode: "), "{shown}");
    let detail = node.ctl_json(&["job", "show", "acme", &job]);
    let normalized = detail["tasks"].as_array().expect("tasks").iter().find(|task| task["task"] == "normalize");
    let blob = normalized.expect("the join")["result"]["blob"].as_str().expect("a blob").to_owned();
    assert!(shown.lines().any(|line| line.starts_with("h264, aac, ") && line.ends_with(&blob)), "{shown}");

    let listed = printed(&node, &["job", "list", "acme"]);
    assert!(line(&listed, &job).contains("matroska,webm; 0:00:24.754;"), "{listed}");
}

//! The official tus client for Python brings a file to a running node, in pieces with checksums, and goes on where it was.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use steward_tests::harness::{Node, data, workspace};

use crate::pipeline::recording;
use crate::uploads::upload;

#[tokio::test]
async fn tuspy_brings_a_file_and_goes_on_where_it_was() {
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    upload(&node, "acme", 1).await; // The formats are raised.
    let sdks = workspace().join(".sdks");
    assert!(sdks.join("ready").exists(), "the official SDKs are not there; scripts/setup --tests installs them");
    let mut command = Command::new(sdks.join("python/bin/python"));
    command.arg(workspace().join("tests/fixtures/sdk/uploader.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = command.spawn().expect("the client starts");
    let url = format!("http://{}/v1/accounts/acme/uploads", node.http());
    let file = recording("meeting_360p_25s.mp4");
    let places = json!({"url": url, "key": node.key(), "file": file});
    writeln!(client.stdin.take().expect("it has an input"), "{places}").expect("it reads where to send");
    let output = client.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the client failed; see its errors above");
    let told: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let bytes = std::fs::read(file).expect("the recording is there");
    assert_eq!((&told["resumed_at"], &told["offset"]), (&json!(300_000), &json!(bytes.len())), "{told}");
    let [uploaded] = api.feed_of("acme", "blob.uploaded").await.try_into().expect("it is brought once");
    let hash = blake3::hash(&bytes).to_hex();
    let want = json!({
        "blob": hash.as_str(), "bytes": bytes.len(), "content_type": "video/mp4", "name": "meeting.mp4"
    });
    assert_eq!(data(&uploaded), want);
    assert_eq!(api.blob("acme", &hash).await, bytes);
}

//! What jobs made of a recording, as players read it from a node.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use steward_tests::harness::{Api, Outside};

use crate::pipeline::{media_node, recording};

/// What ffprobe says of an address; the key goes with every request, as a browser's player sends it.
fn probed(url: &str, key: &str, args: &str) -> (bool, String) {
    let mut command = Command::new("/usr/bin/ffprobe");
    command.args(["-v", "error", "-headers", &format!("authorization: Bearer {key}\r\n")]);
    let output = command.args(args.split_whitespace()).arg(url).output().expect("ffprobe is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[tokio::test]
async fn a_ladder_plays_over_http() {
    let platform = Outside::serving("video/webm", fs::read(recording("meeting_360p_25s.webm")).unwrap());
    let node = media_node().start();
    let api = node.api().await;
    for account in ["acme", "beta"] {
        api.create_account(account).await;
    }
    node.raised().await;
    let input = json!({"url": platform.url("/rec.webm")});
    let job = api.create_job("acme", "hls", &input).await;
    let (ended, told) = api.follow("acme", 0).await.until_job_ends(&job).await;
    assert_eq!(ended, "job.succeeded", "{told}");
    let job = api.job("acme", &job).await;
    let (_, normalized) = Api::task(&job, "normalize");
    let (_, made) = Api::task(&job, "hls");
    assert_eq!((&normalized["one_pass"], &made["status"]), (&Value::Null, &json!("ok")), "{normalized} {made}");
    let address = |account: &str| {
        format!("http://{}/v1/accounts/{account}/blobs/{}.m3u8", node.http(), made["blob"].as_str().unwrap())
    };
    let (_, probe) = Api::task(&job, "probe");
    let count = "-count_packets -select_streams v -show_entries stream=width,height,nb_read_packets -of csv=p=0";
    let (is_played, said) = probed(&address("acme"), node.key(), count);
    assert!(is_played, "{said}");
    let frames = probe["video"]["frames"].as_u64().unwrap();
    for size in ["640,360", "426,240"] {
        assert!(said.lines().any(|line| line == format!("{size},{frames}")), "{size} of {frames} frames: {said}");
    }
    assert!(!probed(&address("beta"), node.key(), count).0, "another account's is no playlist");
    assert!(!probed(&address("acme"), "stw_no_key", count).0, "and a stranger's is none");
}

//! Work that is lost with the node that did it: another one does it again, and the job ends once.

use std::fs;
use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};

use serde_json::json;
use steward_tests::harness::{Api, Cluster, Outside, Run, Shape, WAIT_MAX, eventually, headers, workspace};

use crate::{A_WHILE, PLAN, close};

const ACCOUNT: &str = "account-0";

/// What platforms serve.
pub(crate) fn recording() -> Vec<u8> {
    let recording = workspace().join("tests/fixtures/media/meeting_360p_25s.mp4");
    fs::read(recording).expect("the recording is in the repository")
}

/// A platform that says nothing to the first request until the sender is dropped, and serves a recording to the others.
pub(crate) fn slow_platform() -> (Outside, SyncSender<()>) {
    let recording = recording();
    let (release, released) = sync_channel(1);
    let released = Mutex::new(released);
    let platform = Outside::start(move |_, earlier| {
        if earlier == 0 {
            released.lock().expect("nobody panics with it").recv().ok(); // It is dropped, nothing is sent.
        }
        (200, headers(&[("content-type", "video/mp4")]), recording.clone())
    });
    (platform, release)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_worker_is_killed_is_done_by_another_node() {
    let mut cluster = Cluster::start(Shape::default()).await;
    let run = Run::start(PLAN, cluster.known()).await;
    let (platform, release) = slow_platform();
    let api = cluster.node(1).api().await;
    let job = api.create_job(ACCOUNT, "probe", &json!({"url": platform.url("/rec.mp4")})).await;
    let asked = async || (!platform.seen().is_empty()).then_some(());
    eventually(WAIT_MAX, "a worker to fetch the recording", asked).await;
    let worker = cluster.leader_of(api.feed(ACCOUNT).await[0].shard);
    cluster.kill(worker);
    let other = cluster.all_but(worker)[0];
    let api = cluster.node(other).api().await;
    let done = async || {
        let job = api.job(ACCOUNT, &job).await;
        (job.ended_at_ms > 0).then_some(job)
    };
    let done = eventually(WAIT_MAX, "the job to end", done).await;
    assert_eq!(done.error_code, "", "{done:?}");
    assert_eq!(Api::task(&done, "fetch").0.attempt, 2, "{done:?}");
    assert_eq!(api.feed_of(ACCOUNT, "job.succeeded").await.len(), 1);
    drop(release);
    cluster.restart(worker);
    run.goes_on(A_WHILE).await;
    close("worker killed", cluster, run).await;
}

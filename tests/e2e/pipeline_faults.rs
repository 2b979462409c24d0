//! What goes wrong with recordings: kills, cancellations, files that are none, servers that are busy or forbidden.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use steward_proto::event::v1::Event;
use steward_proto::job::v1::{JobState, TaskState};
use steward_tests::harness::{Api, Follow, Node, Outside, children_of, headers, looped, within};

use crate::pipeline::{media_node, recording};

/// A cancelled job's processes are gone after this.
const GONE_WITHIN: Duration = Duration::from_secs(3);

fn ffmpegs(node: &Node) -> Vec<u32> {
    children_of(node.pid()).into_iter().filter(|(name, _)| name == "ffmpeg").map(|(_, pid)| pid).collect()
}

/// Tasks that run at a time on a node of these tests.
const SLOTS_MAX: usize = 2;

fn is_piece(task: &str) -> bool {
    task.starts_with("encode-") || task == "sound"
}

/// Asks for a normalised recording and waits until a first piece of it is finished; returns the job and its finished
/// pieces.
pub(crate) async fn caught_at_work(node: &Node, platform: &Outside) -> (String, Follow, Vec<String>) {
    let api = node.api().await;
    node.raised().await;
    api.create_account("acme").await;
    let mut follow = api.follow("acme", 0).await;
    let job = api.create_job("acme", "normalize", &json!({"url": platform.url("/rec.webm")})).await;
    let is_done = |event: &Event, told: &Value| {
        event.r#type == "task.succeeded" && told["task"].as_str().is_some_and(|task| task.starts_with("encode-"))
    };
    follow.until("a finished piece", is_done).await;
    let tasks = api.job("acme", &job).await.tasks;
    let done = tasks.into_iter().filter(|task| is_piece(&task.kind) && task.state() == TaskState::Succeeded);
    (job, follow, done.map(|task| task.kind).collect())
}

/// After a restart the job succeeds, and of its pieces only those that were at work are done again. What comes out is, to
/// the byte, what comes out of a job that nothing disturbs.
pub(crate) async fn goes_on_from_its_pieces(node: &Node, platform: &Outside, job: &str, before: &[String]) {
    let api = node.api().await;
    let (ended, told) = api.follow("acme", 0).await.until_job_ends(job).await;
    assert_eq!(ended, "job.succeeded", "{told}");
    let job = api.job("acme", job).await;
    let (_, result) = Api::task(&job, "normalize");
    assert_eq!((&result["status"], &result["one_pass"]), (&json!("complete"), &Value::Null), "{result}");
    let pieces: Vec<_> = job.tasks.iter().filter(|task| is_piece(&task.kind)).collect();
    let again: Vec<&str> = pieces.iter().filter(|task| task.attempt > 1).map(|task| task.kind.as_str()).collect();
    assert!(again.len() <= SLOTS_MAX, "{again:?}");
    assert!(before.iter().all(|piece| !again.contains(&piece.as_str())), "{again:?} of {before:?}");
    assert!(pieces.len() >= 3 && !before.is_empty(), "{pieces:?}");

    api.create_account("calm").await;
    let calm = api.create_job("calm", "normalize", &json!({"url": platform.url("/rec.webm")})).await;
    let (ended, told) = api.follow("calm", 0).await.until_job_ends(&calm).await;
    assert_eq!(ended, "job.succeeded", "{told}");
    let (_, undisturbed) = Api::task(&api.job("calm", &calm).await, "normalize");
    assert_eq!(result, undisturbed);
}

#[tokio::test]
async fn a_video_job_goes_on_after_a_kill() {
    let platform = Outside::serving("video/webm", fs::read(recording("meeting_360p_25s.webm")).unwrap());
    let mut node = media_node().start();
    let (job, _, before) = caught_at_work(&node, &platform).await;
    node.kill();
    node.restart();
    goes_on_from_its_pieces(&node, &platform, &job, &before).await;
}

#[tokio::test]
async fn a_cancelled_job_leaves_no_process_behind() {
    // Long enough that the cancellation finds ffmpeg at work.
    let platform = Outside::serving("video/webm", looped(&recording("meeting_360p_25s.webm"), 12));
    let node = media_node().start();
    let (job, mut follow, _) = caught_at_work(&node, &platform).await;
    let working = within(GONE_WITHIN, "ffmpeg at work", || Some(ffmpegs(&node)).filter(|pids| !pids.is_empty()));
    let api = node.api().await;
    api.cancel_job("acme", &job).await;
    within(GONE_WITHIN, "the end of ffmpeg", || ffmpegs(&node).is_empty().then_some(()));
    for pid in working {
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "process {pid} is still there");
    }
    assert_eq!(follow.until_job_ends(&job).await.0, "job.cancelled");
    assert_eq!(api.job("acme", &job).await.state(), JobState::Cancelled);
    api.cancel_job("acme", &job).await;
    assert_eq!(api.feed_of("acme", "job.cancelled").await.len(), 1, "cancelling again changes nothing");
    within(GONE_WITHIN, "the job's scratch folder to go", || {
        let left = fs::read_dir(node.data_dir().join("scratch/acme")).map_or(0, Iterator::count);
        (left == 0).then_some(())
    });
}

#[tokio::test]
async fn a_page_that_is_called_mp4_fails_once_with_the_finding() {
    let page = b"<!doctype html><title>Sign in</title><p>Your session has expired.".repeat(40);
    let platform = Outside::serving("video/mp4", page);
    let node = media_node().expecting("media tool failed").start();
    let api = node.api().await;
    api.create_account("acme").await;
    let job = api.create_job("acme", "call", &json!({"url": platform.url("/rec.mp4")})).await;
    let (ended, told) = api.follow("acme", 0).await.until_job_ends(&job).await;
    assert_eq!((ended.as_str(), told["failure"]["code"].as_str()), ("job.failed", Some("media_unreadable")), "{told}");
    let job = api.job("acme", &job).await;
    let (probe, _) = Api::task(&job, "probe");
    assert_eq!((probe.state(), probe.attempt, probe.retry_at_ms), (TaskState::Failed, 1, 0));
    assert!(probe.error_message.len() > "the file is no recording we can read: ".len(), "{}", probe.error_message);
    assert!(!probe.error_message.contains("/tmp"), "no path of the node: {}", probe.error_message);
    assert_eq!(job.error_code, "media_unreadable");
}

#[tokio::test]
async fn addresses_beyond_the_public_internet_are_refused_before_anything_is_dialled() {
    let bait = Outside::serving("text/plain", b"secret".to_vec());
    let port = bait.url("").rsplit(':').next().unwrap().to_owned();
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    for url in [
        &bait.url("/x.mp4"),
        &format!("http://localhost:{port}/x.mp4"),
        &format!("http://[::ffff:127.0.0.1]:{port}/x.mp4"),
        &format!("http://2130706433:{port}/x.mp4"),
        "http://127.0.0.1/x.mp4",
        "http://10.0.0.1/x.mp4",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
    ] {
        let job = api.create_job("acme", "probe", &json!({ "url": url })).await;
        let (ended, told) = api.follow("acme", 0).await.until_job_ends(&job).await;
        assert_eq!(
            (ended.as_str(), told["failure"]["code"].as_str()),
            ("job.failed", Some("egress_refused")),
            "{told}"
        );
        assert_eq!(Api::task(&api.job("acme", &job).await, "fetch").0.attempt, 1, "{url}");
    }
    assert_eq!(bait.connections(), 0, "the bait was touched");
}

#[tokio::test]
async fn a_busy_platform_is_asked_again_when_it_said() {
    let bytes = fs::read(recording("meeting_360p_25s.mp4")).unwrap();
    let platform = Outside::start(move |_, earlier| match earlier {
        0 => (503, headers(&[("retry-after", "3")]), b"busy".to_vec()),
        _ => (200, headers(&[("content-type", "video/mp4")]), bytes.clone()),
    });
    let node = media_node().start();
    let api = node.api().await;
    api.create_account("acme").await;
    let mut follow = api.follow("acme", 0).await;
    let job = api.create_job("acme", "probe", &json!({"url": platform.url("/rec.mp4")})).await;
    let (failed, told) = follow.until_task("task.failed", "fetch").await;
    assert_eq!(told["failure"]["code"], "egress_status", "{told}");
    let retry_at_ms = told["retry_at_ms"].as_u64().expect("it will be tried again");
    assert!(retry_at_ms >= failed.time_ms + 3_000, "not before the platform said: {told}");
    let (again, told) = follow.until_task("task.started", "fetch").await;
    assert!(told["attempt"] == 2 && again.time_ms >= retry_at_ms, "{told}");
    assert_eq!(follow.until_job_ends(&job).await.0, "job.succeeded");
    assert_eq!(platform.seen().len(), 2);
}

#[tokio::test]
async fn a_blob_opens_for_its_account_only() {
    let platform = Outside::serving("video/webm", fs::read(recording("meeting_360p_25s.webm")).unwrap());
    let node = media_node().start();
    let api = node.api().await;
    for account in ["acme", "beta"] {
        api.create_account(account).await;
    }
    let job = api.create_job("acme", "probe", &json!({"url": platform.url("/rec.webm")})).await;
    api.follow("acme", 0).await.until_job_ends(&job).await;
    let blob = Api::task(&api.job("acme", &job).await, "fetch").1["blob"].clone();

    let own = api.create_job("acme", "probe", &json!({ "blob": blob })).await;
    let (ended, told) = api.follow("acme", 0).await.until_job_ends(&own).await;
    assert_eq!(ended, "job.succeeded", "{told}");
    let foreign = api.create_job("beta", "probe", &json!({ "blob": blob })).await;
    let (ended, told) = api.follow("beta", 0).await.until_job_ends(&foreign).await;
    assert_eq!((ended.as_str(), &told["failure"]["code"]), ("job.failed", &json!("blob_absent")), "{told}");
}

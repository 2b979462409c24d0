//! A wall clock that jumps by an hour, ahead and back: leases, back-offs and order go by other clocks, and it is told.

use std::time::Duration;

use serde_json::json;
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_tests::harness::{Api, Cluster, Outside, Platform, Run, Shape, WAIT_MAX, WallClock, eventually, headers};

use crate::work::{recording, slow_platform};
use crate::{A_WHILE, PLAN, close};

/// The node whose clock jumps.
const NODE: u64 = 1;
const HOUR_S: i64 = 3600;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The node compares clocks over two seconds, and the fake one is looked at once in a second.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

/// What is told differs by how late a frame was, at most.
const TOLD_WITHIN_S: f64 = 5.0;

/// Waits until the other nodes tell that a clock is so far off.
async fn told(cluster: &Cluster, off_s: f64) {
    let clock = SystemClock::new();
    for node in cluster.all_but(NODE) {
        let is_told = async || {
            let skew = cluster.node(node).gauge("steward_peer_clock_skew_seconds").await?;
            ((skew - off_s).abs() < TOLD_WITHIN_S).then_some(())
        };
        eventually(WAIT_MAX, "the difference of a clock to be told", is_told).await;
    }
    let told_after = clock.monotonic();
    assert!(told_after < TOLD_WITHIN, "{told_after:?}");
}

/// Moves the clock and waits until everybody has noticed. The node leads with it as before; not in the same terms, for a
/// machine that is too busy costs any node a leadership now and then.
async fn jumps(cluster: &Cluster, wall_clock: &WallClock, ahead_s: i64, off_s: f64) {
    wall_clock.is_ahead_by(ahead_s);
    told(cluster, off_s).await;
    let leads = async || {
        let rows = cluster.node(NODE).ctl_json(&["shards"]);
        rows.as_array()?.iter().any(|row| row["role"] == "leader").then_some(())
    };
    eventually(WAIT_MAX, "the node to lead with its clock", leads).await;
}

/// An account whose shard this node leads. It may be without any for a moment, until it is given back what is its.
async fn account_of(cluster: &Cluster, api: &Api) -> String {
    let led = async || {
        let rows = cluster.node(NODE).ctl_json(&["shards"]);
        let is_led = |shard: u32| rows.as_array()?.iter().find(|row| row["shard"] == shard && row["role"] == "leader");
        for account in (0..PLAN.accounts).map(|account| format!("account-{account}")) {
            if is_led(api.feed(&account).await[0].shard).is_some() {
                return Some(account);
            }
        }
        None
    };
    eventually(WAIT_MAX, "the node to lead an account", led).await
}

/// A server that fails once.
fn shaky(body: Vec<u8>) -> Outside {
    Outside::start(move |_, earlier| match earlier {
        0 => (503, vec![], vec![]),
        _ => (200, headers(&[("content-type", "video/mp4")]), body.clone()),
    })
}

/// What fails is tried again when its back-off ends: tasks after about a second, deliveries after about five.
async fn tries_again(api: &Api, account: &str) {
    let (platform, receiver) = (shaky(recording()), shaky(vec![]));
    api.create_job(account, "probe", &json!({"url": platform.url("/rec.mp4")})).await;
    api.create_endpoint(account, "shaky", &receiver.url("/in"), Platform::GitHub.event_type(), SECRET).await;
    let tried = async || (platform.seen().len() > 1 && receiver.seen().len() > 1).then_some(());
    eventually(WAIT_MAX, "what failed to be tried again", tried).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_is_told_and_ends_no_lease_and_turns_no_event() {
    let mut cluster = Cluster::start(Shape::default()).await;
    cluster.terminate(NODE).await;
    let wall_clock = WallClock::of(cluster.node_mut(NODE));
    cluster.restart(NODE);
    cluster.placed().await;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    let api = cluster.node(NODE).api().await;
    let account = account_of(&cluster, &api).await;
    let (platform, release) = slow_platform();
    let job = api.create_job(&account, "probe", &json!({"url": platform.url("/rec.mp4")})).await;
    let asked = async || (!platform.seen().is_empty()).then_some(());
    eventually(WAIT_MAX, "a worker to fetch the recording", asked).await;
    for (ahead_s, off_s) in [(HOUR_S, 3600.0), (-HOUR_S, 3600.0), (0, 0.0)] {
        jumps(&cluster, &wall_clock, ahead_s, off_s).await;
        if ahead_s < 0 {
            tries_again(&api, &account).await;
        }
        run.goes_on(A_WHILE).await;
    }
    assert_eq!(cluster.node(NODE).metric("steward_registrations_total").await, 1, "its lease was lost");
    drop(release);
    let done = async || Some(api.job(&account, &job).await).filter(|job| job.ended_at_ms > 0);
    let done = eventually(WAIT_MAX, "the job to end", done).await;
    assert_eq!((done.error_code.as_str(), Api::task(&done, "fetch").0.attempt), ("", 1), "{done:?}");
    for account in 0..PLAN.accounts {
        let feed = api.feed(&format!("account-{account}")).await;
        assert!(feed.is_sorted_by_key(|event| event.time_ms), "account {account}: time went back");
    }
    close("clock jumped", cluster, run).await;
}

//! Work that a busy node gives to idle ones, and what becomes of it when they are lost with it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::json;
use steward_tests::harness::{Api, Cluster, Outside, Run, Shape, WAIT_MAX, data, eventually, headers, workspace};

use crate::{A_WHILE, PLAN, close};

/// All jobs are this one's, so that one node leads them all.
const ACCOUNT: &str = "account-0";
/// One for each node.
const JOBS: usize = 3;
/// A fetch takes such a slot, and every node has one.
const SETTINGS: &[&str] = &["tasks.net_slots=1"];
/// Longer than a lease.
const SILENCE: Duration = Duration::from_secs(12);

/// Opens once, for all who wait.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().expect("nobody panics with it") = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().expect("nobody panics with it");
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).expect("nobody panics with it"));
    }
}

/// What fetches wait for: the first ones for one gate, the second attempts for another.
#[derive(Default)]
struct Gates {
    first: Gate,
    second: Gate,
}

/// A platform that serves a recording to whoever asks, once the gate is open.
fn platform() -> (Outside, Arc<Gates>) {
    let recording = fs::read(workspace().join("tests/fixtures/media/meeting_360p_25s.mp4"));
    let recording = recording.expect("the recording is in the repository");
    let gates = Arc::new(Gates::default());
    let passed = Arc::clone(&gates);
    let platform = Outside::start(move |_, earlier| {
        let gate = if earlier < JOBS { &passed.first } else { &passed.second };
        gate.pass();
        (200, headers(&[("content-type", "video/mp4")]), recording.clone())
    });
    (platform, gates)
}

/// Jobs at work on every node, although one node leads them all.
struct Spread {
    cluster: Cluster,
    run: Run,
    platform: Outside,
    gates: Arc<Gates>,
    /// The node that leads them.
    busy: u64,
    /// The job each node fetches for.
    jobs: BTreeMap<u64, String>,
}

impl Spread {
    async fn start() -> Self {
        let cluster = Cluster::start(Shape { settings: SETTINGS, ..Shape::default() }).await;
        let run = Run::start(PLAN, cluster.known()).await;
        let (platform, gates) = platform();
        let api = cluster.node(1).api().await;
        let input = json!({"url": platform.url("/rec.mp4")});
        for _ in 0..JOBS {
            api.create_job(ACCOUNT, "probe", &input).await;
        }
        let all_fetch = async || (platform.seen().len() == JOBS).then_some(());
        eventually(WAIT_MAX, "all nodes to fetch a recording", all_fetch).await;
        let busy = cluster.leader_of(api.feed(ACCOUNT).await[0].shard);
        let started = api.feed_of(ACCOUNT, "task.started").await;
        let jobs: BTreeMap<u64, String> = started.iter().map(|event| worker_and_job(&data(event))).collect();
        assert_eq!(jobs.keys().copied().collect::<Vec<_>>(), [1, 2, 3], "every node does one: {jobs:?}");
        Self { cluster, run, platform, gates, busy, jobs }
    }

    /// A node that fetches for another.
    fn idle(&self) -> u64 {
        self.cluster.all_but(self.busy)[0]
    }

    async fn api(&self) -> Api {
        self.cluster.node(self.busy).api().await
    }

    /// Waits until the lease of a job's fetch has gone from its worker.
    async fn is_lost(&self, job: &str) {
        let api = self.api().await;
        let lost = async || {
            let released = api.feed_of(ACCOUNT, "task.released").await;
            released.iter().any(|event| data(event)["job"] == job).then_some(())
        };
        eventually(WAIT_MAX, "the lease of a silent worker to end", lost).await;
    }

    /// Lets the others fetch their recordings, so that one has a slot, and waits until that one tries again.
    async fn is_tried_again(&self) {
        self.gates.first.open();
        let again = async || (self.platform.seen().len() == JOBS + 1).then_some(());
        eventually(WAIT_MAX, "a second attempt", again).await;
    }

    /// Every job ends well, the one whose worker was lost by the second attempt.
    async fn all_end_once(&self, lost: &str) {
        self.gates.second.open();
        let api = self.api().await;
        for job in self.jobs.values() {
            let done = async || {
                let job = api.job(ACCOUNT, job).await;
                (job.ended_at_ms > 0).then_some(job)
            };
            let done = eventually(WAIT_MAX, "the job to end", done).await;
            assert_eq!(done.error_code, "", "{done:?}");
            assert_eq!(Api::task(&done, "fetch").0.attempt, if job == lost { 2 } else { 1 }, "{done:?}");
        }
    }

    /// Each job and each task of it succeeded once, whoever reported.
    async fn close(self, what: &str) {
        let api = self.api().await;
        assert_eq!(api.feed_of(ACCOUNT, "job.succeeded").await.len(), JOBS);
        assert_eq!(api.feed_of(ACCOUNT, "task.succeeded").await.len(), 2 * JOBS, "a fetch and a probe each");
        let given = self.cluster.node(self.busy).metric(r#"steward_tasks_given_total{kind="fetch"}"#).await;
        assert!(given >= 2, "{given} fetches were given to other nodes");
        let Self { cluster, run, platform, .. } = self;
        run.goes_on(A_WHILE).await;
        close(what, cluster, run).await;
        drop(platform);
    }
}

fn worker_and_job(started: &serde_json::Value) -> (u64, String) {
    let worker = started["worker"].as_str().and_then(|worker| worker.strip_prefix("node-"));
    let node = worker.and_then(|worker| worker.split('/').next()).and_then(|node| node.parse().ok());
    (node.expect("a worker is named after its node"), started["job"].as_str().expect("a task has a job").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_a_busy_node_runs_on_all_and_a_killed_one_loses_none_of_it() {
    let mut spread = Spread::start().await;
    let victim = spread.idle();
    let job = spread.jobs[&victim].clone();
    spread.cluster.kill(victim);
    spread.is_lost(&job).await;
    spread.is_tried_again().await;
    spread.all_end_once(&job).await;
    spread.cluster.restart(victim);
    spread.close("an idle node killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_comes_after_the_lease_was_lost_is_refused() {
    let mut spread = Spread::start().await;
    let sleeper = spread.idle();
    let job = spread.jobs[&sleeper].clone();
    spread.cluster.pause(sleeper);
    spread.run.goes_on_for(SILENCE).await;
    spread.is_lost(&job).await;
    spread.is_tried_again().await;
    spread.cluster.go_on(sleeper);
    let node = spread.cluster.node(sleeper);
    let ended = async || {
        let metric = |outcome| format!(r#"steward_task_attempts_total{{kind="fetch",outcome="{outcome}"}}"#);
        let (refused, cancelled) = (node.metric(&metric("refused")).await, node.metric(&metric("cancelled")).await);
        (refused + cancelled == 1).then_some(())
    };
    eventually(WAIT_MAX, "the attempt of the node that slept to end in vain", ended).await;
    spread.all_end_once(&job).await;
    spread.close("an idle node asleep").await;
}

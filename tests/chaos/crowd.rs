//! Bystanders: accounts that get a webhook now and then while others misbehave. All of theirs must be taken, and soon.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steward_cluster::clock::{Clock as _, SystemClock};
use steward_tests::harness::{Api, Http, Node, Platform, now_ms};
use tokio::task::JoinSet;
use tokio::time::interval;

const BYSTANDERS: usize = 8;
/// Each posts one webhook in so long.
const EVERY: Duration = Duration::from_millis(25);
/// A difference in latency that says nothing on a machine with other things to do.
const NOISE: Duration = Duration::from_millis(10);

/// The bystanders of a node.
pub(crate) struct Crowd {
    address: String,
    paths: Vec<String>,
    next: Arc<AtomicU64>,
}

impl Crowd {
    pub(crate) async fn gather(node: &Node, api: &Api) -> Self {
        let mut paths = vec![];
        for number in 0..BYSTANDERS {
            let account = format!("bystander-{number}");
            api.create_account(&account).await;
            let platform = Platform::GitHub;
            paths.push(api.create_source(&account, "in", platform.scheme(), platform.secret()).await);
        }
        Self { address: node.http().to_owned(), paths, next: Arc::default() }
    }

    /// Everybody posts so many webhooks, every other one over a new connection each time; returns the time 99 of 100 took
    /// at most.
    pub(crate) async fn turn(&self, posts: usize) -> Duration {
        let mut posting = JoinSet::new();
        for (at, path) in self.paths.iter().enumerate() {
            let (address, path, next) = (self.address.clone(), path.clone(), Arc::clone(&self.next));
            posting.spawn(async move { post(&address, &path, &next, posts, at.is_multiple_of(2)).await });
        }
        let mut took: Vec<Duration> = posting.join_all().await.into_iter().flatten().collect();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    }

    /// How many webhooks the feeds of all bystanders have.
    pub(crate) async fn on_feeds(&self, api: &Api) -> u64 {
        let mut count = 0;
        for number in 0..BYSTANDERS {
            let events = api.feed_of(&format!("bystander-{number}"), Platform::GitHub.event_type()).await;
            count += u64::try_from(events.len()).expect("a few");
        }
        count
    }

    /// How many webhooks they have posted.
    pub(crate) fn posted(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }
}

async fn post(address: &str, path: &str, next: &AtomicU64, posts: usize, anew: bool) -> Vec<Duration> {
    let clock = SystemClock::new();
    let mut beat = interval(EVERY);
    let (mut line, mut took) = (None, vec![]);
    for _ in 0..posts {
        beat.tick().await;
        let delivery = Platform::GitHub.sample(next.fetch_add(1, Ordering::SeqCst));
        let headers = delivery.signed(now_ms(), "");
        let before = clock.monotonic();
        if line.is_none() || anew {
            line = Some(Http::connect(address).await.expect("the node accepts connections"));
        }
        let http = line.as_mut().expect("it was connected");
        let reply = http.send("POST", path, &headers, &delivery.body).await.expect("a bystander is answered");
        took.push(clock.monotonic().saturating_sub(before));
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.header("ratelimit").is_none(), "a bystander is told of a quota");
    }
    took
}

/// The middle one of some times.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Says how bystanders fared, and holds it against the limit.
#[track_caller]
pub(crate) fn compare(what: &str, quiet: Vec<Duration>, loud: Vec<Duration>, factor: f64) {
    eprintln!("{what}: p99 of bystanders by turns, quiet {quiet:.1?}, loud {loud:.1?}");
    let (quiet, loud) = (median(quiet), median(loud));
    let limit = quiet.mul_f64(factor).max(quiet + NOISE);
    eprintln!("{what}: medians {quiet:.1?} and {loud:.1?}, {:.2} times", loud.as_secs_f64() / quiet.as_secs_f64());
    assert!(loud <= limit, "{what}: bystanders wait {loud:.1?} instead of {quiet:.1?}; at most {limit:.1?}");
}

/// What a node may grow by, whatever comes.
pub(crate) const GROWTH_MIB_MAX: u64 = 128;

/// The memory of a node from now on.
pub(crate) struct Memory {
    process: PathBuf,
    before: u64,
}

impl Memory {
    pub(crate) fn of(node: &Node) -> Self {
        let process = PathBuf::from(format!("/proc/{}", node.pid()));
        // Forgets the peak so far.
        std::fs::write(process.join("clear_refs"), "5").expect("the node's peak can be forgotten");
        let before = kib(&process, "VmRSS:");
        Self { process, before }
    }

    /// By how much it grew at most.
    pub(crate) fn grown_mib(&self) -> u64 {
        kib(&self.process, "VmHWM:").saturating_sub(self.before) / 1024
    }
}

fn kib(process: &Path, name: &str) -> u64 {
    let status = std::fs::read_to_string(process.join("status")).expect("the node runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

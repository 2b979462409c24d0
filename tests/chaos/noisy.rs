//! A sender at many times the rate of its source, and one that tries a hundred megabytes: it is theirs to bear, not that of
//! the accounts beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steward_cluster::clock::{Clock as _, SystemClock};
use steward_proto::webhook::v1::UpdateSourceRequest;
use steward_tests::harness::{Api, Http, Node, Platform, Reply, headers, now_ms};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::crowd::{Crowd, GROWTH_MIB_MAX, Memory, compare};

/// What the noisy source takes, and how many times that it is sent.
const RATE_PER_S: u32 = 20;
const TIMES: u32 = 50;
const NOISY_SENDERS: u32 = 4;
const LARGE: usize = 100_000_000;
const LARGE_SENDERS: usize = 1;
/// It tries twice in so long: as fast as it can would only take the machine's cores from everybody.
const LARGE_EVERY: Duration = Duration::from_secs(1);
/// What a node and two sockets may swallow of a body that is refused: the limit of bodies, and buffers.
const SWALLOWED_MAX: usize = 16 << 20;
/// Turns with noise, and posts of each bystander in a turn.
const TURNS: usize = if cfg!(feature = "chaos") { 7 } else { 1 };
const POSTS: usize = if cfg!(feature = "chaos") { 120 } else { 60 };
/// How much longer bystanders may wait.
const FACTOR: f64 = 1.5;

#[derive(Default)]
struct Told {
    accepted: AtomicU64,
    refused: AtomicU64,
    large: AtomicU64,
}

/// Misbehaves until it is dropped.
struct Noise {
    senders: JoinSet<()>,
    told: Arc<Told>,
}

impl Noise {
    fn start(node: &Node, noisy: &str, large: &str, told: &Arc<Told>, numbers: &Arc<AtomicU64>) -> Self {
        let mut senders = JoinSet::new();
        for _ in 0..NOISY_SENDERS {
            let (address, path) = (node.http().to_owned(), noisy.to_owned());
            let (told, numbers) = (Arc::clone(told), Arc::clone(numbers));
            senders.spawn(async move { hurry(&address, &path, &told, &numbers).await });
        }
        for _ in 0..LARGE_SENDERS {
            let (address, path, told) = (node.http().to_owned(), large.to_owned(), Arc::clone(told));
            senders.spawn(async move { push(&address, &path, &told).await });
        }
        Self { senders, told: Arc::clone(told) }
    }

    /// Ends the noise; what went wrong with it fails the test.
    async fn end(mut self) {
        self.senders.abort_all();
        while let Some(ended) = self.senders.join_next().await {
            assert!(ended.is_err_and(|ended| ended.is_cancelled()), "a noisy sender failed");
        }
        assert!(self.told.refused.load(Ordering::SeqCst) > 0 && self.told.large.load(Ordering::SeqCst) > 0);
    }
}

/// Sends its share of many times the rate.
async fn hurry(address: &str, path: &str, told: &Told, numbers: &AtomicU64) {
    let mut http = Http::connect(address).await.expect("the node accepts connections");
    let mut beat = interval(Duration::from_secs(1) * NOISY_SENDERS / (RATE_PER_S * TIMES));
    loop {
        beat.tick().await;
        let delivery = Platform::GitHub.sample(numbers.fetch_add(1, Ordering::SeqCst));
        let signed = delivery.signed(now_ms(), "");
        let reply = http.send("POST", path, &signed, &delivery.body).await.expect("the node answers");
        if reply.status == 200 {
            told.accepted.fetch_add(1, Ordering::SeqCst);
        } else {
            check_refusal(&reply);
            told.refused.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[track_caller]
fn check_refusal(reply: &Reply) {
    reply.problem(429, "rate_limited");
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.header("ratelimit-policy"), Some(r#""source";q=20;w=1"#));
    assert_eq!(reply.header("ratelimit"), Some(r#""source";r=0;t=1"#));
}

/// Tries large bodies, with their length and without.
async fn push(address: &str, path: &str, told: &Told) {
    let mut beat = interval(LARGE_EVERY);
    loop {
        beat.tick().await;
        let mut http = Http::connect(address).await.expect("the node accepts connections");
        let length = headers(&[("content-length", &LARGE.to_string())]);
        http.send_head("POST", path, &length).await.expect("a head is taken");
        http.read().await.expect("the node answers").problem(413, "body_too_large");
        let swallowed = stream(address, path).await;
        assert!(swallowed < SWALLOWED_MAX, "the node took {swallowed} bytes");
        told.large.fetch_add(1, Ordering::SeqCst);
    }
}

/// Sends a body without a length until the node has enough of it; returns how much that was.
async fn stream(address: &str, path: &str) -> usize {
    let connection = TcpStream::connect(address).await.expect("the node accepts connections");
    let (mut reads, mut writes) = connection.into_split();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    writes.write_all(head.as_bytes()).await.expect("a head is taken");
    let chunk = [format!("{:x}\r\n", 64 << 10).as_bytes(), &[b'x'; 64 << 10], b"\r\n"].concat();
    let sending = async {
        let mut sent = 0;
        while sent < LARGE && writes.write_all(&chunk).await.is_ok() {
            sent += 64 << 10;
        }
        sent
    };
    let mut answer = vec![];
    // What was unread may end the connection with a reset.
    let (sent, _) = tokio::join!(sending, reads.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    sent
}

async fn noisy_source(api: &Api) -> String {
    api.create_account("noisy").await;
    let platform = Platform::GitHub;
    let path = api.create_source("noisy", "in", platform.scheme(), platform.secret()).await;
    let (account_id, source_id) = ("noisy".to_owned(), "in".to_owned());
    let request = UpdateSourceRequest { account_id, source_id, rate_per_s: RATE_PER_S, ..Default::default() };
    api.webhooks().update_source(request).await.expect("the source is changed");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_noisy_account_is_held_back_and_nobody_else() {
    let node = Node::start();
    let api = node.api().await;
    let noisy = noisy_source(&api).await;
    api.create_account("large").await;
    let large = api.create_source("large", "in", Platform::GitHub.scheme(), Platform::GitHub.secret()).await;
    let crowd = Crowd::gather(&node, &api).await;
    crowd.turn(POSTS).await; // Warm.
    let memory = Memory::of(&node);
    let (clock, told, numbers) = (SystemClock::new(), Arc::<Told>::default(), Arc::default());
    let (mut quiet, mut loud) = (vec![], vec![]);
    for _ in 0..TURNS {
        quiet.push(crowd.turn(POSTS).await);
        let noise = Noise::start(&node, &noisy, &large, &told, &numbers);
        loud.push(crowd.turn(POSTS).await);
        noise.end().await;
    }
    let seconds = clock.monotonic().as_secs() + 1;
    let grown = memory.grown_mib();
    let (accepted, refused) = (told.accepted.load(Ordering::SeqCst), told.refused.load(Ordering::SeqCst));
    eprintln!(
        "{accepted} taken and {refused} refused in {seconds} s, {} large ones, {grown} MiB more",
        told.large.load(Ordering::SeqCst)
    );
    assert!(accepted <= u64::from(RATE_PER_S) * (seconds + 1), "{accepted} were taken in {seconds} s");
    assert!(grown <= GROWTH_MIB_MAX, "the node grew by {grown} MiB");
    assert_eq!(crowd.on_feeds(&api).await, crowd.posted());
    assert_eq!(api.feed_of("large", Platform::GitHub.event_type()).await.len(), 0);
    if cfg!(feature = "chaos") {
        compare("a noisy account", quiet, loud, FACTOR);
    }
}

//! Receivers that hang, never end, cut off or point inside: they cost the others nothing, and the node no memory.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use steward_proto::account::v1::Role;
use steward_proto::webhook::v1::AttemptResult;
use steward_proto::webhook::v1::ListDeliveriesRequest;
use steward_tests::harness::{Api, Node, Outside, WAIT_MAX, data, eventually, within};

const SECRET: &str = "whsec_c3Rld2FyZC1lMmUtcmVjZWl2ZXItc2VjcmV0LTE=";
const EVENTS: usize = 40;
/// What a node may grow by while receivers send it all they can.
const GROWTH_MAX_MB: u64 = 64;

/// A server that does something else than answer.
struct Hostile {
    port: u16,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
    /// Bytes it got rid of.
    written: Arc<AtomicU64>,
}

impl Hostile {
    fn start(behaviour: fn(TcpStream, &AtomicBool, &AtomicU64)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&written));
        let accepting = std::thread::spawn(move || {
            let mut serving = vec![];
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (stopped, counted) = (Arc::clone(&stopped), Arc::clone(&counted));
                serving.push(std::thread::spawn(move || behaviour(stream, &stopped, &counted)));
            }
            serving.into_iter().for_each(|one| drop(one.join()));
        });
        Self { port, stop, accepting: Some(accepting), written }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/in", self.port)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port))); // Wakes the thread that accepts.
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok(); // Its panic says nothing about the node.
        }
    }
}

/// Takes the request and says nothing until the node gives up.
fn hangs(mut stream: TcpStream, _: &AtomicBool, _: &AtomicU64) {
    let mut taken = [0; 4096];
    while stream.read(&mut taken).is_ok_and(|length| length > 0) {}
}

/// Answers without end.
fn never_ends(mut stream: TcpStream, stop: &AtomicBool, written: &AtomicU64) {
    let mut taken = [0; 4096];
    if stream.read(&mut taken).is_err() {
        return;
    }
    let chunk = [b'x'; 64 * 1024];
    let head = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 10737418240\r\n\r\n";
    let mut is_taken = stream.write_all(head).is_ok();
    while is_taken && !stop.load(Ordering::SeqCst) {
        is_taken = stream.write_all(&chunk).is_ok();
        written.fetch_add(65_536, Ordering::SeqCst);
    }
}

/// Cuts off in the middle of its first line.
fn cuts_off(mut stream: TcpStream, _: &AtomicBool, _: &AtomicU64) {
    let mut taken = [0; 16];
    if stream.read(&mut taken).is_ok() {
        stream.write_all(b"HTTP/1.1 20").ok(); // The node may be gone already.
    }
}

fn resident_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the node runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

async fn failures(api: &Api, endpoint: &str) -> usize {
    let request = ListDeliveriesRequest {
        account_id: "acme".to_owned(),
        endpoint_id: endpoint.to_owned(),
        result: AttemptResult::Failed.into(),
        ..ListDeliveriesRequest::default()
    };
    api.webhooks().list_deliveries(request).await.expect("attempts are listed").into_inner().deliveries.len()
}

#[tokio::test]
async fn hostile_receivers_cost_the_others_nothing() {
    let (hanging, endless, cutting) = (Hostile::start(hangs), Hostile::start(never_ends), Hostile::start(cuts_off));
    let bait = Outside::start(|_, _| (204, vec![], vec![]));
    let inside = bait.url("/secret");
    let pointing = Outside::start(move |_, _| (307, vec![("location".to_owned(), inside.clone())], vec![]));
    let healthy = Outside::start(|_, _| (204, vec![], vec![]));
    let node =
        Node::builder().reaching_loopback().set("deliveries.timeout_s=1").set("deliveries.in_flight_max=32").start();
    let api = node.api().await;
    api.create_account("acme").await;
    let pattern = "key.created";
    for (name, url) in [("hangs", hanging.url()), ("endless", endless.url()), ("cuts", cutting.url())] {
        api.create_endpoint("acme", name, &url, pattern, SECRET).await;
    }
    api.create_endpoint("acme", "points", &pointing.url("/in"), pattern, SECRET).await;
    api.create_endpoint("acme", "well", &healthy.url("/in"), pattern, SECRET).await;
    let before = resident_mb(node.pid());
    for _ in 0..EVENTS {
        api.create_key("acme", Role::Reader, 0).await;
    }
    within(WAIT_MAX, "all events at the one that answers", || (healthy.seen().len() >= EVENTS).then_some(()));
    for name in ["hangs", "endless", "cuts", "points"] {
        let failed = async || (failures(&api, name).await > 0).then_some(());
        eventually(WAIT_MAX, "a failure to be told", failed).await;
    }
    let grown = resident_mb(node.pid()).saturating_sub(before);
    assert!(grown < GROWTH_MAX_MB, "the node grew by {grown} MB");
    assert_eq!(bait.connections(), 0, "a redirect was followed");
    assert!(endless.written.load(Ordering::SeqCst) < 1 << 30, "an endless answer was read on");
    let told = api.feed_of("acme", "delivery.failed").await;
    let longest = told.iter().map(|event| data(event)["response"].as_str().map_or(0, str::len)).max();
    assert!(longest.is_some_and(|length| length == 4096), "the beginning of an answer is kept: {longest:?}");
    assert_eq!(api.endpoint("acme", "well").await.failed_attempts_total, 0);
}

//! The way out through a proxy that the settings name, and past those that the environment names.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};
use steward_proto::account::v1::Role;
use steward_tests::harness::{Node, Outside};

const SECRET: &str = "whsec_c3Rld2FyZC1lMmUtcmVjZWl2ZXItc2VjcmV0LTE=";
/// An address that nobody in a test has.
const PUBLIC: &str = "93.184.215.14";

/// A proxy at which every address is one server of this machine. Its threads end with their connections.
struct TestProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    is_up: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl TestProxy {
    fn start(server: SocketAddr, is_up: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let (heads, stop) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicBool::new(false)));
        let is_up = Arc::new(AtomicBool::new(is_up));
        let (seen, up, stopping) = (Arc::clone(&heads), Arc::clone(&is_up), Arc::clone(&stop));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, up) = (Arc::clone(&seen), Arc::clone(&up));
                let Ok(stream) = stream else { continue };
                thread::spawn(move || serve(stream, server, &seen, &up));
            }
        });
        Self { address, heads, is_up, stop, accepting: Some(accepting) }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address)); // Wakes the thread that accepts.
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok(); // Its panic has failed the test already.
        }
    }
}

fn serve(mut here: TcpStream, server: SocketAddr, heads: &Mutex<Vec<String>>, is_up: &AtomicBool) -> Option<()> {
    let (mut head, mut byte) = (vec![], [0]);
    while !head.ends_with(b"\r\n\r\n") {
        here.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    heads.lock().unwrap_or_else(PoisonError::into_inner).push(String::from_utf8_lossy(&head).into_owned());
    if !is_up.load(Ordering::SeqCst) {
        return here.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").ok();
    }
    let there = TcpStream::connect(server).ok()?;
    here.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (mut from, mut to) = (here.try_clone().ok()?, there.try_clone().ok()?);
    let back = thread::spawn(move || pass(there, here));
    io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Write).ok();
    back.join().ok()
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Write).ok();
}

fn accepting() -> Outside {
    Outside::start(|_, _| (204, vec![], vec![]))
}

fn address(outside: &Outside) -> SocketAddr {
    outside.url("").trim_start_matches("http://").parse().expect("a URL holds an address")
}

#[tokio::test]
async fn deliveries_and_downloads_go_through_the_proxy_and_wait_for_it() {
    let receiver = accepting();
    let proxy = TestProxy::start(address(&receiver), false);
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    std::fs::write(&credentials, "steward:s3cret\n").unwrap();
    let node = Node::builder()
        .set(&format!("egress.proxy=http://{}", proxy.address))
        .set(&format!("egress.proxy_credentials=file:{}", credentials.display()))
        .expecting("media tool failed")
        .start();
    let api = node.api().await;
    api.create_account("acme").await;
    api.create_endpoint("acme", "crm", &format!("http://{PUBLIC}/in"), "key.created", SECRET).await;
    api.create_endpoint("acme", "inward", "http://10.0.0.1/in", "key.created", SECRET).await;
    let mut follow = api.follow("acme", 0).await;
    api.create_key("acme", Role::Reader, 0).await;
    let mut told = vec![];
    while told.len() < 2 {
        told.push(follow.until("a failure", |event, _| event.r#type == "delivery.failed").await.1);
    }
    let error = |endpoint: &str| {
        let of = |told: &&Value| told["endpoint"] == endpoint;
        told.iter().find(of).and_then(|told| told["error"].as_str()).expect("both have failed")
    };
    assert_eq!(error("crm"), format!("egress_proxy: no connection to {PUBLIC}: the proxy answered 503"));
    assert!(error("inward").starts_with("egress_refused: "), "{}", error("inward"));

    proxy.is_up.store(true, Ordering::SeqCst);
    let (_, told) = follow.until("the delivery", |event, _| event.r#type == "delivery.succeeded").await;
    assert_eq!((&told["endpoint"], &told["attempt"]), (&json!("crm"), &json!(2)), "{told}");
    let seen = receiver.seen();
    assert_eq!((seen.len(), seen[0].header("host"), seen[0].path.as_str()), (1, Some(PUBLIC), "/in"));
    assert_eq!(seen[0].header("proxy-authorization"), None);

    let job = api.create_job("acme", "probe", &json!({"url": format!("http://{PUBLIC}/call.mp4")})).await;
    follow.until_job_ends(&job).await;
    assert!(receiver.seen().iter().any(|seen| seen.path == "/call.mp4"), "downloads go the same way");
    let wanted = format!(
        "CONNECT {PUBLIC}:80 HTTP/1.1\r\nHost: {PUBLIC}:80\r\n\
                          Proxy-Authorization: Basic c3Rld2FyZDpzM2NyZXQ=\r\n\r\n"
    );
    assert!(proxy.heads().iter().all(|head| *head == wanted), "{:?}", proxy.heads());
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_asked() {
    let (receiver, bait) = (accepting(), accepting());
    let mut node = Node::builder().reaching_loopback().expecting("media tool failed").start();
    assert!(node.terminate().await.success());
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        node.environment(name, &bait.url(""));
    }
    node.restart();
    let api = node.api().await;
    api.create_account("acme").await;
    api.create_endpoint("acme", "crm", &receiver.url("/in"), "key.created", SECRET).await;
    let mut follow = api.follow("acme", 0).await;
    api.create_key("acme", Role::Reader, 0).await;
    follow.until("the delivery", |event, _| event.r#type == "delivery.succeeded").await;
    let job = api.create_job("acme", "probe", &json!({"url": receiver.url("/call.mp4")})).await;
    follow.until_job_ends(&job).await;
    assert_eq!((receiver.seen().len(), bait.connections()), (2, 0));
}

#[tokio::test]
async fn a_proxy_that_cannot_be_refuses_the_start() {
    let mut node = Node::start();
    node.kill();
    node.expect("egress.proxy");
    node.set("egress.proxy=proxy.example:3128");
    assert!(node.refuses_to_start().contains("egress.proxy must be http://host:port"));
    node.set("egress.proxy=http://proxy.example:3128");
    node.set("egress.proxy_credentials=text:s3cret");
    let said = node.refuses_to_start();
    assert!(said.contains("egress.proxy_credentials must hold user:password") && !said.contains("s3cret"), "{said}");
}

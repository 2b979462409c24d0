//! The guarded client behind a proxy: what the proxy sees, what receivers see, and what the proxy may do wrong.

#![expect(clippy::disallowed_methods, reason = "test servers are spawned, and end with the runtime")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::certificate::tests::{Authority, answer_once, receiver};
use super::ssrf_tests::TableResolver;
use super::{Egress, EgressError, EgressPolicy, Proxy, Response};

const PUBLIC: &str = "93.184.215.14";
const OTHER: &str = "93.184.215.15";
const LIMIT: Duration = Duration::from_secs(10);

/// What a proxy answers instead of opening a tunnel.
type Answer = Option<&'static str>;

/// A proxy that keeps the heads it was sent, and has servers of this machine stand at public addresses.
struct TestProxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    async fn start(servers: &[(&str, u16)], answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let servers: HashMap<String, u16> = servers.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect();
        let (servers, heads) = (Arc::new(servers), Arc::new(Mutex::new(vec![])));
        let seen = Arc::clone(&heads);
        tokio::task::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn(serve(stream, Arc::clone(&servers), Arc::clone(&seen), answer));
            }
        });
        Self { port, heads }
    }

    fn policy(&self, credentials: Option<&str>) -> EgressPolicy {
        let proxy = Proxy::new(&format!("http://127.0.0.1:{}", self.port), credentials).unwrap();
        EgressPolicy { proxy: Some(proxy), ..EgressPolicy::default() }
    }

    /// A client with this proxy, in a world where `hooks.example` is outside and `inside.example` is not.
    fn client(&self) -> Egress {
        Egress::with_resolver(self.policy(None), names())
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn names() -> Arc<TableResolver> {
    TableResolver::new(&[
        ("hooks.example", &[&[PUBLIC]]),
        ("two.example", &[&[OTHER, PUBLIC]]),
        ("inside.example", &[&["10.0.0.1"]]),
        ("half-inside.example", &[&[PUBLIC, "127.0.0.1"]]),
        ("rebind.example", &[&[PUBLIC], &["127.0.0.1"]]),
    ])
}

async fn serve(
    mut stream: TcpStream,
    servers: Arc<HashMap<String, u16>>,
    heads: Arc<Mutex<Vec<String>>>,
    answer: Answer,
) {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heads.lock().unwrap().push(head);
    if let Some(answer) = answer {
        stream.write_all(answer.as_bytes()).await.ok();
        stream.shutdown().await.ok();
        return;
    }
    let Some(port) = servers.get(&target) else {
        stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await.ok();
        return;
    };
    let mut there = TcpStream::connect(("127.0.0.1", *port)).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n").await.unwrap();
    copy_bidirectional(&mut stream, &mut there).await.ok();
}

/// A server that gives every request one answer and keeps what it was sent.
async fn server(answer: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(vec![]));
    let seen = Arc::clone(&requests);
    tokio::task::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            seen.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            stream.write_all(answer.as_bytes()).await.ok();
            stream.shutdown().await.ok();
        }
    });
    (port, requests)
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";

async fn post(client: &Egress, url: &str) -> Result<Response, EgressError> {
    client.post(url, HeaderMap::new(), Bytes::from_static(b"{}"), LIMIT, 1024).await
}

#[tokio::test]
async fn the_proxy_is_asked_for_the_address_and_the_receiver_for_the_name() {
    let (port, requests) = server(HELLO).await;
    let proxy = TestProxy::start(&[("93.184.215.14:80", port)], None).await;
    let client = Egress::with_resolver(proxy.policy(Some("steward:s3cret")), names());
    let answer = post(&client, "http://hooks.example/in?x=1").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, &b"hello"[..]));
    let head = "CONNECT 93.184.215.14:80 HTTP/1.1\r\nHost: 93.184.215.14:80\r\n\
                Proxy-Authorization: Basic c3Rld2FyZDpzM2NyZXQ=\r\n\r\n";
    assert_eq!(proxy.heads(), [head]);
    let request = requests.lock().unwrap().remove(0);
    assert!(request.starts_with("POST /in?x=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: hooks.example\r\n") && !request.contains("roxy"), "{request}");
}

#[tokio::test]
async fn a_client_certificate_goes_through_the_tunnel_to_the_name_that_was_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TestProxy::start(&[("93.184.215.14:443", listener.local_addr().unwrap().port())], None).await;
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (chain, key) = ours.sign("steward");
    let client = proxy.client().with_certificate(&chain, &key, &theirs.pem).unwrap();
    for (name, is_good) in [("hooks.example", true), ("other.example", false)] {
        let answering = answer_once(&listener, receiver(name, &theirs, &ours));
        let (answer, answered) = tokio::join!(post(&client, "https://hooks.example/"), timeout(LIMIT, answering));
        answered.expect("the receiver is called");
        assert_eq!(answer.as_ref().is_ok_and(|answer| answer.status == 204), is_good, "{name}: {answer:?}");
    }
    assert!(proxy.heads().iter().all(|head| head.starts_with("CONNECT 93.184.215.14:443 ")), "{:?}", proxy.heads());
}

#[tokio::test]
async fn nothing_inside_is_asked_of_the_proxy() {
    let (port, requests) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let proxy = TestProxy::start(&[("93.184.215.14:80", port)], None).await;
    let client = proxy.client();
    for host in ["127.0.0.1", "169.254.169.254", "[::1]", "10.0.0.1", "inside.example", "half-inside.example"] {
        for scheme in ["http", "https"] {
            let error = post(&client, &format!("{scheme}://{host}/")).await.unwrap_err();
            assert_eq!((error.code(), error.is_retryable()), ("egress_refused", false), "{host}: {error:?}");
        }
    }
    let error = post(&client, "http://hooks.example:6379/").await.unwrap_err();
    assert!(error.to_string().ends_with("the port is not allowed"), "{error}");
    assert!(proxy.heads().is_empty(), "{:?}", proxy.heads());
    // A name that changes is judged anew, and the proxy never resolves it.
    post(&client, "http://rebind.example/").await.unwrap();
    let error = post(&client, "http://rebind.example/").await.unwrap_err();
    assert!(error.to_string().ends_with("loopback"), "{error}");
    assert_eq!((proxy.heads().len(), requests.lock().unwrap().len()), (1, 1));
}

#[tokio::test]
async fn redirects_and_sizes_are_kept_to_behind_a_proxy() {
    let inward =
        "HTTP/1.1 302 Found\r\nlocation: http://inside.example/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let ((long, _), (inward, _)) = (server(HELLO).await, server(inward).await);
    let proxy = TestProxy::start(&[("93.184.215.14:80", long), ("93.184.215.15:80", inward)], None).await;
    let client = proxy.client();
    let cut = client.post("http://hooks.example/", HeaderMap::new(), Bytes::new(), LIMIT, 4).await.unwrap();
    assert_eq!((cut.body.as_ref(), cut.truncated), (&b"hell"[..], true));
    let (folder, headers) = (tempfile::tempdir().unwrap(), HeaderMap::new());
    let dest = folder.path().join("x");
    let whole = client.get_to_file("http://hooks.example/", &dest, 5, &headers, &|| {}).await.unwrap();
    assert_eq!(whole.bytes, 5);
    let large = client.get_to_file("http://hooks.example/", &dest, 4, &headers, &|| {}).await.unwrap_err();
    assert_eq!(large.code(), "egress_too_large");
    let seen = proxy.heads().len();
    assert_eq!(post(&client, &format!("http://{OTHER}/")).await.unwrap().status, 302);
    let refused = client.get_to_file(&format!("http://{OTHER}/"), &dest, 5, &headers, &|| {}).await.unwrap_err();
    assert_eq!(refused.code(), "egress_refused", "{refused:?}");
    assert_eq!(proxy.heads().len(), seen + 2, "the redirect was followed neither by the post nor inside");
}

#[tokio::test]
async fn another_address_is_tried_when_the_proxy_cannot_reach_the_first() {
    let (port, _) = server(HELLO).await;
    let proxy = TestProxy::start(&[("93.184.215.14:80", port)], None).await;
    assert_eq!(post(&proxy.client(), "http://two.example/").await.unwrap().status, 200);
    let asked: Vec<String> = proxy.heads().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(asked, ["93.184.215.15:80", "93.184.215.14:80"]);
}

#[tokio::test]
async fn what_the_proxy_does_wrong_is_told_and_worth_another_try() {
    let long: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "y".repeat(10_000)).into_boxed_str());
    for (answer, why) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "answered 407"),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", "answered 403"),
        ("HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1/\r\n\r\n", "answered 301"),
        ("SSH-2.0-OpenSSH_9\r\n\r\n", "gave no answer to CONNECT"),
        ("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "gave no answer to CONNECT"),
        (long, "gave no answer to CONNECT"),
        ("HTTP/1.1 200 OK\r\n", "broke off before it answered"),
        ("", "broke off before it answered"),
    ] {
        let proxy = TestProxy::start(&[], Some(answer)).await;
        for scheme in ["http", "https"] {
            let error = post(&proxy.client(), &format!("{scheme}://hooks.example/")).await.unwrap_err();
            assert_eq!(error.to_string(), format!("no connection to hooks.example: the proxy {why}"));
            assert_eq!((error.code(), error.is_retryable()), ("egress_proxy", true));
        }
    }
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let gone = TestProxy { port, heads: Arc::default() };
    let error = post(&gone.client(), "http://two.example/").await.unwrap_err();
    assert_eq!(error.to_string(), "no connection to two.example: the proxy cannot be reached: connection refused");
    assert_eq!((error.code(), error.is_retryable()), ("egress_proxy", true));
}

#[tokio::test]
async fn a_proxy_that_never_answers_is_left_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TestProxy { port: silent.local_addr().unwrap().port(), heads: Arc::default() };
    let policy = EgressPolicy { connect_timeout: Duration::from_millis(100), ..proxy.policy(None) };
    let error = post(&Egress::with_resolver(policy, names()), "http://hooks.example/").await.unwrap_err();
    assert!(matches!(error, EgressError::Timeout { step: "accept a connection", .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_excepted_is_dialled_past_the_proxy() {
    let (port, requests) = server(HELLO).await;
    let proxy = TestProxy::start(&[], None).await;
    let local = SocketAddr::from(([127, 0, 0, 1], port));
    for (hosts, networks) in [(vec!["Local.Example".to_owned()], vec![]), (vec![], vec!["127.0.0.0/8"])] {
        let mut policy = proxy.policy(None);
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        policy.proxy = policy.proxy.map(|proxy| proxy.except(hosts, networks));
        // Past the proxy is not past the guard.
        let names = || TableResolver::new(&[("local.example", &[&["127.0.0.1"]])]);
        let url = format!("http://local.example:{}/", local.port());
        let guarded = Egress::with_resolver(policy.clone(), names());
        assert_eq!(post(&guarded, &url).await.unwrap_err().code(), "egress_refused");
        policy.allow_hosts = vec!["local.example".to_owned()];
        assert_eq!(post(&Egress::with_resolver(policy, names()), &url).await.unwrap().status, 200);
    }
    assert_eq!((proxy.heads().len(), requests.lock().unwrap().len()), (0, 2));
}

//! The guarded client against servers that answer well, badly, too much, too slowly, or elsewhere.

#![expect(clippy::disallowed_methods, reason = "test servers are spawned, and end with the runtime")]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::ssrf_tests::TableResolver;
use super::{Egress, EgressError, EgressPolicy};

/// What a server does with one connection after it read the request.
type Behaviour = fn(TcpStream, u16) -> futures_util::future::BoxFuture<'static, ()>;

/// A server that keeps the requests it saw.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::task::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                seen.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                tokio::task::spawn(behaviour(stream, port));
            }
        });
        Self { port, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// A client that may talk to loopback.
fn policy() -> EgressPolicy {
    EgressPolicy { allow_networks: vec!["127.0.0.0/8".parse().unwrap()], ..EgressPolicy::default() }
}

fn client() -> Egress {
    Egress::new(policy())
}

fn reply(mut stream: TcpStream, head: String, body: &'static [u8]) -> futures_util::future::BoxFuture<'static, ()> {
    Box::pin(async move {
        stream.write_all(head.as_bytes()).await.ok();
        stream.write_all(body).await.ok();
        stream.shutdown().await.ok();
    })
}

fn hello(stream: TcpStream, _: u16) -> futures_util::future::BoxFuture<'static, ()> {
    reply(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ncontent-length: 5\r\n\r\n".to_owned(), b"hello")
}

async fn get(client: &Egress, url: &str, dest: &Path, max: u64) -> Result<super::Downloaded, EgressError> {
    client.get_to_file(url, dest, max, &HeaderMap::new(), &|| {}).await
}

#[track_caller]
fn assert_nothing_left(folder: &tempfile::TempDir) {
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_download_arrives_whole_with_its_hash_and_type() {
    let server = Server::start(hello).await;
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("call.mp4");
    let done = get(&client(), &server.url("/a?b=c"), &dest, 5).await.unwrap();
    assert_eq!((done.bytes, done.blake3), (5, blake3::hash(b"hello")));
    assert_eq!(done.content_type.as_deref(), Some("text/x"));
    assert_eq!(std::fs::read(&dest).unwrap(), b"hello");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part file stays");
}

#[tokio::test]
async fn a_download_larger_than_allowed_leaves_nothing() {
    let chunked: Behaviour = |stream, _| {
        reply(
            stream,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n",
        )
    };
    let plain: Behaviour = hello;
    for behaviour in [plain, chunked] {
        let server = Server::start(behaviour).await;
        let folder = tempfile::tempdir().unwrap();
        let error = get(&client(), &server.url("/"), &folder.path().join("x"), 4).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("egress_too_large", false));
        assert_nothing_left(&folder);
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_leaves_nothing() {
    let server =
        Server::start(|stream, _| reply(stream, "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n".to_owned(), b"hello"))
            .await;
    let folder = tempfile::tempdir().unwrap();
    let error = get(&client(), &server.url("/"), &folder.path().join("x"), 100).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("egress_broken_off", true));
    assert_nothing_left(&folder);
}

#[tokio::test]
async fn statuses_say_whether_to_try_again() {
    let gone: Behaviour = |stream, _| reply(stream, "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n".to_owned(), b"");
    let busy: Behaviour = |stream, _| reply(stream, "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_owned(), b"");
    let folder = tempfile::tempdir().unwrap();
    for (behaviour, retryable) in [(gone, false), (busy, true)] {
        let server = Server::start(behaviour).await;
        let error = get(&client(), &server.url("/"), &folder.path().join("x"), 100).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("egress_status", retryable));
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let server = Server::start(|mut stream, _| {
        Box::pin(async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello").await.unwrap();
            std::future::pending::<()>().await;
        })
    })
    .await;
    let client = Egress::new(EgressPolicy { idle_timeout: Duration::from_millis(100), ..policy() });
    let folder = tempfile::tempdir().unwrap();
    let error = get(&client, &server.url("/"), &folder.path().join("x"), 100).await.unwrap_err();
    assert!(matches!(error, EgressError::Timeout { step: "send the next part of its answer", .. }), "{error:?}");
    assert_nothing_left(&folder);
}

/// Never silent for long, never done.
fn drip(mut stream: TcpStream, _: u16) -> futures_util::future::BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.ok();
        while stream.write_all(b".").await.is_ok() {
            beat.tick().await;
        }
    })
}

#[tokio::test]
async fn a_server_that_drips_is_left_when_the_whole_takes_too_long() {
    let server = Server::start(drip).await;
    let limit = Duration::from_millis(200);
    let client = Egress::new(EgressPolicy { download_timeout: limit, ..policy() });
    let folder = tempfile::tempdir().unwrap();
    let error = get(&client, &server.url("/"), &folder.path().join("x"), 1_000_000).await.unwrap_err();
    assert!(matches!(error, EgressError::Timeout { step: "send the whole file", .. }), "{error:?}");
    assert_nothing_left(&folder);
    let error = client.post(&server.url("/"), HeaderMap::new(), Bytes::new(), limit, 1_000_000).await.unwrap_err();
    assert!(matches!(error, EgressError::Timeout { step: "answer", .. }), "{error:?}");
}

/// Redirects `/1` to `/2` and so on for ever, and `/inside` to loopback by another of its names.
fn redirects(stream: TcpStream, port: u16) -> futures_util::future::BoxFuture<'static, ()> {
    let next = format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{port}/again\r\ncontent-length: 0\r\n\r\n");
    reply(stream, next, b"")
}

#[tokio::test]
async fn redirects_end_after_a_few() {
    let server = Server::start(redirects).await;
    let folder = tempfile::tempdir().unwrap();
    let error = get(&client(), &server.url("/"), &folder.path().join("x"), 100).await.unwrap_err();
    assert!(error.to_string().ends_with("too many redirects"), "{error}");
    assert_eq!(server.requests().len(), 4, "the first request and three redirects");
}

#[tokio::test]
async fn a_redirect_inward_is_refused_before_it_is_dialled() {
    let server = Server::start(redirects).await;
    // Only the name may be contacted; the redirect goes to the bare address behind it.
    let policy = EgressPolicy { allow_hosts: vec!["front.example".to_owned()], ..EgressPolicy::default() };
    let client = Egress::with_resolver(policy, TableResolver::new(&[("front.example", &[&["127.0.0.1"]])]));
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://front.example:{}/", server.port);
    let error = get(&client, &url, &folder.path().join("x"), 100).await.unwrap_err();
    assert!(matches!(error, EgressError::Refused { rule: "loopback", .. }), "{error:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn whoever_downloads_hears_that_bytes_come() {
    let (server, folder) = (Server::start(hello).await, tempfile::tempdir().unwrap());
    let (url, heard) = (format!("http://127.0.0.1:{}/", server.port), AtomicUsize::new(0));
    let count = || {
        heard.fetch_add(1, Ordering::Relaxed);
    };
    client().get_to_file(&url, &folder.path().join("x"), 100, &HeaderMap::new(), &count).await.unwrap();
    assert!(heard.into_inner() > 0);
}

#[tokio::test]
async fn a_redirect_elsewhere_does_not_carry_the_token_along() {
    let elsewhere: Behaviour = |stream, port| {
        let head = format!("HTTP/1.1 302 Found\r\nlocation: http://b.example:{port}/\r\ncontent-length: 0\r\n\r\n");
        reply(stream, head, b"")
    };
    let server = Server::start(elsewhere).await;
    let table: &[(&str, &[&[&str]])] = &[("a.example", &[&["127.0.0.1"]]), ("b.example", &[&["127.0.0.1"]])];
    let client = Egress::with_resolver(policy(), TableResolver::new(table));
    let folder = tempfile::tempdir().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer t".parse().unwrap());
    headers.insert("host", "internal".parse().unwrap());
    let url = format!("http://a.example:{}/", server.port);
    client.get_to_file(&url, &folder.path().join("x"), 100, &headers, &|| {}).await.unwrap_err();
    let requests = server.requests();
    assert!(requests[0].contains("authorization: Bearer t"), "{}", requests[0]);
    assert!(requests[0].contains(&format!("host: a.example:{}", server.port)), "{}", requests[0]);
    assert!(requests[1..].iter().all(|request| !request.contains("Bearer")), "{requests:?}");
}

#[tokio::test]
async fn a_post_returns_any_status_and_follows_nothing() {
    let server = Server::start(redirects).await;
    let answer = client()
        .post(&server.url("/"), HeaderMap::new(), Bytes::from_static(b"{}"), Duration::from_secs(10), 10)
        .await
        .unwrap();
    assert_eq!((answer.status.as_u16(), answer.truncated), (302, false));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_long_answer_is_cut_not_refused() {
    let server = Server::start(hello).await;
    let answer = client().post(&server.url("/"), HeaderMap::new(), Bytes::new(), Duration::from_secs(10), 4).await;
    let answer = answer.unwrap();
    assert_eq!((answer.body.as_ref(), answer.truncated), (&b"hell"[..], true));
}

#[tokio::test]
async fn a_stream_is_handed_over_piece_by_piece() {
    let server = Server::start(|stream, _| {
        reply(
            stream,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        )
    })
    .await;
    let limit = Duration::from_secs(10);
    let answer = client().stream_post(&server.url("/"), HeaderMap::new(), Bytes::new(), limit).await.unwrap();
    let pieces: Vec<Bytes> = answer.body.map(Result::unwrap).collect().await;
    assert_eq!(pieces.concat(), b"hello!");
}

#[tokio::test]
async fn a_stream_that_grows_too_large_ends_with_an_error() {
    let server = Server::start(hello).await;
    let url = server.url("/").parse().unwrap();
    let (_, answer) = client().send(http::Method::POST, &url, HeaderMap::new(), Bytes::new()).await.unwrap();
    let pieces: Vec<Result<Bytes, EgressError>> = answer.into_stream(4).collect().await;
    assert_eq!(pieces.last().unwrap().as_ref().unwrap_err().code(), "egress_too_large");
}

#[tokio::test]
async fn a_url_with_a_user_name_is_refused_even_where_all_is_allowed() {
    let server = Server::start(hello).await;
    for user in ["user@", "user:password@", ":password@"] {
        let url = format!("http://{user}127.0.0.1:{}/", server.port);
        let answer = client().post(&url, HeaderMap::new(), Bytes::new(), Duration::from_secs(10), 1).await;
        assert!(answer.unwrap_err().to_string().ends_with("a URL may not hold a user name"), "{url}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_worth_another_try() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/");
    let error = client().post(&url, HeaderMap::new(), Bytes::new(), Duration::from_secs(10), 1).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("egress_connect", true));
}

#[tokio::test]
async fn the_address_is_pinned_but_tls_still_asks_for_the_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let resolver = TableResolver::new(&[("hooks.example", &[&["127.0.0.1"]])]);
    let client = Egress::with_resolver(policy(), resolver);
    let url = format!("https://hooks.example:{port}/");
    let post = client.post(&url, HeaderMap::new(), Bytes::new(), Duration::from_secs(10), 1);
    let greeting = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = vec![0; 2048];
        let length = stream.read(&mut hello).await.unwrap();
        hello.truncate(length);
        hello
    };
    let (error, hello) = tokio::join!(post, greeting);
    assert!(hello.windows(13).any(|bytes| bytes == b"hooks.example"), "the client greets with the name");
    assert_eq!(error.unwrap_err().code(), "egress_connect");
}

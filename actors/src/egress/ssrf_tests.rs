//! Every known way to talk a client into calling home: none of them may reach a server of ours.

#![expect(clippy::disallowed_methods, reason = "test servers are spawned, and end with the runtime")]

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::net::TcpListener;

use super::connect::Resolve;
use super::{Egress, EgressError, EgressPolicy};

/// Answers from a table; each lookup of a name takes the next of its answers, the last one stays.
pub(super) struct TableResolver(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl TableResolver {
    pub(super) fn new(table: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        let rows = table.iter().map(|(name, answers)| ((*name).to_owned(), answers.iter().map(parse).collect()));
        Arc::new(Self(Mutex::new(rows.collect())))
    }
}

impl Resolve for TableResolver {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut table = self.0.lock().unwrap();
        let answer = match table.get_mut(&host) {
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers[0].clone()),
        };
        Box::pin(async move { answer })
    }
}

/// A server on loopback that counts who reaches it.
struct Bait {
    port: u16,
    hits: Arc<AtomicUsize>,
}

impl Bait {
    async fn listen() -> Self {
        let hits = Arc::new(AtomicUsize::new(0));
        let v4 = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = v4.local_addr().unwrap().port();
        let v6 = TcpListener::bind(("::1", port)).await.ok();
        for listener in [Some(v4), v6].into_iter().flatten() {
            let hits = hits.clone();
            tokio::task::spawn(async move {
                while let Ok((_stream, _)) = listener.accept().await {
                    hits.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self { port, hits }
    }

    /// A client that may use the bait's port, so that only the address can save us.
    fn client(&self, table: &[(&str, &[&[&str]])]) -> Egress {
        let policy = EgressPolicy {
            ports: vec![80, 443, self.port],
            connect_timeout: Duration::from_secs(5),
            ..EgressPolicy::default()
        };
        Egress::with_resolver(policy, TableResolver::new(table))
    }
}

async fn post(client: &Egress, url: &str) -> Result<super::Response, EgressError> {
    client.post(url, HeaderMap::new(), Bytes::new(), Duration::from_secs(10), 1024).await
}

/// The form of the host, without port.
const HOSTS: [&str; 33] = [
    "127.0.0.1",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "127.1",
    "127.0.1",
    "0",
    "0.0.0.0",
    "127.0.0.1.",
    "１２７.０.０.１",
    "①②⑦.0.0.1",
    "127。0。0。1",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "[fd00::1]",
    "[fe80::1]",
    "169.254.169.254",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.100.100.200",
    "inside.example",
    "half-inside.example",
    "v6-inside.example",
];

const NAMES: &[(&str, &[&[&str]])] = &[
    ("inside.example", &[&["127.0.0.1"]]),
    ("half-inside.example", &[&["93.184.215.14", "127.0.0.1"]]),
    ("v6-inside.example", &[&["::1"]]),
    ("localhost", &[&["127.0.0.1"]]),
    ("good.example", &[&["127.0.0.1"]]),
    ("evil.example", &[&["127.0.0.1"]]),
    ("mapped.example", &[&["::ffff:127.0.0.1"]]),
    ("nat64.example", &[&["64:ff9b::7f00:1"]]),
];

#[tokio::test]
async fn no_way_of_writing_an_inside_address_gets_through() {
    let bait = Bait::listen().await;
    let client = bait.client(NAMES);
    for host in HOSTS {
        let error = post(&client, &format!("http://{host}:{}/", bait.port)).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("egress_refused", false), "{host}: {error:?}");
        let secure = post(&client, &format!("https://{host}:{}/", bait.port)).await.unwrap_err();
        assert_eq!(secure.code(), "egress_refused", "https {host}: {secure:?}");
    }
    assert_eq!(bait.hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn misleading_urls_get_nowhere() {
    let bait = Bait::listen().await;
    let client = bait.client(NAMES);
    let port = bait.port;
    for url in [
        format!("http://good.example@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}@good.example/"),
        format!("http://user:pass@good.example:{port}/"),
        format!(r"http://evil.example\@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}#@good.example/"),
        format!("http://good.example%00.evil.example:{port}/"),
        format!("http:127.0.0.1:{port}/"),
        format!("http:\t//127.0.0.1:{port}/"),
        format!("HTTP://LOCALHOST:{port}/"),
        format!("http://localhost.:{port}/"),
        format!("http://mapped.example:{port}/"),
        format!("http://nat64.example:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("file:///proc/self/environ?{port}"),
        format!("gopher://127.0.0.1:{port}/"),
        format!("ftp://127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1%25lo]:{port}/"),
        String::new(),
    ] {
        let error = post(&client, &url).await.unwrap_err();
        // A name nobody knows is a failed connection; everything else is refused by a rule.
        let unknown = url.contains("localhost.");
        assert_eq!(error.code(), if unknown { "egress_connect" } else { "egress_refused" }, "{url}: {error:?}");
    }
    assert_eq!(bait.hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_that_changes_between_lookups_is_judged_at_each() {
    let bait = Bait::listen().await;
    // The first answer is the harmless one a check done beforehand would have seen; nothing listens there.
    let client = Egress::with_resolver(
        EgressPolicy { ports: vec![bait.port], connect_timeout: Duration::from_millis(200), ..EgressPolicy::default() },
        TableResolver::new(&[("rebind.example", &[&["240.0.0.1"], &["127.0.0.1"]])]),
    );
    let url = format!("http://rebind.example:{}/", bait.port);
    for rule in ["reserved", "loopback"] {
        let error = post(&client, &url).await.unwrap_err();
        assert!(error.to_string().ends_with(rule), "{error}");
    }
    assert_eq!(bait.hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_refusal_names_host_address_and_rule_but_not_the_url() {
    let client = Egress::new(EgressPolicy::default());
    let error = post(&client, "http://169.254.169.254/latest/meta-data?token=secret").await.unwrap_err();
    let text = "\"169.254.169.254\" may not be contacted at 169.254.169.254: link-local";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn ports_other_than_the_webs_are_refused() {
    let client = Egress::with_resolver(
        EgressPolicy::default(),
        TableResolver::new(&[("public.example", &[&["93.184.215.14"]])]),
    );
    let error = post(&client, "http://public.example:6379/").await.unwrap_err();
    assert!(error.to_string().ends_with("the port is not allowed"), "{error}");
}

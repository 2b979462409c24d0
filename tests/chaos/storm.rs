//! Everything at once that strangers may throw at the ports: it has one effect per event, costs little memory, and those who
//! behave are answered.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rustix::process::{Resource, getrlimit, setrlimit};
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_tests::harness::{
    Api, Delivery, Http, Node, Platform, WAIT_MAX, data, eventually, headers, now_ms, skipped,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::crowd::{Crowd, GROWTH_MIB_MAX, Memory, compare};
use crate::senders::{How, Senders, Shot, Source};
use crate::slow::{Kind, Slow, connect, dawdle};

/// Different events, and how often each is sent.
const EVENTS: u64 = if cfg!(feature = "chaos") { 2_000 } else { 200 };
const COPIES: u64 = 10;
const SENDERS: usize = 8;
const SEED: u64 = 23;
const SLOW: usize = if cfg!(feature = "chaos") { 10_000 } else { 300 };
/// Connections a node takes; fewer than there are slow ones.
const PLACES: usize = if cfg!(feature = "chaos") { 3_072 } else { 200 };
/// Descriptors of this test beside those of the slow ones.
const FILES_RESERVE: u64 = 1_000;
const TURNS: usize = if cfg!(feature = "chaos") { 5 } else { 1 };
const POSTS: usize = if cfg!(feature = "chaos") { 120 } else { 60 };
const FACTOR: f64 = 2.0;
/// What a head and a body, or the beginning of an API connection, may take, and what may pass until it is noticed.
const CUT_MAX: Duration = Duration::from_secs(30 + 15);
const DEPTH: usize = 100_000;
/// What a thousandth of it becomes.
const BOMB_BYTES: usize = 64 << 20;
/// Bodies that come a byte at a time, all at once.
const BODIES_IN_PIECES: usize = 8;
const PIECES: usize = 20_000;
/// How the library says that it ended a connection for its resets.
const RESETS_TOLD: &str = "remotely-reset pending-accept streams reached limit";

/// A node and a source of GitHub's at it.
async fn node_with_target(settings: &[String]) -> (Node, Api, String) {
    let node = settings.iter().fold(Node::builder(), |node, setting| node.set(setting)).start();
    let api = node.api().await;
    api.create_account("target").await;
    let platform = Platform::GitHub;
    let path = api.create_source("target", "in", platform.scheme(), platform.secret()).await;
    (node, api, path)
}

/// Ten times each event, and bad ones between them, until all are answered.
async fn pour(node: &Node, api: &Api) -> u64 {
    let mut sources = vec![];
    for platform in [Platform::Stripe, Platform::Standard] {
        let account = "poured";
        if sources.is_empty() {
            api.create_account(account).await;
        }
        let name = platform.scheme().to_owned();
        let path = api.create_source(account, &name, platform.scheme(), platform.secret()).await;
        sources.push(Source { account, name, platform, path });
    }
    let mut shots = vec![];
    for number in 0..EVENTS {
        let source = usize::try_from(number % 2).expect("small");
        shots.extend((0..COPIES).map(|_| Shot { source, number, how: How::Once }));
        shots.push(Shot { source, number: number + EVENTS, how: How::Forged });
        shots.push(Shot { source, number: number + EVENTS, how: How::Stale });
    }
    shots.shuffle(&mut StdRng::seed_from_u64(SEED));
    let senders = Arc::new(Senders::new(sources, shots));
    senders.find(Some(node.http()));
    let mut sending = JoinSet::new();
    for _ in 0..SENDERS {
        let senders = Arc::clone(&senders);
        sending.spawn(async move { senders.send().await });
    }
    sending.join_all().await;
    assert_eq!(senders.unanswered.load(Ordering::SeqCst), 0);
    for (at, source) in senders.sources.iter().enumerate() {
        let answers = senders.answers(0);
        let count = |what: &str| answers.get(&(at, what.to_owned())).copied().unwrap_or(0);
        let want = EVENTS / 2;
        assert_eq!((count("accepted"), count("repeated")), (want, want * (COPIES - 1)), "{}", source.name);
        assert_eq!((count("bad_signature"), count("expired")), (want, want), "{}", source.name);
        let effects = api.feed_of("poured", source.platform.event_type()).await.len();
        assert_eq!(u64::try_from(effects).ok(), Some(want), "{}", source.name);
    }
    EVENTS * (COPIES + 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_has_one_effect_per_event_and_costs_the_others_little() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(SLOW).expect("a count") + FILES_RESERVE;
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return skipped("too few files may be open for so many slow peers");
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a process may raise its limit as far as it goes");
    let (node, api, path) = node_with_target(&[format!("http.connections_max={PLACES}")]).await;
    let crowd = Crowd::gather(&node, &api).await;
    crowd.turn(POSTS).await; // Warm.
    let memory = Memory::of(&node);
    let (clock, mut quiet, mut loud) = (SystemClock::new(), vec![], vec![]);
    for _ in 0..TURNS {
        quiet.push(crowd.turn(POSTS).await);
    }
    let slow = Slow::start(node.http(), &path, SLOW);
    let there = async || (slow.connected() >= u64::try_from(SLOW).ok()?).then_some(());
    eventually(WAIT_MAX, "the slow ones to be there", there).await;
    for _ in 0..TURNS {
        loud.push(crowd.turn(POSTS).await);
    }
    let requests = pour(&node, &api).await;
    let open = node.gauge("steward_http_connections").await;
    let cut = node.metric(r#"steward_connections_cut_total{listener="http"}"#).await;
    let grown = memory.grown_mib();
    let (connected, ended) = (slow.connected(), slow.cut());
    eprintln!(
        "{connected} slow connections, {ended} ended, {cut} cut for others, {open:?} open, {requests} requests beside \
         them, {grown} MiB more, {:.1?}",
        clock.monotonic()
    );
    drop(slow);
    assert!(open.is_some_and(|open| open <= u32::try_from(PLACES).unwrap().into()), "{open:?} connections are open");
    assert!(cut > 0, "nobody lost a place");
    assert!(grown <= GROWTH_MIB_MAX, "the node grew by {grown} MiB");
    assert_eq!(crowd.on_feeds(&api).await, crowd.posted());
    if cfg!(feature = "chaos") {
        compare("a storm", quiet, loud, FACTOR);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_is_cut_in_time() {
    let (node, _, path) = node_with_target(&[]).await;
    let (clock, mut slow) = (SystemClock::new(), JoinSet::new());
    for kind in [Kind::Silent, Kind::Head, Kind::Body, Kind::Almost, Kind::Deaf] {
        let (address, path) = (node.http().to_owned(), path.clone());
        slow.spawn(async move {
            dawdle(connect(kind, &address).await.unwrap(), kind, &path).await;
            format!("{kind:?}")
        });
    }
    let api = node.grpc_url().trim_start_matches("http://").to_owned();
    for begun in [&b""[..], b"PRI * HT"] {
        let mut stream = TcpStream::connect(&api).await.unwrap();
        stream.write_all(begun).await.unwrap();
        slow.spawn(async move {
            while stream.read(&mut [0; 64]).await.is_ok_and(|length| length > 0) {}
            format!("an API connection of {} bytes", begun.len())
        });
    }
    let mut unfinished = TcpStream::connect(&api).await.unwrap();
    unfinished.write_all(&[h2_preface(), h2_call(1, false)].concat()).await.unwrap();
    slow.spawn(async move {
        // The connection goes on; the call is answered with a head that is the end as well.
        let mut frame = [0; 9];
        while (frame[3], frame[4] & 1) != (1, 1) {
            unfinished.read_exact(&mut frame).await.expect("the node answers");
            let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
            unfinished.read_exact(&mut vec![0; length.try_into().unwrap()]).await.expect("the node answers");
        }
        "an API request".to_owned()
    });
    let mut cut = vec![];
    let all = async {
        while let Some(name) = slow.join_next().await {
            cut.push((name.unwrap(), clock.monotonic()))
        }
    };
    let all = tokio::time::timeout(CUT_MAX, all).await;
    assert!(all.is_ok(), "somebody is slow for longer than {CUT_MAX:?}; cut were {cut:.0?}");
    eprintln!("cut were {cut:.0?}");
    assert_eq!(node.metric(r#"steward_webhooks_refused_total{reason="body_timeout"}"#).await, 2);
}

/// A connection's beginning: preface, and settings as they are.
fn h2_preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &h2_frame(4, 0, 0, b"")].concat()
}

fn h2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a call that lists accounts; `is_whole` when no message follows.
fn h2_call(stream: u32, is_whole: bool) -> Vec<u8> {
    let mut fields = vec![0x83, 0x86]; // POST, http
    let mut field = |index: u8, value: &str| {
        fields.extend([index, u8::try_from(value.len()).expect("short")]);
        fields.extend(value.as_bytes());
    };
    field(0x04, "/steward.account.v1.AccountService/ListAccounts");
    field(0x01, "x");
    fields.extend([0x0f, 0x10]); // content-type
    fields.extend([16]);
    fields.extend(b"application/grpc");
    h2_frame(1, if is_whole { 5 } else { 4 }, stream, &fields)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let (mut node, api, _) = node_with_target(&[]).await;
    node.expect(RESETS_TOLD);
    let memory = Memory::of(&node);
    let grpc = node.grpc_url().trim_start_matches("http://").to_owned();
    let mut attacks = JoinSet::new();
    for _ in 0..SENDERS {
        let grpc = grpc.clone();
        attacks.spawn(async move {
            let (mut reads, mut writes) = TcpStream::connect(&grpc).await.unwrap().into_split();
            writes.write_all(&h2_preface()).await.unwrap();
            let reset_all = async {
                for stream in (1..2_000_001).step_by(2) {
                    let cancel = h2_frame(3, 0, stream, &8_u32.to_be_bytes());
                    if writes.write_all(&[h2_call(stream, true), cancel].concat()).await.is_err() {
                        return stream / 2;
                    }
                }
                panic!("a million streams were reset and the connection is open");
            };
            let mut seen = vec![];
            // What was unread may end the connection with a reset.
            let (resets, _) = tokio::join!(reset_all, reads.read_to_end(&mut seen));
            resets
        });
    }
    api.create_account("meanwhile").await;
    let resets = attacks.join_all().await;
    let grown = memory.grown_mib();
    eprintln!("connections ended after {resets:?} resets, {grown} MiB more");
    assert!(grown <= GROWTH_MIB_MAX, "the node grew by {grown} MiB");
    api.create_account("afterwards").await;
    // The port for webhooks speaks no HTTP/2.
    let mut plain = TcpStream::connect(node.http()).await.unwrap();
    plain.write_all(&h2_preface()).await.unwrap();
    let mut answer = vec![];
    plain.read_to_end(&mut answer).await.ok(); // What was unread may end the connection with a reset.
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(node.get("/livez").await.status, 200);
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(body).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_for_what_they_are() {
    let (node, api, path) = node_with_target(&[]).await;
    node.get("/livez").await;
    let memory = Memory::of(&node);
    let bomb = gzip(&vec![b' '; BOMB_BYTES]);
    assert!(bomb.len() * 1_000 < BOMB_BYTES, "{} bytes", bomb.len());
    let members = gzip(b"").repeat((1 << 20) / gzip(b"").len());
    for (id, body, status) in [("bomb", &bomb, 413), ("members", &members, 200)] {
        let delivery = Delivery { platform: Platform::GitHub, id: id.to_owned(), body: body.clone() };
        let mut signed = delivery.signed(now_ms(), "");
        signed.push(("content-encoding".to_owned(), "gzip".to_owned()));
        let clock = SystemClock::new();
        let reply = node.post(&path, &signed, &delivery.body).await;
        eprintln!("{id}: {} after {:.1?}", reply.status, clock.monotonic());
        assert_eq!(reply.status, status, "{id}: {}", reply.text());
    }
    // A megabyte of heads, in one field and in many.
    for line in [format!("x-filler: {}\r\n", "x".repeat(1 << 20)), "x-filler: x\r\n".repeat(80_000)] {
        let (mut reads, mut writes) = TcpStream::connect(node.http()).await.unwrap().into_split();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{line}\r\n");
        let mut answer = vec![];
        // What was unread may end the connection with a reset.
        drop(tokio::join!(writes.write_all(head.as_bytes()), reads.read_to_end(&mut answer)));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let grown = memory.grown_mib();
    assert!(grown <= GROWTH_MIB_MAX, "the node grew by {grown} MiB");
    assert_eq!(api.feed_of("target", Platform::GitHub.event_type()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_pieces_of_one_byte_is_taken_like_any_other() {
    let (node, api, path) = node_with_target(&[]).await;
    node.get("/livez").await;
    let memory = Memory::of(&node);
    let body = vec![b'x'; PIECES];
    let pieces = [b"1\r\nx\r\n".repeat(body.len()), b"0\r\n\r\n".to_vec()].concat();
    let mut posting = JoinSet::new();
    for number in 0..BODIES_IN_PIECES {
        let delivery = Delivery { platform: Platform::GitHub, id: format!("piece-{number}"), body: body.clone() };
        let mut http = Http::connect(node.http()).await.unwrap();
        let (path, pieces) = (path.clone(), pieces.clone());
        posting.spawn(async move {
            let mut head = delivery.signed(now_ms(), "");
            head.extend(headers(&[("transfer-encoding", "chunked")]));
            http.send_head("POST", &path, &head).await.unwrap();
            http.send_raw(&pieces).await.unwrap();
            http.read().await.unwrap()
        });
    }
    for reply in posting.join_all().await {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let grown = memory.grown_mib();
    eprintln!("{BODIES_IN_PIECES} bodies of {PIECES} pieces: {grown} MiB more");
    assert!(grown <= GROWTH_MIB_MAX, "the node grew by {grown} MiB");
    let feed = api.feed_of("target", Platform::GitHub.event_type()).await;
    assert_eq!(feed.len(), BODIES_IN_PIECES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_nested_beyond_reason_is_an_event_like_any_other() {
    let node = Node::start();
    let api = node.api().await;
    api.create_account("deep").await;
    let arrays = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let objects = format!(r#"{}1{}"#, r#"{"a":"#.repeat(DEPTH), "}".repeat(DEPTH));
    let mut expected = 0;
    for platform in Platform::ALL {
        let path = api.create_source("deep", platform.scheme(), platform.scheme(), platform.secret()).await;
        let url = format!("https://{}{path}", node.http());
        for (number, body) in [arrays.clone(), objects.clone(), format!("[{arrays},{objects}]")].into_iter().enumerate()
        {
            let delivery = Delivery { platform, id: format!("deep-{number}"), body: body.into_bytes() };
            let reply = node.post(&path, &delivery.signed(now_ms(), &url), &delivery.body).await;
            assert_eq!(reply.status, 200, "{platform:?} {number}: {}", reply.text());
            expected += 1;
        }
    }
    let feed = api.feed("deep").await;
    let deep: Vec<_> = feed.iter().filter(|event| event.r#type.starts_with("webhook.")).collect();
    assert!(deep.len() >= expected, "{} events", deep.len());
    for event in deep {
        assert!(data(event)["body_text"].as_str().is_some_and(|text| text.len() >= DEPTH), "{}", event.r#type);
    }
}

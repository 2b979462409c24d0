//! Downloads that break off and go on, over real sockets.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use http::HeaderMap;

use super::{Downloaded, Egress, EgressError, EgressPolicy};

/// What is downloaded.
const CONTENT: &[u8] = b"0123456789abcdefghij";
/// As much of it as a server that breaks off sends.
const HALF: usize = 10;

/// What a server answers to the request of a number, given its head.
type Answers = fn(usize, &str) -> Vec<u8>;

struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each connection once and closes it. Its thread ends with the test process.
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let head = head(&stream);
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(head.clone());
                    seen.len()
                };
                stream.write_all(&answers(number, &head)).ok();
            }
        });
        Self { port, requests }
    }

    async fn get(&self, dest: &Path, max_bytes: u64) -> Result<Downloaded, EgressError> {
        get_by(&policy(), self.port, dest, max_bytes).await
    }

    /// The ranges asked for, each with its condition.
    fn ranges(&self) -> Vec<Option<(String, String)>> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|head| field(head, "range").zip(field(head, "if-range"))).collect()
    }
}

async fn get_by(policy: &EgressPolicy, port: u16, dest: &Path, max_bytes: u64) -> Result<Downloaded, EgressError> {
    let client = Egress::new(policy.clone());
    client
        .get_to_file(&format!("http://127.0.0.1:{port}/call.mp4?key=1"), dest, max_bytes, &HeaderMap::new(), &|| {})
        .await
}

fn policy() -> EgressPolicy {
    EgressPolicy { allow_networks: vec!["127.0.0.0/8".parse().unwrap()], ..EgressPolicy::default() }
}

fn head(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.take_while(|line| !line.is_empty()).map(|line| line + "\n").collect()
}

fn field(head: &str, name: &str) -> Option<String> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

/// The whole of a content, of which only the first bytes are sent.
fn whole(headers: &str, content: &[u8], bytes: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", content.len());
    [head.as_bytes(), &content[..bytes]].concat()
}

/// The rest of a content, with the range the server says it is.
fn rest(range: &str, headers: &str, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let head =
        format!("HTTP/1.1 206 Partial Content\r\n{headers}content-range: {range}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), bytes].concat()
}

const ETAG: &str = "etag: \"one\"\r\n";

fn from(at: usize) -> Option<(String, String)> {
    Some((format!("bytes={at}-"), "\"one\"".to_owned()))
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("download");
    (folder, dest)
}

#[track_caller]
fn assert_whole(done: &Downloaded, dest: &Path, content: &[u8]) {
    assert_eq!((done.bytes, done.blake3), (u64::try_from(content.len()).unwrap(), blake3::hash(content)));
    assert_eq!(std::fs::read(dest).unwrap(), content);
    assert_eq!(std::fs::read_dir(dest.parent().unwrap()).unwrap().count(), 1, "neither part nor note stays");
}

#[tokio::test]
async fn what_breaks_off_goes_on_at_once() {
    let server = Server::start(|number, _| match number {
        1 => whole(ETAG, CONTENT, HALF),
        2 => rest("bytes 10-14/20", ETAG, &CONTENT[10..15]),
        _ => rest("bytes 15-19/20", "", &CONTENT[15..]),
    });
    let (_folder, dest) = place();
    assert_whole(&server.get(&dest, 20).await.unwrap(), &dest, CONTENT);
    assert_eq!(server.ranges(), [None, from(10), from(15)]);
}

#[tokio::test]
async fn a_later_call_goes_on_with_what_is_on_disk() {
    let server = Server::start(|number, _| match number {
        1 => whole(ETAG, CONTENT, HALF),
        2 => b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => rest("bytes 10-19/20", ETAG, &CONTENT[HALF..]),
    });
    let (folder, dest) = place();
    assert_eq!(server.get(&dest, 20).await.unwrap_err().code(), "egress_status");
    // A node that died may have written more than it noted.
    let part = folder.path().join("download.part");
    let noted = std::fs::read(&part).unwrap();
    assert_eq!(noted, CONTENT[..HALF]);
    std::fs::write(&part, [&noted[..], b"???"].concat()).unwrap();
    assert_whole(&server.get(&dest, 20).await.unwrap(), &dest, CONTENT);
    assert_eq!(server.ranges(), [None, from(10), from(10)]);
}

#[tokio::test]
async fn a_damaged_part_or_one_of_another_url_is_begun_anew() {
    for damage in ["0123!56789", "01234"] {
        let server = Server::start(|number, _| match number {
            1 => whole(ETAG, CONTENT, HALF),
            2 => b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
            _ => whole(ETAG, CONTENT, 20),
        });
        let (folder, dest) = place();
        server.get(&dest, 20).await.unwrap_err();
        std::fs::write(folder.path().join("download.part"), damage).unwrap();
        assert_whole(&server.get(&dest, 20).await.unwrap(), &dest, CONTENT);
        assert_eq!(server.ranges()[2], None, "{damage}");
    }
    let first = Server::start(|number, _| match number {
        1 => whole(ETAG, CONTENT, HALF),
        _ => b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
    });
    let other = Server::start(|_, _| whole(ETAG, CONTENT, 20));
    let (_folder, dest) = place();
    first.get(&dest, 20).await.unwrap_err();
    assert_whole(&other.get(&dest, 20).await.unwrap(), &dest, CONTENT);
    assert_eq!(other.ranges(), [None]);
}

#[tokio::test]
async fn changed_content_replaces_what_was_there() {
    const CHANGED: &[u8] = b"another recording";
    let server = Server::start(|number, _| match number {
        1 => whole(ETAG, CONTENT, HALF),
        _ => whole("etag: \"two\"\r\n", CHANGED, CHANGED.len()),
    });
    let (_folder, dest) = place();
    assert_whole(&server.get(&dest, 20).await.unwrap(), &dest, CHANGED);
    assert_eq!(server.ranges(), [None, from(10)]);
}

#[tokio::test]
async fn a_server_without_ranges_is_asked_for_the_whole() {
    let ignores = Server::start(|number, _| whole(ETAG, CONTENT, if number == 1 { HALF } else { 20 }));
    let (_folder, dest) = place();
    assert_whole(&ignores.get(&dest, 20).await.unwrap(), &dest, CONTENT);
    let refuses = Server::start(|number, _| match number {
        1 => whole(ETAG, CONTENT, HALF),
        2 => b"HTTP/1.1 416 No\r\ncontent-range: bytes */20\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => whole(ETAG, CONTENT, 20),
    });
    let (_folder, dest) = place();
    assert_whole(&refuses.get(&dest, 20).await.unwrap(), &dest, CONTENT);
    assert_eq!(refuses.ranges(), [None, from(10), None]);
}

#[tokio::test]
async fn a_server_that_lies_about_its_range_is_not_believed() {
    let lies: [Answers; 5] = [
        |_, _| rest("bytes 0-9/20", ETAG, &CONTENT[..10]),
        |_, _| rest("bytes 11-19/20", ETAG, &CONTENT[11..]),
        |_, _| rest("bytes 10-19/15", ETAG, &CONTENT[10..]),
        |_, _| rest("bytes 10-19/*", ETAG, &CONTENT[10..]),
        |_, _| rest("bytes 10-19/20", "etag: \"two\"\r\n", &CONTENT[10..]),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        // The same for all but the second request, which is answered by the lie.
        let truth = Server::start(|number, _| whole(ETAG, CONTENT, if number == 1 { HALF } else { 20 }));
        let (_folder, dest) = place();
        let liar = between(truth.port, lie);
        let done = get_by(&policy(), liar, &dest, 20).await.unwrap();
        assert_eq!(done.blake3, blake3::hash(CONTENT), "lie {number}");
        assert_eq!(truth.ranges(), [None, None], "lie {number}");
    }
}

/// Passes requests on, but answers those for a range itself.
fn between(behind: u16, lie: Answers) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let head = head(&stream);
            if field(&head, "range").is_some() {
                stream.write_all(&lie(0, &head)).ok();
                continue;
            }
            let mut upstream = TcpStream::connect(("127.0.0.1", behind)).unwrap();
            upstream.write_all(head.replace('\n', "\r\n").as_bytes()).unwrap();
            upstream.write_all(b"\r\n").unwrap();
            std::io::copy(&mut upstream, &mut stream).ok();
        }
    });
    port
}

#[tokio::test]
async fn more_than_a_range_holds_is_not_taken() {
    let server = Server::start(|number, _| match number {
        1 => whole(ETAG, CONTENT, HALF),
        _ => {
            let head =
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 10-14/20\r\ntransfer-encoding: chunked\r\n\r\n";
            [head.as_bytes(), b"a\r\nabcdefghij\r\n0\r\n\r\n"].concat()
        }
    });
    let (_folder, dest) = place();
    let error = server.get(&dest, 20).await.unwrap_err();
    assert_eq!((error.code(), dest.exists()), ("egress_broken_off", false));
}

#[tokio::test]
async fn only_strong_validators_let_a_download_go_on() {
    for weak in
        ["etag: W/\"one\"\r\n", "etag: \r\n", "etag: one\r\n", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"]
    {
        let folder = tempfile::tempdir().unwrap();
        let answers: Answers = match weak {
            "etag: W/\"one\"\r\n" => |_, _| whole("etag: W/\"one\"\r\n", CONTENT, HALF),
            "etag: \r\n" => |_, _| whole("etag: \r\n", CONTENT, HALF),
            "etag: one\r\n" => |_, _| whole("etag: one\r\n", CONTENT, HALF),
            _ => |_, _| whole("last-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", CONTENT, HALF),
        };
        let server = Server::start(answers);
        let error = server.get(&folder.path().join("download"), 20).await.unwrap_err();
        assert_eq!((error.code(), server.ranges()), ("egress_broken_off", vec![None]), "{weak}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{weak}");
    }
}

#[tokio::test]
async fn size_and_time_are_limited_over_all_parts() {
    let grows = Server::start(|number, _| match number {
        1 => whole(ETAG, CONTENT, HALF),
        _ => rest("bytes 10-29/30", ETAG, &[b'x'; 20]),
    });
    let (folder, dest) = place();
    assert_eq!(grows.get(&dest, 25).await.unwrap_err().code(), "egress_too_large");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let slow = Server::start(|number, _| match number {
        1 => whole(ETAG, CONTENT, HALF),
        2 => b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => whole(ETAG, CONTENT, 20),
    });
    let (folder, dest) = place();
    slow.get(&dest, 20).await.unwrap_err();
    // As if the first call had taken an hour.
    let note = folder.path().join("download.note");
    let mut noted: serde_json::Value = serde_json::from_slice(&std::fs::read(&note).unwrap()).unwrap();
    noted["spent_ms"] = 3_600_000.into();
    std::fs::write(&note, noted.to_string()).unwrap();
    let hour = EgressPolicy { download_timeout: Duration::from_secs(3600), ..policy() };
    let error = get_by(&hour, slow.port, &dest, 20).await.unwrap_err();
    assert!(matches!(error, EgressError::Timeout { step: "send the whole file", .. }), "{error:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the next call begins anew");
    assert_whole(&get_by(&hour, slow.port, &dest, 20).await.unwrap(), &dest, CONTENT);
}

#[tokio::test]
async fn a_server_that_always_breaks_off_is_left() {
    let server = Server::start(|number, _| match number {
        1 => whole(ETAG, &[b'x'; 1000], 1),
        _ => {
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {}-999/1000\r\ncontent-length: 999\r\n\r\nx",
                number - 1
            );
            head.into_bytes()
        }
    });
    let (_folder, dest) = place();
    assert_eq!(server.get(&dest, 1000).await.unwrap_err().code(), "egress_broken_off");
    assert_eq!(server.ranges().len(), 16);
}

//! A service that transcribes as OpenAI does, on a real socket: stands in for the paid one. What it does depends on the
//! model asked for; `engines.rs` has the official client judge it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// The key every request must carry.
pub(crate) const KEY: &str = "sk-test-0123456789";

/// A form as it arrived: fields in order, and the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub fields: Vec<(String, String)>,
    pub file: Vec<u8>,
}

impl Asked {
    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }
}

/// The running service. Its threads end with the test process.
pub(crate) struct TranscribingService {
    pub url: String,
    seen: Arc<Mutex<Vec<Asked>>>,
}

impl TranscribingService {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                thread::spawn(move || serve(connection, &log));
            }
        });
        Self { url, seen }
    }

    /// All forms so far, those that were refused as well.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen.lock().expect("no thread panics").clone()
    }
}

fn serve(mut connection: TcpStream, seen: &Mutex<Vec<Asked>>) {
    let Some((path, key, asked)) = request(&connection) else { return };
    let before = {
        let mut seen = seen.lock().expect("no thread panics");
        seen.push(asked.clone());
        seen.len() - 1
    };
    let refused = |code: &str| json!({ "message": format!("no: {code}"), "type": "x", "param": null, "code": code });
    let answer = match (path.as_str(), asked.field("model")) {
        _ if key != format!("Bearer {KEY}") => refusal("401 Unauthorized", "", &refused("invalid_api_key")),
        ("/v1/audio/transcriptions", "limited") if before == 1 => {
            refusal("429 Too Many Requests", "retry-after: 2\r\n", &refused("rate_limit_exceeded"))
        }
        ("/v1/audio/transcriptions", "absent") => refusal("404 Not Found", "", &refused("model_not_found")),
        ("/v1/audio/transcriptions", "textual") => answer("200 OK", "", &json!({ "text": "Hello there." })),
        ("/v1/audio/transcriptions", "silent") => {
            connection.read_exact(&mut [0]).ok(); // Says nothing until the client leaves.
            return;
        }
        ("/v1/audio/transcriptions", _) if !asked.file.starts_with(b"fLaC") => {
            refusal("400 Bad Request", "", &refused("unsupported_format"))
        }
        ("/v1/audio/transcriptions", _) => answer("200 OK", "", &transcript(&asked, before)),
        _ => refusal("404 Not Found", "", &refused("unknown_url")),
    };
    connection.write_all(answer.as_bytes()).ok();
}

/// Two words that say how many requests came before.
fn transcript(asked: &Asked, before: usize) -> Value {
    let text = format!("Window {before}.");
    if asked.field("response_format") != "verbose_json" {
        return json!({ "text": text });
    }
    let granular =
        |what: &str| asked.fields.iter().any(|(name, value)| name == "timestamp_granularities[]" && value == what);
    let mut answer = json!({ "task": "transcribe", "language": "english", "duration": 20.0, "text": text,
        "usage": { "type": "duration", "seconds": 20 } });
    if granular("segment") {
        answer["segments"] = json!([{ "id": 0, "seek": 0, "start": 10.0, "end": 11.5, "text": format!(" {text}"),
            "tokens": [50364, 1], "temperature": 0.0, "avg_logprob": -0.25, "compression_ratio": 1.1,
            "no_speech_prob": 0.01 }]);
    }
    if granular("word") {
        answer["words"] = json!([{ "word": "Window", "start": 10.0, "end": 10.5 },
            { "word": before.to_string(), "start": 10.5, "end": 11.5 }]);
    }
    answer
}

fn request(connection: &TcpStream) -> Option<(String, String, Asked)> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut key, mut boundary) = (0, String::new(), String::new());
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => value.clone_into(&mut key),
            "content-type" => value.split_once("boundary=")?.1.clone_into(&mut boundary),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, key, form(&body, &boundary)?))
}

/// Reads `multipart/form-data` as RFC 7578 has it.
fn form(body: &[u8], boundary: &str) -> Option<Asked> {
    let mut asked = Asked::default();
    let mark = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(&mark.as_bytes()[2..])?;
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = find(part, mark.as_bytes())?;
        let head_end = find(&part[..end], b"\r\n\r\n")?;
        let (head, content) = (String::from_utf8(part[..head_end].to_vec()).ok()?, &part[head_end + 4..end]);
        let name = head.split_once("name=\"")?.1.split_once('"')?.0.to_owned();
        if head.contains("filename=") {
            assert_eq!(name, "file");
            asked.file = content.to_vec();
        } else {
            asked.fields.push((name, String::from_utf8(content.to_vec()).ok()?));
        }
        rest = &part[end + mark.len()..];
    }
    rest.starts_with(b"--").then_some(asked)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn refusal(status: &str, headers: &str, error: &Value) -> String {
    answer(status, headers, &json!({ "error": error }))
}

fn answer(status: &str, headers: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

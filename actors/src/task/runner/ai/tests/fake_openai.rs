//! An OpenAI-compatible service on a real socket. What it does depends on the model asked for.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::task::runner::ai::ProviderConfig;

/// The key every request must carry.
pub(super) const KEY: &str = "sk-test-0123456789";

/// The running service. Its threads end with the test process.
pub(super) struct FakeOpenAi {
    pub(super) base_url: String,
    seen: Arc<Mutex<Vec<Value>>>,
    gone: Arc<Mutex<bool>>,
}

impl FakeOpenAi {
    /// Listens on a free port.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (seen, gone) = (Arc::new(Mutex::new(vec![])), Arc::new(Mutex::new(false)));
        let (log, left) = (Arc::clone(&seen), Arc::clone(&gone));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (log, left) = (Arc::clone(&log), Arc::clone(&left));
                thread::spawn(move || serve(connection, &log, &left));
            }
        });
        Self { base_url, seen, gone }
    }

    /// Its entry in the configuration.
    pub(super) fn provider(&self) -> ProviderConfig {
        ProviderConfig { name: "fake".to_owned(), base_url: self.base_url.clone(), api_key: KEY.to_owned() }
    }

    /// The bodies of all requests so far.
    pub(super) fn requests(&self) -> Vec<Value> {
        self.seen.lock().clone()
    }

    /// Whether a client left a stream that was still open.
    pub(super) fn client_left(&self) -> bool {
        *self.gone.lock()
    }
}

fn serve(mut connection: TcpStream, seen: &Mutex<Vec<Value>>, gone: &Mutex<bool>) {
    let Some((path, key, body)) = request(&connection) else { return };
    seen.lock().push(body.clone());
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    let answer = match (path.as_str(), model.as_str()) {
        _ if key != format!("Bearer {KEY}") => {
            refusal("401 Unauthorized", "", &json!({ "message": format!("Incorrect API key: {key}") }))
        }
        (_, "limited") => {
            refusal("429 Too Many Requests", "retry-after: 2\r\n", &json!({ "code": "rate_limit_exceeded" }))
        }
        (_, "broke") => {
            refusal("429 Too Many Requests", "retry-after: 2\r\n", &json!({ "code": "insufficient_quota" }))
        }
        (_, "down") => refusal("503 Service Unavailable", "", &json!({})),
        (_, "picky") if body.get("temperature").is_some() || body.get("max_tokens").is_some() => {
            let param = if body.get("temperature").is_some() { "temperature" } else { "max_tokens" };
            refusal("400 Bad Request", "", &json!({ "message": "unsupported", "param": param }))
        }
        ("/v1/embeddings", _) => embeddings(&body, &model),
        ("/v1/chat/completions", "silent") => {
            connection.write_all(stream(&chunk("Well", None)).as_bytes()).unwrap();
            connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            *gone.lock() = matches!(connection.read(&mut [0]), Ok(0)); // Nothing more is said until the client leaves.
            return;
        }
        ("/v1/chat/completions", _) => chat(&body, &model),
        _ => refusal("404 Not Found", "", &json!({ "message": "no such path" })),
    };
    connection.write_all(answer.as_bytes()).unwrap();
}

fn request(connection: &TcpStream) -> Option<(String, String, Value)> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut key) = (0, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => value.clone_into(&mut key),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, key, serde_json::from_slice(&body).ok()?))
}

fn chat(body: &Value, model: &str) -> String {
    let asked =
        body["messages"].as_array().and_then(|all| all.last()).map_or("", |last| last["content"].as_str().unwrap());
    let usage = json!({ "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10 });
    if body["stream"] != true || model == "unstreamed" {
        let message = json!({ "role": "assistant", "content": format!("You said: {asked}") });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        return whole(&json!({ "id": "c1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [choice], "usage": usage }));
    }
    let (mut first, second) = (chunk("You said: ", None), chunk(asked, None));
    first.push_str(&second);
    match model {
        "cut" => stream(&first),
        "reset" => stream(&first).replace("\r\n\r\n", "\r\ncontent-length: 99999\r\n\r\n"),
        "fails" => stream(&(first + &event(&json!({ "error": { "message": "overloaded", "type": "server_error" } })))),
        "uncounted" => stream(&(first + &chunk("", Some("length")) + "data: [DONE]\n\n")),
        _ => {
            let counted = event(&json!({ "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model,
                "choices": [], "usage": usage }));
            stream(&(first + &chunk("", Some("stop")) + &counted + "data: [DONE]\n\n"))
        }
    }
}

/// Vectors of four numbers made from the letters of the text.
fn embeddings(body: &Value, model: &str) -> String {
    let input = &body["input"];
    let texts = input.as_array().cloned().unwrap_or_else(|| vec![input.clone()]);
    let row = |(index, text): (usize, &Value)| {
        let mut vector = [0.1_f32; 4];
        text.as_str().unwrap_or_default().bytes().for_each(|byte| vector[usize::from(byte % 4)] += 1.0);
        let base64 = BASE64_STANDARD.encode(vector.map(f32::to_le_bytes).concat());
        let floats = body["encoding_format"] != "base64" || model == "floats";
        json!({ "object": "embedding", "index": index, "embedding": if floats { json!(vector) } else { json!(base64) } })
    };
    let data: Vec<Value> = texts.iter().enumerate().map(row).collect();
    whole(
        &json!({ "object": "list", "data": data, "model": model, "usage": { "prompt_tokens": 5, "total_tokens": 5 } }),
    )
}

fn chunk(content: &str, finish_reason: Option<&str>) -> String {
    event(&json!({ "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{ "index": 0, "delta": { "content": content }, "finish_reason": finish_reason }] }))
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn stream(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
}

fn whole(body: &Value) -> String {
    answer("200 OK", "", body)
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

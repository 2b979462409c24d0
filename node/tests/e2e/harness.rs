//! Starts, kills and stops nodes, and speaks HTTP and gRPC to them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use steward_proto::account::v1::account_service_client::AccountServiceClient;
use steward_proto::account::v1::{CreateAccountRequest, CreateApiKeyRequest, Role};
use steward_proto::event::v1::event_service_client::EventServiceClient;
use steward_proto::event::v1::{Event, ListEventsRequest};
use steward_proto::webhook::v1::CreateSourceRequest;
use steward_proto::webhook::v1::webhook_service_client::WebhookServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

/// How long a node may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const SECRET: &str = "a secret of the tests";

pub(crate) struct Node {
    dir: TempDir,
    child: Child,
    pub(crate) http: String,
    pub(crate) grpc: String,
    pub(crate) operator: String,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        self.json()["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim())
    }
}

/// The command that starts a node on ports of its own.
pub(crate) fn steward() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steward"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    command
}

impl Node {
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings)
    }

    fn start_in(dir: TempDir, settings: &[&str]) -> Self {
        let ready_file = dir.path().join("ready.json");
        std::fs::remove_file(&ready_file).ok(); // There is none at the first start.
        let log = std::fs::File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
        let mut command = steward();
        command.args(["node", "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]);
        command.args(["--set", "storage.shards=4"]).args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.arg("--data-dir").arg(dir.path().join("data")).arg("--ready-file").arg(&ready_file).stderr(log);
        let mut child = command.spawn().unwrap();
        let started = Instant::now();
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(&ready_file) {
                break text;
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "{ended:?}\n{}", log_of(&dir));
            std::thread::sleep(Duration::from_millis(5));
        };
        let ready: Value = serde_json::from_str(&text).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        let operator = std::fs::read_to_string(text("operator_key_file")).unwrap_or_default().trim().to_owned();
        Self { dir, child, http: text("http"), grpc: text("grpc"), operator }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        log_of(&self.dir)
    }

    /// SIGKILL, then the same node again.
    pub(crate) fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        Self::start_in(dir, &[])
    }

    /// SIGTERM, and how the node ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.terminate();
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(asked.elapsed() < PATIENCE, "the node does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Sends one request on its own connection.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.http);
        head.push_str(&format!("content-length: {}\r\n", body.len()));
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream.write_all(body).ok(); // A refused body is not read to its end.
        let mut answer = vec![];
        stream.read_to_end(&mut answer).ok(); // What was unread may end the connection with a reset.
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel().await)
    }

    pub(crate) async fn webhooks(&self) -> WebhookServiceClient<Channel> {
        WebhookServiceClient::new(self.channel().await)
    }

    pub(crate) async fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel().await)
    }

    pub(crate) async fn create_account(&self, account: &str) {
        let request = CreateAccountRequest { account_id: account.to_owned(), ..CreateAccountRequest::default() };
        self.accounts().await.create_account(with(&self.operator, request)).await.unwrap();
    }

    /// A new key of the account: its id and its secret.
    pub(crate) async fn create_key(&self, account: &str, role: Role) -> (String, String) {
        let request =
            CreateApiKeyRequest { account_id: account.to_owned(), role: role.into(), ..CreateApiKeyRequest::default() };
        let created = self.accounts().await.create_api_key(with(&self.operator, request)).await.unwrap().into_inner();
        (created.key.unwrap().key_id, created.secret)
    }

    /// A new source: the path to post to.
    pub(crate) async fn create_source(&self, account: &str, source: &str, scheme: &str) -> String {
        let request = CreateSourceRequest {
            account_id: account.to_owned(),
            source_id: source.to_owned(),
            scheme: scheme.to_owned(),
            secrets: vec![SECRET.to_owned()],
            ..CreateSourceRequest::default()
        };
        let created = self.webhooks().await.create_source(with(&self.operator, request)).await.unwrap();
        created.into_inner().source.unwrap().path
    }

    pub(crate) async fn feed(&self, account: &str) -> Vec<Event> {
        let request = ListEventsRequest { account_id: account.to_owned(), page_size: 500, ..Default::default() };
        self.events().await.list_events(with(&self.operator, request)).await.unwrap().into_inner().events
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok(); // It may have ended.
        self.child.wait().ok();
    }
}

fn log_of(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join("log")).unwrap_or_default()
}

/// The request, with a key.
pub(crate) fn with<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

/// The reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap_or_else(|| panic!("no reason: {status:?}")).reason
}

/// HMAC-SHA256 of these pieces under the tests' secret, in hex.
pub(crate) fn mac(pieces: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    pieces.iter().for_each(|piece| mac.update(piece));
    hex::encode(mac.finalize().into_bytes())
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

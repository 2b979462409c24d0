//! The node under test: the release binary, on free ports over a folder of its own.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use steward_cluster::clock::{Clock, SystemClock};
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::http::Connection;

/// How long anything may take to be ready.
pub(crate) const READY_MAX: Duration = Duration::from_secs(30);
/// How often that is looked at.
const READY_POLL: Duration = Duration::from_millis(1);

/// A started program that does not outlive the benchmark.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = log.try_clone().context("cannot share a log")?;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {}", command.get_program().display()))?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Asks again and again until there is an answer.
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut answer: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let clock = SystemClock::new();
        loop {
            if let Some(answer) = answer() {
                return Ok(answer);
            }
            if let Some(status) = self.0.try_wait().context("a program cannot be watched")? {
                bail!("{what} ended with {status} before it was ready");
            }
            if clock.monotonic() > READY_MAX {
                bail!("{what} was not ready within {READY_MAX:?}");
            }
            std::thread::sleep(READY_POLL);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok(); // It may have ended.
        self.0.wait().ok();
    }
}

/// A running node.
pub(crate) struct Node {
    // Stopped before its folder goes.
    program: Program,
    _folder: Option<TempDir>,
    pub(crate) id: u64,
    pub(crate) http: SocketAddr,
    pub(crate) key: String,
    pub(crate) ready_in: Duration,
    grpc: String,
}

/// The API with the operator's key on every request.
pub(crate) type Api = InterceptedService<Channel, Bearer>;

#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Node {
    /// Starts a node with these settings (`key=value`).
    pub(crate) fn start(steward: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let node = Self::start_in(steward, folder.path(), settings)?;
        Ok(Self { _folder: Some(folder), ..node })
    }

    /// Starts a node over a folder that outlives it.
    pub(crate) fn start_in(steward: &Path, folder: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let ready_file = folder.join("ready.json");
        fs::remove_file(&ready_file).ok(); // Of an earlier start, if there was one.
        let mut command = Command::new(steward);
        command.arg("node").arg("--data-dir").arg(folder.join("data")).arg("--ready-file").arg(&ready_file);
        command.args(["--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--set", "log.level=warn"]);
        settings.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        let clock = SystemClock::new();
        let mut program = Program::start(&mut command, &folder.join("node.log"))?;
        let ready = program.wait_for("the node", || {
            serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&ready_file).ok()?).ok()
        });
        let ready = ready.with_context(|| fs::read_to_string(folder.join("node.log")).unwrap_or_default())?;
        let ready_in = clock.monotonic();
        let text = |field: &str| {
            let value = ready[field].as_str().map(str::to_owned);
            value.with_context(|| format!("the ready file has no {field}"))
        };
        let key = fs::read_to_string(text("operator_key_file")?).context("cannot read the operator's key")?;
        Ok(Self {
            program,
            _folder: None,
            id: ready["node"].as_u64().context("the ready file has no node")?,
            http: text("http")?.parse().context("the node's address is none")?,
            key: key.trim().to_owned(),
            ready_in,
            grpc: format!("http://{}", text("grpc")?),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// SIGKILL. Does not wait for the end.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.program.0.kill().context("a node cannot be killed")
    }

    pub(crate) async fn api(&self) -> anyhow::Result<Api> {
        let bearer = format!("Bearer {}", self.key).parse().context("the key holds characters no key has")?;
        let endpoint = Endpoint::from_shared(self.grpc.clone()).context("the node's address is none")?;
        let channel = endpoint.connect().await.context("the node does not answer")?;
        Ok(InterceptedService::new(channel, Bearer(bearer)))
    }

    /// The node's counters by name; those with labels are left out.
    pub(crate) async fn counters(&self) -> anyhow::Result<HashMap<String, f64>> {
        let mut connection = Connection::open(self.http).await?;
        let answer = connection.get("/metrics", &self.key).await?;
        let text = std::str::from_utf8(answer.body).context("metrics are no text")?;
        let pairs = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
        Ok(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }
}

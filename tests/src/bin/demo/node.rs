//! The node of the demo: a `steward dev` process, started, killed and started again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// How long a node may take to be ready.
const READY_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    steward: PathBuf,
    folder: PathBuf,
    child: Child,
    pub(crate) http: String,
    pub(crate) grpc: String,
    pub(crate) key: String,
    pub(crate) ready_in: Duration,
}

impl Node {
    pub(crate) fn start(steward: &Path, folder: &Path) -> anyhow::Result<Self> {
        Self::launch(steward, folder, "127.0.0.1:0", "127.0.0.1:0")
    }

    /// SIGKILL: no goodbye, no flush.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill the node")?;
        self.child.wait().context("the node does not die")?;
        Ok(())
    }

    /// Starts the same node again, at the same addresses, over the same data.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        let again = Self::launch(&self.steward, &self.folder, &self.http, &self.grpc)?;
        *self = again;
        Ok(())
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    #[expect(clippy::disallowed_methods, reason = "the demo measures what a person waits")]
    fn launch(steward: &Path, folder: &Path, http: &str, grpc: &str) -> anyhow::Result<Self> {
        let ready_file = folder.join("ready.json");
        if ready_file.exists() {
            fs::remove_file(&ready_file).context("cannot remove the old ready file")?;
        }
        let log =
            File::options().create(true).append(true).open(folder.join("node.log")).context("cannot open the log")?;
        let started = Instant::now();
        let mut child = Command::new(steward)
            .arg("dev")
            .arg("--data-dir")
            .arg(folder.join("data"))
            .args(["--http-listen", http, "--grpc-listen", grpc, "--set", "log.format=json"])
            .args(["--set", "ai.models_dir=.models"])
            // The platform and the receiver are on this machine; a real node refuses addresses like these.
            .args(["--set", "egress.allow=[\"127.0.0.1/32\"]"])
            // The recording is short: cut it finer than usual, so that there is a checkpoint to come back to.
            .args(["--set", "video.chunk_seconds=5"])
            .arg("--ready-file")
            .arg(&ready_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", steward.display()))?;
        let ready = loop {
            if let Ok(text) = fs::read_to_string(&ready_file)
                && let Ok(ready) = serde_json::from_str::<serde_json::Value>(&text)
            {
                break ready;
            }
            if let Some(status) = child.try_wait().context("cannot watch the node")? {
                bail!("the node ended with {status} before it was ready");
            }
            if started.elapsed() > READY_MAX {
                child.kill().ok(); // It is being given up anyway.
                bail!("the node was not ready within {READY_MAX:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let ready_in = started.elapsed();
        let text = |field: &str| {
            let value = ready[field].as_str().map(str::to_owned);
            value.with_context(|| format!("the ready file has no {field}"))
        };
        let key = fs::read_to_string(text("operator_key_file")?).context("cannot read the operator's key")?;
        Ok(Self {
            steward: steward.to_owned(),
            folder: folder.to_owned(),
            child,
            http: text("http")?,
            grpc: text("grpc")?,
            key: key.trim().to_owned(),
            ready_in,
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok(); // It may have ended.
        self.child.wait().ok();
    }
}

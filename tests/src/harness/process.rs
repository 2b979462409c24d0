//! A node as a process: started, killed, asked to stop. The demo and [`super::Node`] use it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use steward_cluster::clock::{Clock as _, SystemClock};

use super::wait::look;

/// How long a node may take to be ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long the threads of a stopped node may take to stand still: a sync of a slow disk is waited for.
const STILL_MAX: Duration = Duration::from_secs(10);

/// How to start a node. Its files stand in `folder`: `data`, `node.log`, `ready.json`.
#[derive(Clone, Debug)]
pub struct Launch {
    pub steward: PathBuf,
    pub folder: PathBuf,
    pub http: String,
    pub grpc: String,
    /// `key=value`, as `--set` takes them.
    pub settings: Vec<String>,
    /// A command that starts the node in surroundings of its own, such as a network; empty when it needs none.
    pub within: Vec<String>,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// What its environment has beside that of the test.
    pub environment: Vec<(String, String)>,
}

/// A running node.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    pub http: String,
    pub grpc: String,
    pub key: String,
    pub ready_in: Duration,
}

/// Which build a node runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Build {
    /// This release.
    #[default]
    This,
    /// The release before, which does not know the newest format.
    Previous,
    /// This release, dying at a point that a file names.
    Failpoints,
}

impl Build {
    /// Its binary, beside this test.
    pub(super) fn steward(self) -> PathBuf {
        match self {
            Self::This => steward_beside(),
            Self::Previous => beside("steward-previous", "make chaos"),
            Self::Failpoints => beside("steward-failpoints", "make chaos"),
        }
    }
}

/// The binary that was built with this test.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn steward_beside() -> PathBuf {
    beside("steward", "make test")
}

fn beside(name: &str, made_by: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let binary = test.parent().and_then(Path::parent).map(|target| target.join(name));
    let binary = binary.expect("tests lie two folders below the target folder");
    assert!(binary.exists(), "{} is not built: run `{made_by}`, which does that first", binary.display());
    binary
}

impl Launch {
    /// A node on free ports.
    #[must_use]
    pub fn new(steward: &Path, folder: &Path) -> Self {
        let free = || "127.0.0.1:0".to_owned();
        let (steward, data_dir, folder) = (steward.to_owned(), folder.join("data"), folder.to_owned());
        let (http, grpc) = (free(), free());
        Self { steward, folder, http, grpc, settings: vec![], within: vec![], data_dir, environment: vec![] }
    }

    /// Adds a setting.
    #[must_use]
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// Where its log lines go; those of later starts are behind the earlier ones.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("node.log")
    }

    /// Starts the node and waits until it takes traffic.
    pub fn start(&self) -> anyhow::Result<NodeProcess> {
        let ready_file = self.folder.join("ready.json");
        if ready_file.exists() {
            fs::remove_file(&ready_file).context("cannot remove the old ready file")?;
        }
        let clock = SystemClock::new();
        let mut child = self.spawn(&ready_file)?;
        let settled = look(READY_MAX, || match child.try_wait() {
            Ok(None) => serde_json::from_str::<Value>(&fs::read_to_string(&ready_file).ok()?).ok().map(Ok),
            Ok(Some(status)) => Some(Err(anyhow!("the node ended with {status} before it was ready"))),
            Err(error) => Some(Err(anyhow!(error).context("cannot watch the node"))),
        });
        let ready = settled.unwrap_or_else(|| Err(anyhow!("the node was not ready within {READY_MAX:?}")));
        let ready = ready.inspect_err(|_| stop(&mut child))?;
        let ready_in = clock.monotonic();
        NodeProcess::new(child, &ready, ready_in)
    }

    fn spawn(&self, ready_file: &Path) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log()).context("cannot open the log")?;
        let mut words = self.within.iter().map(OsString::from).chain([self.steward.clone().into_os_string()]);
        Command::new(words.next().expect("the binary at least"))
            .args(words)
            .arg("node")
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--http-listen", &self.http, "--grpc-listen", &self.grpc])
            .args(self.settings.iter().flat_map(|setting| ["--set", setting]))
            .arg("--ready-file")
            .arg(ready_file)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log")?)
            .stderr(log)
            // A group of its own: Ctrl-C at a test or the demo is theirs to handle, and leaves no half-stopped node.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.steward.display()))
    }
}

impl NodeProcess {
    fn new(child: Child, ready: &Value, ready_in: Duration) -> anyhow::Result<Self> {
        let text = |field: &str| {
            let value = ready[field].as_str().map(str::to_owned);
            value.with_context(|| format!("the ready file has no {field}"))
        };
        let key = fs::read_to_string(text("operator_key_file")?).context("cannot read the operator's key")?;
        Ok(Self { child, http: text("http")?, grpc: text("grpc")?, key: key.trim().to_owned(), ready_in })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no goodbye, no flush.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill the node")?;
        self.child.wait().context("the node does not die")?;
        Ok(())
    }

    /// SIGTERM: asks the node to stop in good order.
    pub fn ask_to_stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// SIGSTOP: the node holds everything it has, and does nothing.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGSTOP, and waits until every thread stands still: what the kernel does for one is done before.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.pause()?;
        let still = look(STILL_MAX, || self.thread_states().ok()?.into_iter().all(|state| state == 'T').then_some(()));
        still.with_context(|| format!("the node did not stand still within {STILL_MAX:?}"))
    }

    fn thread_states(&self) -> anyhow::Result<Vec<char>> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).context("the node is gone")?;
        let mut states = vec![];
        for thread in threads {
            let stat = fs::read_to_string(thread?.path().join("stat"))?;
            // The name stands in parentheses and may hold anything.
            states.push(stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).context("no state")?);
        }
        Ok(states)
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("the node has no process id")?;
        kill_process(pid, signal).context("cannot signal the node")
    }

    /// How the node ended; none while it runs.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot watch the node")
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn stop(child: &mut Child) {
    child.kill().ok(); // It may have ended.
    child.wait().ok();
}

//! A node under test: a process, its folder, its log, and the shortest ways to talk to it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::api::Api;
use super::http::{Headers, Http, Reply};
use super::log_watch::{self, Alarm};
use super::process::{Build, Launch, NodeProcess, steward_beside};
use super::wait::{WAIT_MAX, eventually, within};

/// How long a node may take to stop in good order.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How a node under test is to be started.
#[derive(Debug)]
pub struct NodeBuilder {
    launch: Launch,
    expected: Vec<String>,
    alarm: Alarm,
    folder: TempDir,
}

/// A node under test.
#[derive(Debug)]
pub struct Node {
    launch: Launch,
    expected: Vec<String>,
    alarm: Alarm,
    process: Option<NodeProcess>,
    http: String,
    grpc: String,
    key: String,
    _folder: TempDir,
}

impl NodeBuilder {
    /// Adds a setting, as `--set` takes it.
    #[must_use]
    pub fn set(mut self, setting: &str) -> Self {
        self.launch = self.launch.set(setting);
        self
    }

    /// Runs another build.
    #[must_use]
    pub fn build(mut self, build: Build) -> Self {
        self.launch.steward = build.steward();
        self
    }

    /// Announces a log line of level `warn` or `error` that holds this text.
    #[must_use]
    pub fn expecting(mut self, text: &str) -> Self {
        self.expected.push(text.to_owned());
        self
    }

    /// Lets jobs and deliveries reach this machine, where the test plays their servers.
    #[must_use]
    pub fn reaching_loopback(self) -> Self {
        self.reaching("127.0.0.1")
    }

    /// Lets jobs and deliveries reach an address where the test plays their servers.
    #[must_use]
    pub fn reaching(self, address: &str) -> Self {
        self.set(&format!("egress.allow={address}/32")).expecting("may reach an address beyond the public Internet")
    }

    /// Warnings are nothing special for this node: its world is about to break.
    #[must_use]
    pub(super) fn among_faults(mut self) -> Self {
        self.alarm = Alarm::Error;
        self
    }

    /// Starts it by a command that gives it surroundings of its own, and lets it listen on one of their addresses.
    #[must_use]
    pub(super) fn within(mut self, command: Vec<String>, address: &str) -> Self {
        let free = format!("{address}:0");
        (self.launch.within, self.launch.http, self.launch.grpc) = (command, free.clone(), free);
        self
    }

    /// Keeps the data on this disk instead of in the node's own folder; the log stays there.
    #[must_use]
    pub fn on_disk(mut self, disk: PathBuf) -> Self {
        self.launch.data_dir = disk.join("data");
        self
    }

    /// Starts it.
    #[must_use]
    pub fn start(self) -> Node {
        let Self { launch, expected, alarm, folder } = self;
        let mut node = Node {
            launch,
            expected,
            alarm,
            process: None,
            http: String::new(),
            grpc: String::new(),
            key: String::new(),
            _folder: folder,
        };
        node.restart();
        node
    }
}

impl Node {
    /// A node to be set up and started.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        let folder = tempfile::Builder::new().prefix("steward-e2e-").tempdir().expect("a temporary folder can be made");
        // Nothing a test runs is large: small segments and few threads leave room for the tests beside it.
        let launch = Launch::new(&steward_beside(), folder.path()).set("storage.segment_mib=4");
        NodeBuilder { launch, expected: vec![], alarm: Alarm::Warn, folder }
    }

    /// A node as it comes.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Starts the node again over its data; ports may change.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the node is running");
        let process =
            self.launch.start().unwrap_or_else(|error| panic!("{error:#}\n{}", log_watch::tail(&self.launch.log())));
        (self.http, self.grpc, self.key) = (process.http.clone(), process.grpc.clone(), process.key.clone());
        self.process = Some(process);
    }

    /// Starts the node although it will refuse; returns what it says.
    pub fn refuses_to_start(&self) -> String {
        assert!(self.process.is_none(), "the node is running");
        let before = log_watch::lines(&self.launch.log()).len();
        match self.launch.start() {
            Ok(_) => panic!("the node started"),
            Err(_) => {
                let said = log_watch::lines(&self.launch.log()).split_off(before);
                said.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
            }
        }
    }

    /// From now on a log line with this text is expected.
    pub fn expect(&mut self, text: &str) {
        self.expected.push(text.to_owned());
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, setting: &str) {
        self.launch.settings.push(setting.to_owned());
    }

    /// From the next start on it is another build.
    pub fn becomes(&mut self, build: Build) {
        self.launch.steward = build.steward();
    }

    /// Changes what the next start finds in its environment.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.launch.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Waits for the node to end by itself.
    pub async fn ends(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the node is running");
        let ended = async || process.ended().expect("a process can be watched");
        eventually(WAIT_MAX, "the node to end by itself", ended).await
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("the node is running").kill().expect("a process can be killed");
    }

    /// SIGTERM; waits for the end, while the test's connections go on to answer.
    pub async fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the node is running");
        process.ask_to_stop().expect("a process can be signalled");
        let ended = async || process.ended().expect("a process can be watched");
        eventually(STOP_MAX, "the node to stop", ended).await
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.process.as_ref().expect("the node is running").pause().expect("a process can be signalled");
    }

    /// SIGSTOP; nothing of the node moves any more when this returns.
    pub fn freeze(&self) {
        self.process.as_ref().expect("the node is running").freeze().expect("a node can be stopped");
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.process.as_ref().expect("the node is running").go_on().expect("a process can be signalled");
    }

    /// Removes everything a stopped node kept.
    pub fn wipe(&mut self) {
        assert!(self.process.is_none(), "the node is running");
        fs::remove_dir_all(&self.launch.data_dir).expect("the data folder can be removed");
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the node is running").pid()
    }

    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.launch.data_dir.clone()
    }

    #[must_use]
    pub fn steward(&self) -> PathBuf {
        self.launch.steward.clone()
    }

    /// The address of its HTTP side.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// The address of its API, as a URL.
    #[must_use]
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// The operator's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The API, as the operator.
    pub async fn api(&self) -> Api {
        Api::connect(&self.grpc_url(), &self.key).await
    }

    /// The API, with another key.
    pub async fn api_as(&self, key: &str) -> Api {
        Api::connect(&self.grpc_url(), key).await
    }

    /// One POST on a connection of its own.
    pub async fn post(&self, path: &str, headers: &Headers, body: &[u8]) -> Reply {
        self.request("POST", path, headers, body).await
    }

    /// One GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &Headers::new(), b"").await
    }

    /// One request on a connection of its own.
    pub async fn request(&self, method: &str, path: &str, headers: &Headers, body: &[u8]) -> Reply {
        let mut http = Http::connect(&self.http).await.expect("the node accepts connections");
        http.send(method, path, headers, body).await.expect("the node answers")
    }

    /// The value of a metric by its full name with labels; 0 while it has none.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or(0)
    }

    /// Waits until the formats of a new node's shards are raised: what is new is refused, or left out, until then.
    pub async fn raised(&self) {
        let is_raised = async || {
            let [in_force, known] = ["steward_format_in_force", "steward_format_known"].map(|name| self.metric(name));
            let in_force = in_force.await;
            (in_force > 0 && in_force == known.await).then_some(())
        };
        eventually(WAIT_MAX, "the formats to be raised", is_raised).await;
    }

    /// The value of a metric that is no count; nothing while it has none.
    pub async fn gauge(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// `steward ctl …` against this node.
    pub fn ctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.launch.steward);
        command.arg("ctl").args(args).args(["--address", &self.grpc_url(), "--key", &self.key]);
        command.output().expect("the command runs")
    }

    /// `steward ctl … --json` that must succeed.
    #[track_caller]
    pub fn ctl_json(&self, args: &[&str]) -> Value {
        let output = self.ctl(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?} prints no JSON: {error}"))
    }

    /// A command of `steward` that works on this node's folder, with the node's settings.
    pub(super) fn beside(&self, command: &[&str]) -> Output {
        let settings = self.launch.settings.iter().flat_map(|setting| ["--set", setting]);
        let mut steward = Command::new(&self.launch.steward);
        steward.args(command).arg("--data-dir").arg(&self.launch.data_dir).args(settings);
        steward.output().expect("the command runs")
    }

    /// The last message in the log that holds a text.
    #[must_use]
    pub fn last_logged(&self, text: &str) -> Option<String> {
        let lines = log_watch::lines(&self.launch.log());
        let message =
            |line: &Value| line["message"].as_str().filter(|message| message.contains(text)).map(str::to_owned);
        lines.iter().rev().find_map(message)
    }

    /// Whether a log line fits.
    #[must_use]
    pub fn has_logged(&self, fits: impl Fn(&Value) -> bool) -> bool {
        log_watch::lines(&self.launch.log()).iter().any(fits)
    }

    /// Waits for a log line that fits.
    #[track_caller]
    pub fn logged(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        within(WAIT_MAX, what, || log_watch::lines(&self.launch.log()).into_iter().find(|line| fits(line)))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.take());
        let log = self.launch.log();
        if std::thread::panicking() {
            show(&log_watch::tail(&log));
            return;
        }
        let unexpected = log_watch::unexpected(&log, self.alarm, &self.expected);
        assert!(unexpected.is_empty(), "the node logged what nobody expected:\n{}", unexpected.join("\n"));
    }
}

fn show(tail: &str) {
    eprintln!("the end of the node's log:\n{tail}");
}

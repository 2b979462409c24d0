//! The world around the node: a platform that sends webhooks and serves a recording, a receiver that verifies ours.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context as _;

/// A helper process that prints its port first. Stopped when dropped.
pub(crate) struct Helper {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub(crate) port: u16,
}

impl Helper {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut lines = BufReader::new(child.stdout.take().context("the helper has no output")?);
        let mut port = String::new();
        lines.read_line(&mut port).context("the helper prints no port")?;
        let port = port.trim().parse().context("the helper's first line is no port")?;
        Ok(Self { child, lines, port })
    }

    /// The next line the helper prints.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).context("the helper prints nothing")?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.child.kill().ok(); // It may have ended.
        self.child.wait().ok();
    }
}

/// Serves the recording.
pub(crate) fn platform(recording: &Path) -> anyhow::Result<Helper> {
    let mut command = Command::new("python3");
    command.args(["demo/platform.py", "serve"]).arg(recording);
    Helper::start(command)
}

/// Takes outbound webhooks and verifies them with the official library.
pub(crate) fn receiver(secret: &str) -> anyhow::Result<Helper> {
    let mut command = Command::new(".venv/bin/python");
    command.args(["demo/receiver.py", secret]);
    Helper::start(command)
}

/// One webhook as the platform sends it, and how it was answered.
pub(crate) struct Webhook<'a> {
    pub(crate) url: String,
    pub(crate) secret: &'a str,
    pub(crate) recording: String,
    pub(crate) at_ms: u64,
    pub(crate) forged: bool,
}

impl Webhook<'_> {
    /// Sends it; returns the status and the body of the answer.
    pub(crate) fn send(&self) -> anyhow::Result<(u16, String)> {
        let mut command = Command::new("python3");
        command.args(["demo/platform.py", "send", &self.url, "--secret", self.secret]);
        command.args(["--recording", &self.recording, "--at", &self.at_ms.to_string()]);
        if self.forged {
            command.arg("--forge");
        }
        let output = command.output().context("cannot run the platform")?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let (status, body) = text.split_once(' ').with_context(|| {
            format!("the platform could not send: {}", String::from_utf8_lossy(&output.stderr).trim())
        })?;
        Ok((status.parse().context("the answer has no status")?, body.to_owned()))
    }
}

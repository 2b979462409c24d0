//! The world around the node: a platform that sends webhooks and serves a recording, a receiver that verifies ours.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use steward_tests::harness::Bystander;

/// Serves the recording.
pub(crate) fn platform(recording: &Path) -> anyhow::Result<Bystander> {
    let mut command = Command::new("python3");
    command.args(["demo/platform.py", "serve"]).arg(recording);
    Bystander::start(command)
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

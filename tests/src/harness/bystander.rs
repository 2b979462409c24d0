//! Processes of the world outside: they print their port first, then lines.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context as _;

/// A process that prints its port first. Stopped when dropped.
#[derive(Debug)]
pub struct Bystander {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub port: u16,
}

impl Bystander {
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut lines = BufReader::new(child.stdout.take().context("the process has no output")?);
        let mut port = String::new();
        lines.read_line(&mut port).context("the process prints no port")?;
        let port = port.trim().parse().context("its first line is no port")?;
        Ok(Self { child, lines, port })
    }

    /// The next line the process prints.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).context("the process prints nothing")?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.child.kill().ok(); // It may have ended.
        self.child.wait().ok();
    }
}

/// Takes outbound webhooks and verifies them with the official library. `workspace` holds `.venv` and `demo`.
pub fn receiver(workspace: &Path, secret: &str) -> anyhow::Result<Bystander> {
    let mut command = Command::new(workspace.join(".venv/bin/python"));
    command.arg(workspace.join("demo/receiver.py")).arg(secret);
    Bystander::start(command)
}

//! A script of a peer that runs beside the measurement and tells in lines how far it is.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};

/// The running script. Stopped when dropped.
pub(super) struct Script {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Script {
    pub(super) fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start node")?;
        let lines = BufReader::new(child.stdout.take().context("the script has no output")?);
        Ok(Self { child, lines })
    }

    pub(super) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).context("the script cannot be read")?;
        ensure!(length > 0, "the script ended");
        Ok(line)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.child.kill().ok(); // It may have ended.
        self.child.wait().ok();
    }
}

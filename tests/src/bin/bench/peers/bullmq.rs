//! BullMQ on Redis that syncs every write: adding a job and no more, which favours it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use super::{Cell, free_port, local, put_script};
use crate::ingest::Sample;
use crate::meter::Meter;
use crate::node::Program;

const SCRIPT: &str = include_str!("bullmq.mjs");

pub(crate) struct Bullmq {
    redis: Redis,
    script: PathBuf,
}

/// A Redis over a folder of its own.
pub(super) struct Redis {
    program: Program,
    _folder: TempDir,
    pub(super) port: u16,
}

impl Redis {
    /// Starts one that syncs what is written this often; none when it or BullMQ is not installed.
    pub(super) fn start(peers: &Path, syncs: &str) -> anyhow::Result<Option<Self>> {
        let redis = peers.join("redis-server");
        if !redis.exists() || !peers.join("node_modules/bullmq").exists() {
            return Ok(None);
        }
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let port = free_port()?;
        let mut command = Command::new(std::path::absolute(redis)?);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder.path());
        command.args(["--appendonly", "yes", "--appendfsync", syncs, "--daemonize", "no"]);
        let mut program = Program::start(&mut command, &folder.path().join("redis.log"))?;
        program.wait_for("Redis", || TcpStream::connect(local(port)).ok())?;
        Ok(Some(Self { program, _folder: folder, port }))
    }

    pub(super) fn pid(&self) -> u32 {
        self.program.pid()
    }
}

/// What the script tells.
#[derive(Deserialize)]
struct Told {
    rate_per_s: f64,
    cpu_s: f64,
}

impl Bullmq {
    /// None when it is not installed.
    pub(crate) fn start(peers: &Path) -> anyhow::Result<Option<Self>> {
        let Some(redis) = Redis::start(peers, "always")? else { return Ok(None) };
        let script = put_script(peers, "bullmq.mjs", SCRIPT)?;
        Ok(Some(Self { redis, script }))
    }

    pub(crate) fn measure(&self, cell: Cell) -> anyhow::Result<Sample> {
        let numbers = [
            u64::from(self.redis.port),
            u64::try_from(cell.connections)?,
            cell.warmup.as_secs(),
            cell.measured.as_secs(),
            u64::try_from(cell.run)?,
        ];
        let mut command = Command::new("node");
        command.arg(&self.script).args(numbers.map(|number| number.to_string()));
        let meter = Meter::start(&[self.redis.pid()])?;
        let output = command.output().context("cannot start node")?;
        let usage = meter.stop()?;
        ensure!(output.status.success(), "BullMQ failed: {}", String::from_utf8_lossy(&output.stderr));
        let told: Told = serde_json::from_slice(&output.stdout).context("BullMQ's script told no figures")?;
        let all = cell.warmup + cell.measured;
        // The script is half of BullMQ: the queue's logic runs in it.
        let cpu_ms = (usage.cpu_s + told.cpu_s) * 1000.0 / (told.rate_per_s * all.as_secs_f64());
        let (own_cores, other_cores) = (usage.own_cores, usage.other_cores);
        Ok(Sample { rate_per_s: told.rate_per_s, cpu_ms, own_cores, other_cores })
    }
}

//! A worker of BullMQ whose jobs do nothing: what a queue costs by itself. Its Redis syncs every write, since each step of
//! a task is durable here too. It knows no accounts, and its jobs are ready when it starts, which favours it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use super::bullmq::Redis;
use super::script::Script;
use super::{installed, put_script};
use crate::Settings;
use crate::figure::count;
use crate::meter::Meter;

const SCRIPT: &str = include_str!("no_ops.mjs");

pub(crate) struct NoOps {
    redis: Redis,
    script: PathBuf,
}

/// What the script tells at its end.
#[derive(Deserialize)]
struct Told {
    seconds: f64,
    cpu_s: f64,
}

/// A queue that was worked off.
pub(crate) struct WorkedOff {
    pub(crate) rate_per_s: f64,
    pub(crate) cpu_ms: f64,
}

impl NoOps {
    pub(crate) const NAME: &str = "bullmq-6.7-worker-always";

    /// None when it is not installed.
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let Some(redis) = installed("bullmq", Redis::start(&settings.peers, "always")?) else { return Ok(None) };
        let script = put_script(&settings.peers, "no_ops.mjs", SCRIPT)?;
        Ok(Some(Self { redis, script }))
    }

    /// Fills the queue, then works on it until it is empty.
    pub(crate) fn through(&self, run: usize, jobs: usize) -> anyhow::Result<WorkedOff> {
        let mut command = Command::new("node");
        command.arg(&self.script).args([self.redis.port.to_string(), jobs.to_string(), run.to_string()]);
        let mut script = Script::start(command)?;
        script.line().context("BullMQ's worker is not ready")?;
        let meter = Meter::start(&[self.redis.pid()])?;
        let told: Told = serde_json::from_str(&script.line()?).context("BullMQ's script told no figures")?;
        let usage = meter.stop()?;
        let cpu_ms = (usage.cpu_s + told.cpu_s) * 1000.0 / count(jobs);
        Ok(WorkedOff { rate_per_s: count(jobs) / told.seconds, cpu_ms })
    }
}

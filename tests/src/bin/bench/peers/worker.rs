//! A worker of BullMQ that posts signed webhooks: what a user would write to send them. Its Redis syncs once a second.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::bullmq::Redis;
use super::script::Script;
use super::{installed, put_script};
use crate::Settings;
use crate::egress::took;
use crate::figure::count;
use crate::flow::SECRET;
use crate::meter::Meter;
use crate::receiver::Receiver;

const SCRIPT: &str = include_str!("worker.mjs");
/// Where the script finds what it is to post.
const DOCUMENT: &str = "worker-document.json";

/// A backlog that was drained.
pub(crate) struct Drained {
    pub(crate) rate_per_s: f64,
    pub(crate) cpu_ms: f64,
    pub(crate) doubled: usize,
    pub(crate) receiver_cores: f64,
    pub(crate) other_cores: f64,
}

pub(crate) struct Worker {
    redis: Redis,
    script: PathBuf,
    document: PathBuf,
}

/// What the script tells at its end.
#[derive(Deserialize)]
struct Told {
    cpu_s: f64,
}

impl Worker {
    pub(crate) const NAME: &str = "bullmq-6.7-worker-everysec";

    /// None when it is not installed. It posts the document it is given.
    pub(crate) fn start(settings: &Settings, document: &str) -> anyhow::Result<Option<Self>> {
        let is_installed = settings.peers.join("node_modules/undici").exists();
        let redis = if is_installed { Redis::start(&settings.peers, "everysec")? } else { None };
        let Some(redis) = installed("bullmq", redis) else { return Ok(None) };
        let script = put_script(&settings.peers, "worker.mjs", SCRIPT)?;
        let document = put_script(&settings.peers, DOCUMENT, document)?;
        Ok(Some(Self { redis, script, document }))
    }

    /// Fills the queue, then starts to work on it.
    pub(crate) async fn drain(&self, run: usize, events: usize, receiver: &mut Receiver) -> anyhow::Result<Drained> {
        let mut command = Command::new("node");
        command.arg(&self.script).args([self.redis.port.to_string(), events.to_string(), run.to_string()]);
        command.args([&receiver.url(), SECRET]).arg(&self.document);
        let mut script = Script::start(command)?;
        script.line().context("BullMQ's worker is not ready")?;
        receiver.clear().await?;
        let meters = (Meter::start(&[self.redis.pid()])?, Meter::start(&[receiver.pid()])?);
        let begin = receiver.now();
        let arrivals = receiver.arrivals(events).await?;
        let told: Told = serde_json::from_str(&script.line()?).context("BullMQ's script told no figures")?;
        let (usage, received) = (meters.0.stop()?, meters.1.stop()?);
        ensure!(arrivals.doubled == 0, "BullMQ posted {} events twice", arrivals.doubled);
        let cpu_s = usage.cpu_s + told.cpu_s;
        let receiver_cores = received.cpu_s / received.seconds;
        Ok(Drained {
            rate_per_s: count(events) / took(&arrivals, begin, events)?.as_secs_f64(),
            cpu_ms: cpu_s * 1000.0 / count(events),
            doubled: arrivals.doubled,
            receiver_cores,
            other_cores: usage.other_cores - receiver_cores - told.cpu_s / usage.seconds,
        })
    }
}

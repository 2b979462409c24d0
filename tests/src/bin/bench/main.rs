//! `make bench`: measures a node, and what a user would run instead, side by side.
//!
//! Prints one JSON line per figure, then a table. A target that is missed is reported; an acknowledged webhook that is
//! lost or doubled fails the run.
//!
//! # Invariants
//! - **B1 in turn**: what a ratio compares is measured in turn in one run (A B A B …); figures are medians with their
//!   smallest and largest run.
//! - **B2 no coordinated omission**: latencies under load come from an open loop, from the moment a request was due.
//! - **B3 read back**: every acknowledged id of a run is read back through the API and must be there once; what is to be
//!   delivered has to arrive.

mod accounts;
mod backlog;
mod bare;
mod cluster;
mod egress;
mod figure;
mod flow;
mod hostile;
mod http;
mod idle;
mod inbox;
mod ingest;
mod isolation;
mod load;
mod log;
mod meter;
mod node;
mod peers;
mod receiver;
mod recording;
mod resign;
mod speech;
mod tasks;
mod unsigned;
mod verify;
mod video;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use figure::Report;

/// Allocates as the node does, so that the bare gateway is compared fairly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage: bench --steward PATH [--only FAMILY,…] [--runs N] [--secs N] [--peers DIR]
             [--connections N,…] [--events N]
families: idle log verify ingest hot tasks video speech egress hostile accounts cluster; parts of the last: cluster-ingest
          cluster-kill cluster-moves cluster-idle; measured only when named: cluster-join isolation";

/// Events of the account that is behind in the isolation family.
const EVENTS: usize = 1_000_000;

/// What to measure, and with what.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) steward: PathBuf,
    /// Where `make bench-peers` put the peers.
    pub(crate) peers: PathBuf,
    pub(crate) runs: usize,
    /// How long a cell is measured.
    pub(crate) measured: Duration,
    /// Concurrencies of the ingest family; none stands for all.
    pub(crate) connections: Vec<usize>,
    /// Events of the account that is behind in the isolation family.
    pub(crate) events: usize,
    only: Vec<String>,
}

impl Settings {
    fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut settings = Self {
            steward: PathBuf::new(),
            peers: PathBuf::from(".bench-peers"),
            runs: 5,
            measured: Duration::from_secs(4),
            connections: vec![],
            events: EVENTS,
            only: vec![],
        };
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value\n{USAGE}"))?;
            match flag.as_str() {
                "--steward" => settings.steward = PathBuf::from(value),
                "--peers" => settings.peers = PathBuf::from(value),
                "--runs" => settings.runs = value.parse().context("--runs needs a number")?,
                "--secs" => settings.measured = Duration::from_secs(value.parse().context("--secs needs a number")?),
                "--events" => settings.events = value.parse().context("--events needs a number")?,
                "--connections" => {
                    let numbers = value.split(',').map(str::parse).collect::<Result<_, _>>();
                    settings.connections = numbers.context("--connections needs numbers")?;
                }
                "--only" => settings.only = value.split(',').map(str::to_owned).collect(),
                _ => bail!("{flag} is not known\n{USAGE}"),
            }
        }
        if settings.steward.as_os_str().is_empty() || settings.runs == 0 || settings.measured.is_zero() {
            bail!("{USAGE}");
        }
        Ok(settings)
    }

    fn wants(&self, family: &str) -> bool {
        self.only.is_empty() || self.names(family)
    }

    /// Whether it was asked for by name.
    fn names(&self, family: &str) -> bool {
        self.only.iter().any(|only| only == family)
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let outcome = if args.next_if(|arg| arg == bare::SWITCH).is_some() {
        bare::serve()
    } else if args.next_if(|arg| arg == receiver::SWITCH).is_some() {
        receiver::serve()
    } else {
        Settings::parse(args).and_then(|settings| measure(&settings))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            figure::say(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(settings: &Settings) -> anyhow::Result<()> {
    // One thread: on a small machine the load generator must not take more than it needs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let mut report = Report::default();
    runtime.block_on(async {
        if settings.wants("idle") {
            idle::measure(settings, &mut report).await?;
        }
        if settings.wants("log") {
            log::measure(settings, &mut report)?;
        }
        if settings.wants("verify") {
            verify::measure(settings, &mut report)?;
        }
        if settings.wants("ingest") {
            ingest::measure(settings, &mut report).await?;
        }
        if settings.wants("hot") {
            ingest::hot(settings, &mut report).await?;
        }
        if settings.wants("tasks") {
            tasks::measure(settings, &mut report).await?;
        }
        if settings.wants("video") {
            video::measure(settings, &mut report).await?;
        }
        if settings.wants("speech") {
            speech::measure(settings, &mut report).await?;
        }
        if settings.wants("egress") {
            egress::measure(settings, &mut report).await?;
        }
        if settings.wants("hostile") {
            hostile::measure(settings, &mut report).await?;
        }
        if settings.names("isolation") {
            isolation::measure(settings, &mut report).await?;
        }
        if settings.wants("accounts") {
            accounts::measure(settings, &mut report).await?;
        }
        if cluster::PARTS.iter().any(|part| settings.wants(part)) {
            cluster::measure(settings, &mut report).await?;
        }
        anyhow::Ok(())
    })?;
    report.table()
}

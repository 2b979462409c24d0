//! What a user would run instead. `make bench-peers` installs it; what is not installed is skipped by name.

mod bullmq;
mod no_ops;
mod postgres;
mod restate;
mod script;
mod worker;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::ingest::Sample;
use crate::{Settings, figure};
use bullmq::Bullmq;
use postgres::Postgres;
use restate::Restate;

pub(crate) use no_ops::{NoOps, WorkedOff};
pub(crate) use worker::{Drained, Worker};

/// What a peer is asked to take in: the same events at the same concurrency.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    /// Which run this is, so that keys and ids are new.
    pub(crate) run: usize,
    pub(crate) connections: usize,
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
    /// Accounts the events are spread over.
    pub(crate) keys: usize,
}

/// The peers that are installed, running.
pub(crate) struct Peers {
    names: Vec<String>,
    restate: Option<Restate>,
    postgres: Option<Postgres>,
    bullmq: Option<Bullmq>,
}

impl Peers {
    /// Starts all.
    pub(crate) async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let mut peers = Self::start_restate(settings).await?;
        peers.postgres = installed("postgres", Postgres::start()?);
        peers.bullmq = installed("bullmq", Bullmq::start(&settings.peers)?);
        peers.names.extend(peers.postgres.iter().map(|_| "postgres-15".to_owned()));
        peers.names.extend(peers.bullmq.iter().map(|_| "bullmq-6.7-always".to_owned()));
        Ok(peers)
    }

    /// Starts the only one with a hot key to compare.
    pub(crate) async fn start_restate(settings: &Settings) -> anyhow::Result<Self> {
        let restate = installed("restate", Restate::start(&settings.peers, 1).await?);
        Ok(Self::only(restate, "restate-1.7.12"))
    }

    /// Starts the only one that keeps its copies itself, on three nodes.
    pub(crate) async fn start_restate_cluster(settings: &Settings) -> anyhow::Result<Self> {
        let restate = installed("restate", Restate::start(&settings.peers, 3).await?);
        Ok(Self::only(restate, "restate-1.7.12-3-nodes"))
    }

    fn only(restate: Option<Restate>, name: &str) -> Self {
        let names = restate.iter().map(|_| name.to_owned()).collect();
        Self { names, restate, postgres: None, bullmq: None }
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// One cell of each in turn, in the order of the names.
    pub(crate) async fn measure(&mut self, cell: Cell) -> anyhow::Result<Vec<Sample>> {
        let mut samples = vec![];
        if let Some(restate) = &self.restate {
            samples.push(restate.measure(cell).await?);
        }
        if let Some(postgres) = &self.postgres {
            samples.push(postgres.measure(cell)?);
        }
        if let Some(bullmq) = &self.bullmq {
            samples.push(bullmq.measure(cell)?);
        }
        Ok(samples)
    }
}

fn installed<P>(name: &str, peer: Option<P>) -> Option<P> {
    if peer.is_none() {
        figure::say(&format!("# {name} is not installed, skipped (make bench-peers)"));
    }
    peer
}

/// A port that is free now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port")?;
    Ok(listener.local_addr()?.port())
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Puts a script beside the packages it imports.
fn put_script(peers: &Path, name: &str, text: &str) -> anyhow::Result<std::path::PathBuf> {
    let path = peers.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    std::path::absolute(path).context("the folder of the peers has no path")
}

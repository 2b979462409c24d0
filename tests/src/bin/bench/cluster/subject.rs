//! A cluster with its accounts: driven through all of its nodes, and read back through each of them.

use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;

use super::nodes::{Cluster, NODES};
use crate::Settings;
use crate::bare::ACCOUNTS;
use crate::inbox::{Found, Inbox, Source};
use crate::ingest::{Drive, RATE_MAX, Sample, WARMUP, driven, ready};
use crate::load::{Plan, Requests};

/// Requests of one cell, and what their ids start with.
pub(crate) struct Batch {
    pub(crate) prefix: String,
    pub(crate) requests: Rc<Requests>,
}

/// One measured cell.
pub(crate) struct Cell {
    pub(crate) sample: Sample,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

pub(crate) struct Subject {
    pub(crate) cluster: Cluster,
    /// The accounts as read through each node: what went in through one has to be there for the others.
    inboxes: Vec<Inbox>,
    measured: Duration,
    /// Makes ids unique over all cells.
    cells: usize,
}

impl Subject {
    /// A full cluster with 1,000 accounts.
    pub(crate) async fn start(settings: &Settings, shards: usize) -> anyhow::Result<Self> {
        Self::over(Cluster::start(settings, shards, NODES).await?, settings).await
    }

    /// Makes 1,000 accounts in a full cluster.
    pub(crate) async fn over(cluster: Cluster, settings: &Settings) -> anyhow::Result<Self> {
        let inbox = Inbox::make(&cluster.nodes[0], 0..ACCOUNTS).await?;
        Ok(Self { inboxes: vec![inbox; NODES], cluster, measured: settings.measured, cells: 0 })
    }

    pub(crate) fn sources(&self) -> &[Source] {
        &self.inboxes[0].sources
    }

    /// What the ids of the next cell start with.
    pub(crate) fn prefix(&mut self) -> String {
        self.cells += 1;
        format!("k{}", self.cells)
    }

    /// Requests over all accounts.
    pub(crate) fn batch(&mut self, requests: usize) -> Batch {
        let prefix = self.prefix();
        let requests = self.inboxes[0].requests(&prefix, requests, false);
        Batch { prefix, requests }
    }

    /// Drives all nodes evenly and reads everything back.
    pub(crate) async fn cell(&mut self, drive: Drive) -> anyhow::Result<Cell> {
        let batch = self.batch(ready(RATE_MAX, self.measured)?);
        let plan = Plan {
            addresses: self.cluster.addresses(),
            connections: drive.connections,
            warmup: WARMUP,
            measured: self.measured,
            rate_per_s: drive.rate_per_s,
        };
        let (outcome, sample) = driven(plan, &batch.requests, &self.cluster.pids()).await?;
        ensure!(outcome.refused == 0, "{} webhooks of {} were refused", outcome.refused, batch.prefix);
        let found = self.read_back(&batch, &outcome.acknowledged).await?;
        found.none(&batch.prefix)?;
        Ok(Cell { sample, p50_ms: outcome.latency_ms(0.5), p99_ms: outcome.latency_ms(0.99) })
    }

    /// Reads everything new of every account through every node; counts what one node too many or too few has.
    pub(crate) async fn read_back(&mut self, batch: &Batch, acknowledged: &[usize]) -> anyhow::Result<Found> {
        let mut worst = Found { lost: 0, doubled: 0 };
        for (node, inbox) in self.cluster.nodes.iter().zip(&mut self.inboxes) {
            let found = inbox.compare(node, &batch.prefix, batch.requests.len(), acknowledged).await?;
            worst = Found { lost: worst.lost.max(found.lost), doubled: worst.doubled.max(found.doubled) };
        }
        Ok(worst)
    }
}

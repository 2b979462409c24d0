//! Webhooks that go through a node: in at the source of an account, out at its endpoint, and how long that took.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use steward_cluster::clock::Clock;
use steward_proto::webhook::v1::webhook_service_client::WebhookServiceClient;
use steward_proto::webhook::v1::{
    CreateEndpointRequest, DeleteEndpointRequest, PauseEndpointRequest, ResumeEndpointRequest,
};

use crate::figure::real;
use crate::inbox::{Source, signed, source_of};
use crate::ingest::WARMUP;
use crate::load::{self, Plan};
use crate::meter::{self, Usage};
use crate::node::{Api, Node};
use crate::receiver::Receiver;

/// Lets a node deliver to this machine.
pub(crate) const REACH_LOOPBACK: &str = "egress.allow=127.0.0.1/32";
/// What endpoints are signed for with; the peers use the same.
pub(crate) const SECRET: &str = "whsec_c3Rld2FyZC1iZW5jaC1yZWNlaXZlci1zZWNyZXQ=";
/// The endpoint that is measured.
pub(crate) const ENDPOINT: &str = "well";
/// What endpoints want.
const PATTERN: &str = "webhook.**";
/// The longest time told apart.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Makes an endpoint that wants the webhooks of its account.
pub(crate) async fn make_endpoint(api: &Api, account: &str, endpoint: &str, url: &str) -> anyhow::Result<()> {
    let asked = CreateEndpointRequest {
        account_id: account.to_owned(),
        endpoint_id: endpoint.to_owned(),
        url: url.to_owned(),
        patterns: vec![PATTERN.to_owned()],
        secret: SECRET.to_owned(),
        ..CreateEndpointRequest::default()
    };
    let made = WebhookServiceClient::new(api.clone()).create_endpoint(asked).await;
    made.map(drop).context("an endpoint cannot be made")
}

pub(crate) async fn pause(api: &Api, account: &str, endpoint: &str) -> anyhow::Result<()> {
    let asked = PauseEndpointRequest { account_id: account.to_owned(), endpoint_id: endpoint.to_owned() };
    let paused = WebhookServiceClient::new(api.clone()).pause_endpoint(asked).await;
    paused.map(drop).context("an endpoint cannot be paused")
}

pub(crate) async fn resume(api: &Api, account: &str, endpoint: &str) -> anyhow::Result<()> {
    let asked = ResumeEndpointRequest { account_id: account.to_owned(), endpoint_id: endpoint.to_owned() };
    let resumed = WebhookServiceClient::new(api.clone()).resume_endpoint(asked).await;
    resumed.map(drop).context("an endpoint cannot be resumed")
}

pub(crate) async fn delete_endpoint(api: &Api, account: &str, endpoint: &str) -> anyhow::Result<()> {
    let asked = DeleteEndpointRequest { account_id: account.to_owned(), endpoint_id: endpoint.to_owned() };
    let deleted = WebhookServiceClient::new(api.clone()).delete_endpoint(asked).await;
    deleted.map(drop).context("an endpoint cannot be deleted")
}

/// A flow in an open loop. What the first source takes goes to the receiver; what the others take does not.
pub(crate) struct Flow<'f> {
    pub(crate) sources: &'f [Source],
    /// What the ids start with.
    pub(crate) prefix: String,
    pub(crate) rate_per_s: u32,
    pub(crate) connections: usize,
    pub(crate) measured: Duration,
}

/// What came of a flow.
pub(crate) struct Passed {
    pub(crate) acknowledged: Histogram<u64>,
    /// Microseconds from when a webhook was due until its delivery arrived.
    pub(crate) delivered: Histogram<u64>,
    pub(crate) doubled: usize,
    pub(crate) usage: Usage,
}

impl Flow<'_> {
    /// Drives the node, and waits until all that was acknowledged has arrived.
    pub(crate) async fn pass(&self, node: &Node, receiver: &mut Receiver) -> anyhow::Result<Passed> {
        receiver.clear().await?;
        let (warmup, measured) = (WARMUP, self.measured);
        let seconds = (warmup + measured).as_secs() + 1;
        let requests = usize::try_from(u64::from(self.rate_per_s) * seconds)?;
        let requests = Rc::new(signed(self.sources, &self.prefix, requests));
        let (connections, rate_per_s) = (self.connections, Some(f64::from(self.rate_per_s)));
        let plan = Plan { addresses: vec![node.http], connections, warmup, measured, rate_per_s };
        let pids = [node.pid()];
        let (outcome, usage) = tokio::join!(load::drive(plan, &requests), meter::over(&pids, warmup, measured));
        let (outcome, usage) = (outcome?, usage?);
        ensure!(outcome.refused == 0, "{} webhooks of {} were refused", outcome.refused, self.prefix);
        let pace = outcome.pace.context("an open loop has a pace")?;
        let is_watched = |at: &&usize| source_of(**at, self.sources.len()) == 0;
        let watched: Vec<usize> = outcome.acknowledged.iter().filter(is_watched).copied().collect();
        let arrivals = receiver.arrivals(watched.len()).await?;
        let number = |id: &str| id.strip_prefix(&self.prefix)?.strip_prefix('-')?.parse::<usize>().ok();
        let first = arrivals.first.iter().filter_map(|arrival| Some((number(&arrival.delivery_id)?, arrival.at)));
        let first: HashMap<usize, Duration> = first.collect();
        // Both clocks run alike; the receiver's began earlier.
        let ahead = receiver.now().saturating_sub(pace.clock.monotonic());
        let begin = pace.due_at(0) + warmup;
        let mut delivered = Histogram::new_with_max(LATENCY_US_MAX, 3)?;
        for at in watched {
            let arrived = first.get(&at).with_context(|| format!("webhook {}-{at} never arrived", self.prefix))?;
            if pace.due_at(at) >= begin {
                let took = arrived.saturating_sub(pace.due_at(at) + ahead);
                delivered.saturating_record(u64::try_from(took.as_micros()).unwrap_or(LATENCY_US_MAX));
            }
        }
        Ok(Passed { acknowledged: outcome.latency, delivered, doubled: arrivals.doubled, usage })
    }
}

/// A quantile of a histogram of microseconds.
pub(crate) fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    real(histogram.value_at_quantile(quantile)) / 1000.0
}

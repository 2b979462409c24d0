//! Both protocols at work, and the end of them.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use steward_actors::supervisor;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::forward::Forwarder;
use super::grpc;
use super::http::{self, HttpState};
use crate::config::Config;

/// How long requests in hand may take when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How often histograms are folded, so that they do not grow between scrapes.
const METRICS_UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The servers of a node.
pub(crate) struct Serving {
    stop: CancellationToken,
    http: JoinHandle<()>,
    grpc: JoinHandle<()>,
    upkeep: JoinHandle<()>,
}

impl Serving {
    /// Starts to accept connections, until `stop`. Without a forwarder, everything is answered here.
    pub(crate) fn start(
        config: &Config,
        state: Arc<HttpState>,
        services: Routes,
        forwarder: Option<Arc<Forwarder>>,
        (http, grpc): (TcpListener, TcpListener),
        stop: CancellationToken,
    ) -> Self {
        let upkeep = supervisor::spawn("metrics_upkeep", keep(state.metrics.clone()));
        let api = grpc::serve(grpc, services, forwarder.clone(), config.grpc.connections_max, stop.clone());
        let hooks = http::serve(http, state, forwarder, config.http.connections_max, stop.clone());
        Self { http: supervisor::spawn("http", hooks), grpc: supervisor::spawn("grpc", api), upkeep, stop }
    }

    /// Accepts no more, ends the streams, and lets requests in hand finish.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.upkeep.abort();
        let both = async { tokio::join!(self.http, self.grpc) };
        if timeout(DRAIN_MAX, both).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}

async fn keep(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP_EVERY).await;
        metrics.run_upkeep();
    }
}

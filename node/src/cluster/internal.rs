//! The port for other nodes: frames of consensus, snapshots, and calls that were passed on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use steward_actors::shard::Shards;
use steward_actors::supervisor;
use steward_cluster::peers::Peers;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::config::Config;

/// How long calls of other nodes may take when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// The port, taken and not served yet.
pub(crate) struct Internal {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    /// `host:port` under which other nodes dial it.
    pub(crate) advertise: String,
    /// Cancelled when the node stops answering others.
    pub(crate) stop: CancellationToken,
}

/// The port at work.
pub(crate) struct Serving {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Internal {
    /// Takes the port; none on a node that is alone.
    pub(crate) async fn bind(config: &Config) -> anyhow::Result<Option<Self>> {
        let cluster = &config.cluster;
        if cluster.name.is_empty() {
            return Ok(None);
        }
        let listen = cluster.listen;
        let bound = TcpListener::bind(listen).await;
        let listener = bound.with_context(|| format!("cannot listen on {listen} (cluster.listen)"))?;
        let address = listener.local_addr().context("a listener has no address")?;
        let advertise = if cluster.advertise.is_empty() { address.to_string() } else { cluster.advertise.clone() };
        Ok(Some(Self { listener, address, advertise, stop: CancellationToken::new() }))
    }

    /// Serves other nodes: what they send to the shards, and `routes` for what they pass on and ask.
    pub(crate) fn serve(self, peers: &Peers, routes: Routes, shards: &Shards, snapshots: PathBuf) -> Serving {
        let stop = self.stop;
        let (peers, driver, stopped) = (peers.clone(), Arc::new(shards.driver()), stop.clone());
        let serve = async move { peers.serve(self.listener, routes, driver, snapshots, stopped).await };
        Serving { stop, task: supervisor::spawn("internal", serve) }
    }
}

impl Serving {
    /// Ends the links, and lets calls in hand finish.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if timeout(DRAIN_MAX, self.task).await.is_err() {
            tracing::warn!("some calls of other nodes did not end in time");
        }
    }
}

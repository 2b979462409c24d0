//! Calls other nodes: the one link to each node with a larger id, kept up for ever, and what every connection has set.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use steward_proto::peer::v1::Frame;
use steward_proto::peer::v1::peer_service_client::PeerServiceClient;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Endpoint;
use tower::Service;

use super::FrameSink;
use super::connection::{self, Transport};
use super::directory::{Peer, Peers};
use super::identity;
use super::limits::{
    CONNECTION_WINDOW_BYTES, KEEPALIVE_EVERY, KEEPALIVE_TIMEOUT, MESSAGE_BYTES_MAX, RESETS_MAX, STREAM_WINDOW_BYTES,
};
use super::link::{self, LinkEnd, Party, Refusal, SILENCE_MAX};
use super::metrics;
use super::tls::Tls;
use crate::causes::causes;
use crate::ids::NodeId;

/// TCP and TLS together.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Rests between attempts double from the first to the last, each shortened by up to a half at random.
const REST_MIN: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_millis(500);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("could not connect")]
    Connect(#[source] tonic::transport::Error),
    #[error("could not open the stream")]
    Open(#[source] Box<tonic::Status>),
    #[error("could not agree on the link")]
    Introduce(#[source] LinkEnd),
}

/// What every connection to a node has set. The URI is only a name: the connector knows the address.
pub(super) fn endpoint(cluster: &str, node: NodeId) -> Endpoint {
    let uri = format!("http://{}", identity::node_name(cluster, node));
    Endpoint::from_shared(uri)
        .expect("the cluster's name was checked to be part of a host name")
        .connect_timeout(CONNECT_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_concurrent_reset_streams(RESETS_MAX)
        // Counted over the whole life of a connection, so any limit ends a healthy one some day.
        .http2_max_local_error_reset_streams(None)
}

/// Connects to one node at one address, for as many connections as it is asked for.
pub(super) struct Connector {
    cluster: String,
    node: NodeId,
    address: String,
    tls: Option<Arc<Tls>>,
}

impl Connector {
    pub(super) fn to(peers: &Peers, peer: &Peer) -> Self {
        let (cluster, address) = (peers.cluster().to_owned(), peer.address.clone());
        Self { cluster, node: peer.node, address, tls: peers.tls() }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Transport>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Transport>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let name = identity::node_name(&self.cluster, self.node);
        let (address, tls) = (self.address.clone(), self.tls.clone());
        Box::pin(async move { Ok(TokioIo::new(connection::dial(address, name, tls).await?)) })
    }
}

/// Keeps the link to a node until the node is gone.
pub(super) async fn keep_linked(peers: Peers, peer: Arc<Peer>) {
    let Some(sink) = peer.gone.run_until_cancelled(peers.sink()).await else { return };
    let mut rest = REST_MIN;
    let mut told = String::new();
    loop {
        let Some(dialed) = peer.gone.run_until_cancelled(open(&peers, &peer)).await else { return };
        metrics::dialed(dialed.is_ok());
        let failure = match dialed {
            Ok(link) => {
                let began = peers.clock().monotonic();
                let end = run(link, &peers, &peer, sink.as_ref()).await;
                if peers.clock().monotonic().saturating_sub(began) > SILENCE_MAX {
                    (rest, told) = (REST_MIN, String::new());
                }
                DialError::Introduce(end)
            }
            Err(error) => error,
        };
        if peer.gone.is_cancelled() {
            return;
        }
        tell(&peer, &failure, &mut told);
        let wait = rand::random_range(rest / 2..=rest);
        if peer.gone.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
        rest = (rest * 2).min(REST_MAX);
    }
}

/// A link that both ends agreed on.
struct Linked {
    inbound: Streaming<Frame>,
    other: Party,
    ended: CancellationToken,
}

async fn open(peers: &Peers, peer: &Peer) -> Result<Linked, DialError> {
    let endpoint = endpoint(peers.cluster(), peer.node);
    let channel = endpoint.connect_with_connector(Connector::to(peers, peer)).await.map_err(DialError::Connect)?;
    let mut client = PeerServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let ended = peer.new_link();
    let outgoing = link::outgoing(peers, peer.outbox.clone(), ended.clone());
    let opened = timeout(SILENCE_MAX, client.exchange(outgoing)).await;
    let opened = opened.map_err(|_| DialError::Introduce(LinkEnd::Silent))?;
    let mut inbound = opened.map_err(|status| DialError::Open(Box::new(status)))?.into_inner();
    let other = link::introduced(&mut inbound, peers.cluster()).await.map_err(DialError::Introduce)?;
    if other.node != peer.node {
        let refusal = Refusal::OtherNode { claimed: other.node, proven: peer.node };
        return Err(DialError::Introduce(LinkEnd::Refused(refusal)));
    }
    Ok(Linked { inbound, other, ended })
}

async fn run(link: Linked, peers: &Peers, peer: &Peer, sink: &dyn FrameSink) -> LinkEnd {
    tracing::info!(peer = peer.node.0, address = %peer.address, "linked");
    link::hear(link.inbound, peers, &link.other, sink, &link.ended).await
}

/// The same failure again and again is said once.
fn tell(peer: &Peer, failure: &DialError, told: &mut String) {
    let text = causes(failure);
    let cause: &dyn std::error::Error = failure;
    if *told == text {
        tracing::debug!(peer = peer.node.0, address = %peer.address, error = cause, "still no link");
    } else {
        tracing::warn!(peer = peer.node.0, address = %peer.address, error = cause, "no link, dialing again");
        *told = text;
    }
}

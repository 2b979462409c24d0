//! The internal port: links that other nodes dial, snapshots they fetch, and the services the composition root adds.

use std::error::Error;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::peer_service_server::{PeerService, PeerServiceServer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::connection::{self, Caller};
use super::directory::Peers;
use super::limits::{
    CONNECTION_WINDOW_BYTES, KEEPALIVE_EVERY, KEEPALIVE_TIMEOUT, MESSAGE_BYTES_MAX, RESETS_MAX, STREAM_WINDOW_BYTES,
};
use super::link::{self, LinkEnd, Party, Refusal};
use super::snapshot::Pace;
use super::{FrameSink, metrics, report, snapshot};
use crate::causes::causes;
use crate::ids::{NodeId, ShardId};
use crate::spawn::spawn;

/// Calls of one connection at the same time.
const STREAMS_PER_CONNECTION_MAX: u32 = 4096;

impl Peers {
    /// Serves the internal port until `stop`, then lets calls in hand finish; links are up only while it runs. `extra`
    /// is served beside the peers' own service and finds the [`Caller`] in the extensions of its requests.
    pub async fn serve(
        &self,
        listener: TcpListener,
        extra: Routes,
        sink: Arc<dyn FrameSink>,
        snapshots: PathBuf,
        stop: CancellationToken,
    ) {
        let _closing = Closing(self.clone());
        self.set_sink(Arc::clone(&sink));
        let service =
            PeerServiceServer::new(Service { peers: self.clone(), sink, snapshots, pace: Arc::new(Pace::new()) })
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let stopped = async {
            stop.cancelled().await;
            // Links never finish by themselves.
            self.close();
        };
        let served = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
            // Counted over the whole life of a connection, so any limit ends a healthy one some day.
            .http2_max_local_error_reset_streams(None)
            .add_routes(extra.add_service(service))
            .serve_with_incoming_shutdown(connection::incoming(listener, self.clone()), stopped)
            .await;
        if let Err(error) = served {
            let cause: &dyn Error = &error;
            tracing::error!(error = cause, "the internal port stopped serving");
        }
    }
}

/// However serving ends, the links end with it.
struct Closing(Peers);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Service {
    peers: Peers,
    sink: Arc<dyn FrameSink>,
    snapshots: PathBuf,
    pace: Arc<Pace>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl PeerService for Service {
    type ExchangeStream = Answers<pb::Frame>;
    type FetchSnapshotStream = Answers<pb::FetchSnapshotResponse>;

    async fn exchange(&self, request: Request<Streaming<pb::Frame>>) -> Result<Response<Self::ExchangeStream>, Status> {
        let caller = request.extensions().get::<Caller>().copied();
        match self.link(caller, request.into_inner()).await {
            Ok(frames) => Ok(Response::new(frames)),
            Err(end) => {
                let cause: &dyn Error = &end;
                let address = caller.map(|caller| caller.address);
                tracing::warn!(?address, error = cause, "a link was refused");
                metrics::refused();
                Err(Status::permission_denied(causes(&end)))
            }
        }
    }

    async fn fetch_snapshot(
        &self,
        request: Request<pb::FetchSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        let chunks = snapshot::chunks(&self.snapshots, request.into_inner(), Arc::clone(&self.pace)).await?;
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn ask_members(
        &self,
        request: Request<pb::AskMembersRequest>,
    ) -> Result<Response<pb::AskMembersResponse>, Status> {
        let shard = request.into_inner().shard;
        let shard = u16::try_from(shard).map_err(|_| Status::invalid_argument(format!("there is no shard {shard}")))?;
        let members = self.sink.held_by(ShardId(shard)).await;
        let leads = members.is_some();
        let members = members.unwrap_or_default().into_iter().map(|node| node.0).collect();
        Ok(Response::new(pb::AskMembersResponse { leads, members }))
    }

    async fn report_hashes(
        &self,
        request: Request<pb::ReportHashesRequest>,
    ) -> Result<Response<pb::ReportHashesResponse>, Status> {
        let proven = request.extensions().get::<Caller>().and_then(|caller| caller.node);
        let pb::ReportHashesRequest { node, hashes } = request.into_inner();
        let claimed = NodeId(node);
        if let Some(proven) = proven.filter(|proven| *proven != claimed) {
            return Err(Status::permission_denied(causes(&Refusal::OtherNode { claimed, proven })));
        }
        let checks = hashes.iter().map(report::check_of).collect::<Option<Vec<_>>>();
        let checks = checks.ok_or_else(|| Status::invalid_argument("a shard's number is too large"))?;
        let verdicts = self.sink.judge(claimed, checks).await.into_iter();
        let verdicts = verdicts.map(|verdict| report::to_wire(verdict).into()).collect();
        Ok(Response::new(pb::ReportHashesResponse { verdicts }))
    }
}

impl Service {
    async fn link(
        &self,
        caller: Option<Caller>,
        mut inbound: Streaming<pb::Frame>,
    ) -> Result<Answers<pb::Frame>, LinkEnd> {
        let peers = &self.peers;
        let other = link::introduced(&mut inbound, peers.cluster()).await?;
        self.check(caller, &other).map_err(LinkEnd::Refused)?;
        let Some(peer) = peers.peer(other.node) else {
            return Err(LinkEnd::Refused(Refusal::Stranger(other.node)));
        };
        let ended = peer.new_link();
        let outgoing = link::outgoing(peers, Arc::clone(&peer.outbox), ended.clone());
        let (sink, peers) = (Arc::clone(&self.sink), peers.clone());
        spawn("peer_link", async move {
            let end = link::hear(inbound, &peers, &other, sink.as_ref(), &ended).await;
            let cause: &dyn Error = &end;
            tracing::warn!(peer = other.node.0, error = cause, "a link ended");
        });
        Ok(Box::pin(outgoing.map(Ok)))
    }

    /// Whether the other end may be who it says it is.
    fn check(&self, caller: Option<Caller>, other: &Party) -> Result<(), Refusal> {
        let claimed = other.node;
        if let Some(proven) = caller.and_then(|caller| caller.node)
            && proven != claimed
        {
            return Err(Refusal::OtherNode { claimed, proven });
        }
        let this: NodeId = self.peers.this().node;
        if claimed >= this { Err(Refusal::WrongWay(claimed)) } else { Ok(()) }
    }
}

//! Answers other nodes: does their commands where this node leads, takes renewals, gives tasks, gives and takes blobs.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use steward_actors::blob::{BlobHash, BlobStore, Missing};
use steward_actors::domain::ids::AccountId;
use steward_actors::domain::task::TaskKind;
use steward_actors::elsewhere::{decode_asked, encode_outcome, encode_work};
use steward_actors::shard::{ExecuteError, Shards};
use steward_actors::task::{Granted, Hints, Lessor};
use steward_cluster::ids::{LogIndex, NodeId, ShardId};
use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::work_service_server::{WorkService, WorkServiceServer};
use tokio::fs::File;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::form::{from_wire, to_wire};
use super::missing::count;
use crate::gateway::blob::chunks;
use crate::gateway::forward::{Leader, Whereabouts};

/// How long the next chunk of a blob may take to come.
const CHUNK_WAIT_MAX: Duration = Duration::from_secs(10);

/// What this node does for the work of others.
pub(crate) struct WorkServer {
    pub(crate) shards: Shards,
    pub(crate) lessor: Lessor,
    pub(crate) hints: Arc<Hints>,
    /// This node's own folder: what is missing here is not looked for elsewhere.
    pub(crate) blobs: BlobStore,
    /// What that folder lacks.
    pub(crate) missing: Missing,
    pub(crate) whereabouts: Arc<dyn Whereabouts>,
}

impl WorkServer {
    /// As the internal port serves it.
    pub(crate) fn service(self) -> WorkServiceServer<Self> {
        WorkServiceServer::new(self)
    }
}

#[tonic::async_trait]
impl WorkService for WorkServer {
    type FetchBlobStream = Pin<Box<dyn Stream<Item = Result<pb::FetchBlobResponse, Status>> + Send>>;

    async fn execute(&self, request: Request<pb::ExecuteRequest>) -> Result<Response<pb::ExecuteResponse>, Status> {
        let pb::ExecuteRequest { account_id, command } = request.into_inner();
        let account = AccountId::parse(&account_id).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let asked = decode_asked(&command).map_err(|error| {
            let cause: &dyn std::error::Error = &error;
            tracing::warn!(error = cause, "another node sent what is no command");
            Status::invalid_argument(error.to_string())
        })?;
        let outcome = self.shards.execute(&account, asked).await;
        let mut leader = 0;
        if let Err(ExecuteError::NotLed { shard }) = &outcome
            && let Leader::At(node) = self.whereabouts.leader(*shard)
        {
            leader = node.0;
        }
        Ok(Response::new(pb::ExecuteResponse { outcome: encode_outcome(outcome).into(), leader }))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        let pb::RenewRequest { worker, leases } = request.into_inner();
        let over = self.lessor.renew(&worker, leases.iter().filter_map(from_wire).collect());
        Ok(Response::new(pb::RenewResponse { over: over.into_iter().map(to_wire).collect() }))
    }

    async fn announce(&self, request: Request<pb::AnnounceRequest>) -> Result<Response<pb::AnnounceResponse>, Status> {
        let pb::AnnounceRequest { node_id, tasks } = request.into_inner();
        self.hints.heard(NodeId(node_id), kinds(&tasks));
        Ok(Response::new(pb::AnnounceResponse {}))
    }

    async fn take(&self, request: Request<pb::TakeRequest>) -> Result<Response<pb::TakeResponse>, Status> {
        let pb::TakeRequest { worker, tasks } = request.into_inner();
        let Some(Granted { lease, work }) = self.lessor.spare(&worker, &kinds(&tasks)).await else {
            return Ok(Response::new(pb::TakeResponse::default()));
        };
        Ok(Response::new(pb::TakeResponse { lease: Some(to_wire(lease)), work: encode_work(&work).into() }))
    }

    async fn fetch_blob(
        &self,
        request: Request<pb::FetchBlobRequest>,
    ) -> Result<Response<Self::FetchBlobStream>, Status> {
        let hash = parsed(&request.into_inner().hash)?;
        let file = File::open(self.blobs.path(&hash)).await?;
        let data = chunks(file).map(|chunk| Ok(pb::FetchBlobResponse { data: chunk? }));
        Ok(Response::new(Box::pin(data)))
    }

    async fn put_blob(
        &self,
        request: Request<Streaming<pb::PutBlobRequest>>,
    ) -> Result<Response<pb::PutBlobResponse>, Status> {
        let mut messages = request.into_inner();
        let Some(head) = next(&mut messages).await? else {
            return Err(Status::invalid_argument("the first message must name the blob"));
        };
        let hash = parsed(&head.hash)?;
        if !self.blobs.has(&hash) {
            let mut incoming = self.blobs.receive(&hash).await?;
            incoming.write(&head.data).await?;
            while let Some(message) = next(&mut messages).await? {
                incoming.write(&message.data).await?;
            }
            incoming.finish().await?;
        }
        Ok(Response::new(pb::PutBlobResponse {}))
    }

    async fn count_missing_blobs(
        &self,
        request: Request<pb::CountMissingBlobsRequest>,
    ) -> Result<Response<pb::CountMissingBlobsResponse>, Status> {
        let pb::CountMissingBlobsRequest { shard, index } = request.into_inner();
        let shard = u16::try_from(shard).map_err(|_| Status::invalid_argument("a shard's number is too large"))?;
        let missing = count(&self.missing, ShardId(shard), LogIndex(index)).await;
        Ok(Response::new(pb::CountMissingBlobsResponse { missing }))
    }
}

/// Those this version knows.
fn kinds(names: &[String]) -> Vec<TaskKind> {
    names.iter().filter_map(|name| TaskKind::parse(name)).collect()
}

async fn next(messages: &mut Streaming<pb::PutBlobRequest>) -> Result<Option<pb::PutBlobRequest>, Status> {
    timeout(CHUNK_WAIT_MAX, messages.message()).await.map_err(|_| Status::deadline_exceeded("no chunk came in time"))?
}

fn parsed(hash: &str) -> Result<BlobHash, Status> {
    BlobHash::parse(hash).ok_or_else(|| Status::invalid_argument("the hash must be 64 lower-case hex digits"))
}

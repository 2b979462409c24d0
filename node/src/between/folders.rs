//! The folders of blobs on other nodes: brings what is missing here, and puts copies there.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use steward_actors::blob::{BlobHash, BlobStore, Copies, CopyError};
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::shard_of;
use steward_cluster::ids::NodeId;
use steward_cluster::peers::Lane;
use steward_proto::peer::v1::work_service_client::WorkServiceClient;
use steward_proto::peer::v1::{FetchBlobRequest, PutBlobRequest};
use tokio::fs::File;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::Neighbours;
use crate::gateway::blob::chunks;

/// How long the next chunk of a blob may take to come.
const CHUNK_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long one copy may take: the largest recording over a slow network.
const PUT_MAX: Duration = Duration::from_secs(15 * 60);
/// How long the other replicas are waited for once a majority has the blob; they bring it later by themselves.
const STRAGGLERS_WAIT: Duration = Duration::from_secs(1);

/// The way to the other nodes' blobs.
pub(crate) struct OtherFolders {
    node: NodeId,
    neighbours: Arc<dyn Neighbours>,
    /// This node's folder.
    blobs: BlobStore,
    /// How many shards accounts are spread over.
    shards: u16,
}

impl OtherFolders {
    pub(crate) fn new(node: NodeId, neighbours: Arc<dyn Neighbours>, blobs: BlobStore, shards: u16) -> Self {
        Self { node, neighbours, blobs, shards }
    }

    async fn fetch_from_any(&self, hash: &BlobHash) -> Result<(), CopyError> {
        for node in self.neighbours.others() {
            match self.fetch_from(node, hash).await {
                Ok(()) => return Ok(()),
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => tracing::warn!(node = node.0, %status, "a blob could not be brought"),
            }
        }
        Err(CopyError::Absent(hash.as_str().to_owned()))
    }

    async fn fetch_from(&self, node: NodeId, hash: &BlobHash) -> Result<(), Status> {
        let mut client = self.client(node)?;
        let silent = |_| Status::deadline_exceeded("no chunk came in time");
        let request = FetchBlobRequest { hash: hash.as_str().to_owned() };
        let answer = timeout(CHUNK_WAIT_MAX, client.fetch_blob(request)).await.map_err(silent)??;
        let (mut chunks, mut incoming) = (answer.into_inner(), self.blobs.receive(hash).await?);
        while let Some(chunk) = timeout(CHUNK_WAIT_MAX, chunks.message()).await.map_err(silent)?? {
            incoming.write(&chunk.data).await?;
        }
        Ok(incoming.finish().await?)
    }

    async fn put_to(&self, node: NodeId, hash: &BlobHash) -> Result<(), Status> {
        let mut client = self.client(node)?;
        let file = File::open(self.blobs.path(hash)).await?;
        let head = PutBlobRequest { hash: hash.as_str().to_owned(), data: bytes::Bytes::new() };
        // What cannot be read ends the stream early, which the other end sees by the hash.
        let data = chunks(file)
            .take_while(|chunk| ready(chunk.is_ok()))
            .filter_map(|chunk| ready(chunk.ok()))
            .map(|data| PutBlobRequest { hash: String::new(), data });
        let messages = futures_util::stream::iter([head]).chain(data);
        let put = timeout(PUT_MAX, client.put_blob(messages)).await;
        put.map_err(|_| Status::deadline_exceeded("the copy took too long"))?.map(|_| ())
    }

    async fn spread_to_majority(&self, account: &AccountId, hash: &BlobHash) -> Result<(), CopyError> {
        let members = self.neighbours.members(shard_of(account, self.shards)).await.ok_or(CopyError::Replicas)?;
        let mut have = vec![];
        if self.blobs.has(hash) {
            have.push(self.node);
        }
        let mut puts: FuturesUnordered<_> = all_but(self.node, &members.voters, &members.outgoing)
            .into_iter()
            .map(|node| self.put_to(node, hash).map(move |put| (node, put)))
            .collect();
        let enough = |have: &[NodeId]| majority(&members.voters, have) && majority(&members.outgoing, have);
        loop {
            let put = if enough(&have) {
                tokio::select! {
                    put = puts.next() => put,
                    () = sleep(STRAGGLERS_WAIT) => None,
                }
            } else {
                puts.next().await
            };
            match put {
                Some((node, Ok(()))) => have.push(node),
                Some((node, Err(status))) => tracing::warn!(node = node.0, %status, "a blob could not be copied"),
                None => break,
            }
        }
        if enough(&have) {
            return Ok(());
        }
        Err(CopyError::TooFew { hash: hash.as_str().to_owned(), copies: have.len(), voters: members.voters.len() })
    }

    fn client(&self, node: NodeId) -> Result<WorkServiceClient<tonic::transport::Channel>, Status> {
        let channel = self.neighbours.channel(node, Lane::Bulk);
        Ok(WorkServiceClient::new(channel.map_err(|error| Status::unavailable(error.to_string()))?))
    }
}

/// Each other voter once.
fn all_but(this: NodeId, voters: &[NodeId], outgoing: &[NodeId]) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = voters.iter().chain(outgoing).copied().filter(|node| *node != this).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// Whether more than half of the voters are among these. Nobody is outvoted where nobody votes.
fn majority(voters: &[NodeId], have: &[NodeId]) -> bool {
    voters.is_empty() || voters.iter().filter(|voter| have.contains(voter)).count() > voters.len() / 2
}

impl Copies for OtherFolders {
    fn fetch<'a>(&'a self, _account: &'a AccountId, hash: &'a BlobHash) -> BoxFuture<'a, Result<(), CopyError>> {
        self.fetch_from_any(hash).boxed()
    }

    fn spread<'a>(&'a self, account: &'a AccountId, hash: &'a BlobHash) -> BoxFuture<'a, Result<(), CopyError>> {
        self.spread_to_majority(account, hash).boxed()
    }
}

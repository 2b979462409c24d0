//! How many blobs of a shard a node lacks: this one by looking, another one by its word.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use steward_actors::blob::Missing;
use steward_cluster::ids::{LogIndex, NodeId, ShardId};
use steward_cluster::peers::Lane;
use steward_cluster::placement::BlobCount;
use steward_proto::peer::v1::CountMissingBlobsRequest;
use steward_proto::peer::v1::work_service_client::WorkServiceClient;
use tonic::Code;

use super::Neighbours;

/// The way to the counts of all nodes. How long an answer may take is the caller's affair.
pub(crate) struct MissingBlobs {
    pub(crate) node: NodeId,
    pub(crate) neighbours: Arc<dyn Neighbours>,
    /// This node's own.
    pub(crate) here: Missing,
}

impl MissingBlobs {
    async fn count_at(&self, node: NodeId, shard: ShardId, index: LogIndex) -> Option<u64> {
        let mut client = WorkServiceClient::new(self.neighbours.channel(node, Lane::Forward).ok()?);
        let request = CountMissingBlobsRequest { shard: shard.0.into(), index: index.0 };
        match client.count_missing_blobs(request).await {
            Ok(answer) => answer.into_inner().missing,
            // The release before does not know the question, and waited for nothing.
            Err(status) if status.code() == Code::Unimplemented => Some(0),
            Err(status) => {
                tracing::debug!(node = node.0, %shard, %status, "a node did not say which blobs it lacks");
                None
            }
        }
    }
}

impl BlobCount for MissingBlobs {
    fn missing(&self, node: NodeId, shard: ShardId, index: LogIndex) -> BoxFuture<'_, Option<u64>> {
        if node == self.node {
            count(&self.here, shard, index).boxed()
        } else {
            self.count_at(node, shard, index).boxed()
        }
    }
}

/// What this node's folder lacks; none when its rows cannot say.
pub(super) async fn count(here: &Missing, shard: ShardId, index: LogIndex) -> Option<u64> {
    let here = here.clone();
    let counted = tokio::task::spawn_blocking(move || here.count(shard, index)).await.ok()?;
    counted.unwrap_or_else(|error| {
        let cause: &dyn std::error::Error = &error;
        tracing::error!(%shard, error = cause, "the blobs of a shard cannot be listed");
        None
    })
}

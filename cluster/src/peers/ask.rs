//! Asks another node who holds a shard it leads. A replica that may be out asks before it lets go.

use std::time::Duration;

use steward_proto::peer::v1::AskMembersRequest;
use steward_proto::peer::v1::peer_service_client::PeerServiceClient;
use tokio::time::timeout;
use tonic::Status;

use super::directory::{Lane, NotReachable, Peers};
use crate::ids::{NodeId, ShardId};

/// How long an answer may take: the other node asks a majority first.
const ASK_MAX: Duration = Duration::from_secs(2);

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The map does not have the node.
    #[error(transparent)]
    NotReachable(#[from] NotReachable),
    /// The connection or the other node failed.
    #[error("{to} could not be asked about {shard}")]
    Failed { to: NodeId, shard: ShardId, source: Box<Status> },
    /// Nothing came.
    #[error("{to} did not say in {} s who holds {shard}", ASK_MAX.as_secs())]
    Silent { to: NodeId, shard: ShardId },
}

/// Every member of the shard, from the node that leads it; nothing when the asked node is not that one.
pub(crate) async fn ask_members(peers: &Peers, to: NodeId, shard: ShardId) -> Result<Option<Vec<NodeId>>, AskError> {
    let mut client = PeerServiceClient::new(peers.channel(to, Lane::Forward)?);
    let asked = client.ask_members(AskMembersRequest { shard: shard.0.into() });
    let answered = timeout(ASK_MAX, asked).await.map_err(|_| AskError::Silent { to, shard })?;
    let answer = answered.map_err(|source| AskError::Failed { to, shard, source: Box::new(source) })?.into_inner();
    Ok(answer.leads.then(|| answer.members.into_iter().map(NodeId).collect()))
}

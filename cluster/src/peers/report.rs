//! Tells the leader of shards what this node's replicas come to. The auditor calls it.

use std::time::Duration;

use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::peer_service_client::PeerServiceClient;
use tokio::time::timeout;
use tonic::Status;

use super::directory::{Lane, NotReachable, Peers};
use crate::divergence::{Check, Verdict};
use crate::ids::{LogIndex, NodeId, ShardId};

/// How long an answer may take.
const REPORT_MAX: Duration = Duration::from_secs(2);

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    /// The map does not have the node.
    #[error(transparent)]
    NotReachable(#[from] NotReachable),
    /// The connection or the other node failed.
    #[error("{to} did not take what replicas come to")]
    Failed { to: NodeId, source: Box<Status> },
    /// Nothing came.
    #[error("{to} did not say in {} s what it makes of what replicas come to", REPORT_MAX.as_secs())]
    Silent { to: NodeId },
}

/// What the leader `to` makes of each check of this node, in the same order.
pub(crate) async fn report_hashes(
    peers: &Peers,
    node: NodeId,
    to: NodeId,
    checks: &[Check],
) -> Result<Vec<Verdict>, ReportError> {
    let mut client = PeerServiceClient::new(peers.channel(to, Lane::Forward)?);
    let hashes = checks.iter().map(|check| pb::ShardHash {
        shard: check.shard.0.into(),
        index: check.index.0,
        hash: check.hash,
    });
    let asked = client.report_hashes(pb::ReportHashesRequest { node: node.0, hashes: hashes.collect() });
    let answered = timeout(REPORT_MAX, asked).await.map_err(|_| ReportError::Silent { to })?;
    let answer = answered.map_err(|source| ReportError::Failed { to, source: Box::new(source) })?.into_inner();
    Ok(answer.verdicts().map(from_wire).collect())
}

/// The check in a report; nothing for a shard that cannot be.
pub(super) fn check_of(told: &pb::ShardHash) -> Option<Check> {
    let shard = ShardId(u16::try_from(told.shard).ok()?);
    Some(Check { shard, index: LogIndex(told.index), hash: told.hash })
}

pub(super) fn to_wire(verdict: Verdict) -> pb::Verdict {
    match verdict {
        Verdict::Agrees => pb::Verdict::Agrees,
        Verdict::Differs => pb::Verdict::Differs,
        Verdict::Undecided => pb::Verdict::Undecided,
    }
}

fn from_wire(verdict: pb::Verdict) -> Verdict {
    match verdict {
        pb::Verdict::Agrees => Verdict::Agrees,
        pb::Verdict::Differs => Verdict::Differs,
        pb::Verdict::Undecided | pb::Verdict::Unspecified => Verdict::Undecided,
    }
}

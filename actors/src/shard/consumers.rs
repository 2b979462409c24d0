//! Named consumers of everything: in each shard stands how far they have read its log. The node of a client spreads what
//! it acknowledges over the leaders of the shards; here each shard's part becomes durable.

use steward_cluster::ids::{LogIndex, ShardId};

use super::node::Node;
use super::{ExecuteError, ReadError};
use crate::codec::ShardAcked;
use crate::domain::ids::ConsumerId;

/// Names of consumers of everything.
const CONSUMERS_MAX: usize = 256;

/// Why a place was not noted.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgeError {
    /// Nobody can have read so far.
    #[error("the log of {shard} ends at {}", tip.0)]
    Ahead { shard: ShardId, tip: LogIndex },
    #[error("there are {CONSUMERS_MAX} consumers of everything, which is the limit")]
    TooMany,
    #[error(transparent)]
    Execute(#[from] ExecuteError), // It says which shard and why.
    #[error("could not look up where the consumer stands")]
    Read(#[from] ReadError),
}

/// Notes a place, unless it is noted already.
pub(crate) async fn acknowledge(
    node: &Node,
    shard: ShardId,
    consumer: &ConsumerId,
    index: LogIndex,
) -> Result<(), AcknowledgeError> {
    let lead = node.lead_of(shard).ok_or(ExecuteError::NotLed { shard })?;
    // A leader that takes commands has applied whatever was ever committed before it led.
    let (reads, tip) = (node.reads(), node.tips.of(shard));
    if index > tip {
        return Err(AcknowledgeError::Ahead { shard, tip });
    }
    match reads.shard_consumer(shard, consumer)? {
        Some(noted) if noted == index => return Ok(()),
        Some(_) => {}
        None if reads.shard_consumers(shard, CONSUMERS_MAX)? >= CONSUMERS_MAX => return Err(AcknowledgeError::TooMany),
        None => {}
    }
    let noted = lead.acknowledge(&ShardAcked { consumer: consumer.clone(), index })?;
    noted.await.unwrap_or(Err(ExecuteError::OutcomeUnknown { shard }))?;
    Ok(())
}

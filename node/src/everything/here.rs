//! What this node says of shards it leads: how far they are, and where consumers of everything stand in them. For its own
//! clients and, by way of the internal port, for those of other nodes.

use futures_util::StreamExt as _;
use futures_util::stream;
use steward_actors::domain::ids::ConsumerId;
use steward_actors::shard::{AcknowledgeError, Shards};
use steward_cluster::ids::{LogIndex, ShardId};

/// Shards looked after at the same time.
const AT_A_TIME_MAX: usize = 128;

/// How one shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) tip: LogIndex,
    /// None: the consumer never acknowledged anything here.
    pub(super) acked: Option<LogIndex>,
}

/// What became of an acknowledgement in one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acked {
    Noted,
    Ahead,
    TooMany,
}

/// Those of these shards that this node leads for sure.
pub(super) async fn standings(
    shards: &Shards,
    asked: Vec<ShardId>,
    consumer: Option<&ConsumerId>,
) -> Vec<(ShardId, Standing)> {
    let one = |shard| async move { Some((shard, standing(shards, shard, consumer).await?)) };
    stream::iter(asked).map(one).buffer_unordered(AT_A_TIME_MAX).filter_map(std::future::ready).collect().await
}

async fn standing(shards: &Shards, shard: ShardId, consumer: Option<&ConsumerId>) -> Option<Standing> {
    if !shards.is_led(shard) || !shards.confirm(shard).await {
        return None;
    }
    let tip = shards.log_feed().tip(shard);
    let acked = consumer.map(|consumer| shards.reads().shard_consumer(shard, consumer)).transpose();
    match acked {
        Ok(acked) => Some(Standing { tip, acked: acked.flatten() }),
        Err(error) => {
            let cause: &dyn std::error::Error = &error;
            tracing::error!(error = cause, "where a consumer stands cannot be read");
            None
        }
    }
}

/// Notes where a consumer stands, and says what became of it; nothing of shards for which it is worth asking again.
pub(super) async fn acknowledge(
    shards: &Shards,
    consumer: &ConsumerId,
    places: Vec<(ShardId, LogIndex)>,
) -> Vec<(ShardId, Acked)> {
    let one = |(shard, index)| async move {
        let acked = match shards.acknowledge(shard, consumer, index).await {
            Ok(()) => Acked::Noted,
            Err(AcknowledgeError::Ahead { .. }) => Acked::Ahead,
            Err(AcknowledgeError::TooMany) => Acked::TooMany,
            Err(error @ (AcknowledgeError::Execute(_) | AcknowledgeError::Read(_))) => {
                let cause: &dyn std::error::Error = &error;
                tracing::debug!(error = cause, "a consumer's place is not noted");
                return None;
            }
        };
        Some((shard, acked))
    };
    stream::iter(places).map(one).buffer_unordered(AT_A_TIME_MAX).filter_map(std::future::ready).collect().await
}

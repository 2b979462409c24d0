//! What this node says of shards it leads: how far they are, where consumers of everything stand in them, and which
//! accounts they have. For its own clients and, by way of the internal port, for those of other nodes.

use futures_util::StreamExt as _;
use futures_util::stream;
use steward_actors::domain::ids::{AccountId, ConsumerId};
use steward_actors::shard::{AcknowledgeError, ReadError, Shards};
use steward_cluster::ids::{LogIndex, ShardId};
use steward_proto::account::v1::Account;

use super::accounts::{Listed, fitting};
use crate::gateway::grpc::account_view;

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
    if !leads_for_sure(shards, shard).await {
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

/// The first accounts behind an id of those of these shards that this node leads for sure.
pub(super) async fn accounts(shards: &Shards, asked: Vec<ShardId>, after: Option<&AccountId>, limit: usize) -> Listed {
    let one = |shard| async move { leads_for_sure(shards, shard).await.then_some(shard) };
    let led: Vec<ShardId> =
        stream::iter(asked).map(one).buffer_unordered(AT_A_TIME_MAX).filter_map(std::future::ready).collect().await;
    match read_accounts(shards, &led, after, limit) {
        // The rows of a shard that was given away meanwhile may not have been whole.
        Ok((accounts, more)) if led.iter().all(|shard| shards.is_led(*shard)) => Listed { shards: led, accounts, more },
        Ok(_) => Listed::default(),
        Err(error) => {
            let cause: &dyn std::error::Error = &error;
            tracing::error!(error = cause, "the accounts of shards cannot be read");
            Listed::default()
        }
    }
}

/// A page of the accounts of these shards, and whether there are others behind it.
fn read_accounts(
    shards: &Shards,
    led: &[ShardId],
    after: Option<&AccountId>,
    limit: usize,
) -> Result<(Vec<Account>, bool), ReadError> {
    let mut ids = shards.reads().accounts(led, after, limit + 1)?;
    let is_beyond = ids.len() > limit;
    ids.truncate(limit);
    let mut accounts = vec![];
    for id in ids {
        let account = shards.reads().outline(&id)?;
        accounts.extend(account.map(|account| account_view(&account, shards.quarantine_reason(&id))));
    }
    let fits = fitting(&accounts, limit);
    let more = is_beyond || fits < accounts.len();
    accounts.truncate(fits);
    Ok((accounts, more))
}

async fn leads_for_sure(shards: &Shards, shard: ShardId) -> bool {
    shards.is_led(shard) && shards.confirm(shard).await
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

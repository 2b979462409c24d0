//! Answers other nodes that follow or list everything: pages of shards held here, and what only leaders say.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::try_unfold;
use steward_actors::domain::ids::{AccountId, ConsumerId};
use steward_actors::domain::pattern::Pattern;
use steward_actors::log_feed::LogReader;
use steward_actors::shard::Shards;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::feed_service_server::{FeedService, FeedServiceServer};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::accounts::Listed;
use super::form;
use super::here::{self, Acked};
use crate::gateway::PAGE_MAX;

/// How often a stream says that it is alive, and looks whether its shards are still held here.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// This node's shards for other nodes.
pub(crate) struct FeedServer {
    shards: Shards,
    count: u16,
    /// Ends all streams.
    stop: CancellationToken,
}

/// One stream.
struct Following {
    shards: Shards,
    reader: LogReader,
    followed: Vec<ShardId>,
    beat: Interval,
    stop: CancellationToken,
}

impl FeedServer {
    /// Of a cluster of so many shards; `stop` ends its streams.
    pub(crate) fn new(shards: Shards, count: u16, stop: CancellationToken) -> Self {
        Self { shards, count, stop }
    }

    /// As the internal port serves it.
    pub(crate) fn service(self) -> FeedServiceServer<Self> {
        FeedServiceServer::new(self)
    }

    fn shard(&self, number: u32) -> Result<ShardId, Status> {
        form::shard(number, self.count).ok_or_else(|| Status::invalid_argument("there are not so many shards"))
    }
}

#[tonic::async_trait]
impl FeedService for FeedServer {
    type FollowShardsStream = Pin<Box<dyn Stream<Item = Result<pb::FollowShardsResponse, Status>> + Send>>;

    async fn follow_shards(
        &self,
        request: Request<pb::FollowShardsRequest>,
    ) -> Result<Response<Self::FollowShardsStream>, Status> {
        let pb::FollowShardsRequest { after, types } = request.into_inner();
        let patterns = types.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>();
        let patterns = patterns.map_err(|rule| Status::invalid_argument(rule.to_string()))?;
        let mut reader = self.shards.log_feed().reader(patterns);
        let mut followed = vec![];
        for place in after {
            let shard = self.shard(place.shard)?;
            reader.follow(shard, LogIndex(place.index));
            followed.push(shard);
        }
        let mut beat = interval(ALIVE_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let following = Following { shards: self.shards.clone(), reader, followed, beat, stop: self.stop.clone() };
        let pages = try_unfold(following, |mut following| async move {
            let page = following.next().await?;
            Ok(Some((page, following)))
        });
        Ok(Response::new(Box::pin(pages)))
    }

    async fn ask_shards(
        &self,
        request: Request<pb::AskShardsRequest>,
    ) -> Result<Response<pb::AskShardsResponse>, Status> {
        let pb::AskShardsRequest { shards, consumer } = request.into_inner();
        let shards = shards.into_iter().map(|number| self.shard(number)).collect::<Result<_, _>>()?;
        let consumer = if consumer.is_empty() { None } else { Some(named(&consumer)?) };
        let standings = here::standings(&self.shards, shards, consumer.as_ref()).await;
        let standing = |(shard, standing): (ShardId, here::Standing)| pb::ShardStanding {
            shard: shard.0.into(),
            tip: standing.tip.0,
            acked: standing.acked.map(|index| index.0),
        };
        Ok(Response::new(pb::AskShardsResponse { standings: standings.into_iter().map(standing).collect() }))
    }

    async fn ack_shards(
        &self,
        request: Request<pb::AckShardsRequest>,
    ) -> Result<Response<pb::AckShardsResponse>, Status> {
        let pb::AckShardsRequest { consumer, places } = request.into_inner();
        let place = |place: pb::ShardPlace| Ok((self.shard(place.shard)?, LogIndex(place.index)));
        let places = places.into_iter().map(place).collect::<Result<_, Status>>()?;
        let acks = here::acknowledge(&self.shards, &named(&consumer)?, places).await;
        let ack = |(shard, acked): (ShardId, Acked)| {
            let outcome = match acked {
                Acked::Noted => pb::AckOutcome::Noted,
                Acked::Ahead => pb::AckOutcome::Ahead,
                Acked::TooMany => pb::AckOutcome::TooMany,
            };
            pb::ShardAck { shard: shard.0.into(), outcome: outcome.into() }
        };
        Ok(Response::new(pb::AckShardsResponse { acks: acks.into_iter().map(ack).collect() }))
    }

    async fn list_shard_accounts(
        &self,
        request: Request<pb::ListShardAccountsRequest>,
    ) -> Result<Response<pb::ListShardAccountsResponse>, Status> {
        let pb::ListShardAccountsRequest { shards, after, limit } = request.into_inner();
        let shards = shards.into_iter().map(|number| self.shard(number)).collect::<Result<_, _>>()?;
        let after = if after.is_empty() { None } else { Some(account(&after)?) };
        let limit = usize::try_from(limit).ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
        let limit = limit.ok_or_else(|| Status::invalid_argument(format!("limit must be 1 to {PAGE_MAX}")))?;
        let Listed { shards, accounts, more } = here::accounts(&self.shards, shards, after.as_ref(), limit).await;
        let shards = shards.into_iter().map(|shard| shard.0.into()).collect();
        Ok(Response::new(pb::ListShardAccountsResponse { shards, accounts, more }))
    }
}

impl Following {
    /// The next page, or a sign of life.
    async fn next(&mut self) -> Result<pb::FollowShardsResponse, Status> {
        tokio::select! {
            page = self.reader.next() => page.map(form::page).map_err(|error| {
                let cause: &dyn std::error::Error = &error;
                tracing::error!(error = cause, "a shard cannot be read for another node");
                Status::internal("a shard cannot be read")
            }),
            () = self.stop.cancelled() => Err(Status::unavailable("the node is stopping")),
            _ = self.beat.tick() => match self.followed.iter().find(|shard| !self.may_read(**shard)) {
                Some(shard) => Err(Status::unavailable(format!("{shard} is not held here"))),
                None => Ok(pb::FollowShardsResponse::default()),
            },
        }
    }

    fn may_read(&self, shard: ShardId) -> bool {
        self.reader.follows(shard) && self.shards.is_readable(shard)
    }
}

fn account(id: &str) -> Result<AccountId, Status> {
    AccountId::parse(id).map_err(|rule| Status::invalid_argument(rule.to_string()))
}

fn named(consumer: &str) -> Result<ConsumerId, Status> {
    ConsumerId::parse(consumer).map_err(|rule| Status::invalid_argument(rule.to_string()))
}

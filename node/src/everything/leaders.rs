//! The whole cluster for the gateway: asks the leaders of all shards at once, and again those that did not answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use steward_actors::domain::ids::ConsumerId;
use steward_actors::domain::pattern::Pattern;
use steward_actors::shard::Shards;
use steward_cluster::ids::{LogIndex, NodeId, ShardId};
use steward_cluster::peers::Lane;
use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::feed_service_client::FeedServiceClient;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use super::cursor::{ClusterMark, Places};
use super::form;
use super::here::{self, Acked, Standing};
use super::merge::Merge;
use crate::between::Neighbours;
use crate::gateway::error::{Code, Refused};
use crate::gateway::forward::{Leader, Whereabouts};

/// How long all leaders together may take: an election is over by then.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long one node may take.
pub(super) const ASK_MAX: Duration = Duration::from_secs(3);
/// The pause before those are asked again who did not answer.
const PAUSE: Duration = Duration::from_millis(50);

/// The other nodes, and what this one knows of where shards are led.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) neighbours: Arc<dyn Neighbours>,
    pub(crate) whereabouts: Arc<dyn Whereabouts>,
}

/// All shards of the cluster. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Everything {
    pub(super) shards: Shards,
    pub(super) count: u16,
    /// None on a node that is alone.
    pub(super) surroundings: Option<Surroundings>,
    mark: ClusterMark,
}

impl Everything {
    /// Of a cluster of so many shards.
    pub(crate) fn new(shards: Shards, count: u16, mark: ClusterMark, surroundings: Option<Surroundings>) -> Self {
        Self { shards, count, surroundings, mark }
    }

    /// What stands behind these places, in all shards.
    pub(crate) fn follow(&self, places: Places, patterns: Vec<Pattern>, types: Vec<String>) -> Merge {
        Merge::new(self.clone(), places, patterns, types)
    }

    /// Before everything.
    pub(crate) fn beginning(&self) -> Places {
        Places::beginning(self.count)
    }

    /// The text that clients get for these places.
    pub(crate) fn cursor(&self, places: &Places) -> String {
        places.encode(self.mark)
    }

    /// The places of a client's text in the field `cursor`.
    pub(crate) fn places(&self, cursor: &str) -> Result<Places, Refused> {
        Places::decode(cursor, self.mark, self.count).map_err(|rule| Refused::field("cursor", rule))
    }

    /// The same, once it is sure that the logs go so far.
    pub(crate) async fn reached_places(&self, cursor: &str) -> Result<Places, Refused> {
        let places = self.places(cursor)?;
        let tips = self.shards.log_feed();
        // What is applied here was committed; only of the rest the leader has to be asked.
        let beyond: Vec<ShardId> =
            places.iter().filter(|(shard, place)| *place > tips.tip(*shard)).map(|(shard, _)| shard).collect();
        for (shard, standing) in self.standings(beyond, None).await? {
            if places.get(shard) > standing.tip {
                return Err(ahead(shard));
            }
        }
        Ok(places)
    }

    /// How far all shards are now.
    pub(crate) async fn tips(&self) -> Result<Places, Refused> {
        let mut places = self.beginning();
        let standings = self.standings(self.all(), None).await?;
        standings.into_iter().for_each(|(shard, standing)| places.set(shard, standing.tip));
        Ok(places)
    }

    /// Where a consumer stands in all shards; none when it never acknowledged anything.
    pub(crate) async fn consumer(&self, consumer: &ConsumerId) -> Result<Option<Places>, Refused> {
        let mut places = self.beginning();
        let mut is_known = false;
        for (shard, standing) in self.standings(self.all(), Some(consumer)).await? {
            is_known |= standing.acked.is_some();
            places.set(shard, standing.acked.unwrap_or_default());
        }
        Ok(is_known.then_some(places))
    }

    /// Notes where a consumer stands, in all shards.
    pub(crate) async fn acknowledge(&self, consumer: &ConsumerId, places: &Places) -> Result<(), Refused> {
        let tell = |node: Option<NodeId>, shards: Vec<ShardId>| -> BoxFuture<'_, Vec<(ShardId, Acked)>> {
            let places = shards.into_iter().map(|shard| (shard, places.get(shard))).collect();
            match node {
                None => here::acknowledge(&self.shards, consumer, places).boxed(),
                Some(node) => self.acknowledge_at(node, consumer, places).boxed(),
            }
        };
        for (shard, acked) in self.at_leaders(self.all(), tell).await? {
            match acked {
                Acked::Noted => {}
                Acked::Ahead => return Err(ahead(shard)),
                Acked::TooMany => {
                    let message = "there are as many consumers of everything as there may be";
                    return Err(Refused::new(Code::LimitReached, message));
                }
            }
        }
        Ok(())
    }

    async fn standings(
        &self,
        shards: Vec<ShardId>,
        consumer: Option<&ConsumerId>,
    ) -> Result<BTreeMap<ShardId, Standing>, Refused> {
        let ask = |node: Option<NodeId>, shards: Vec<ShardId>| match node {
            None => here::standings(&self.shards, shards, consumer).boxed(),
            Some(node) => self.standings_at(node, shards, consumer).boxed(),
        };
        self.at_leaders(shards, ask).await
    }

    /// Asks the leaders of these shards, each for its own, until all have answered.
    pub(super) async fn at_leaders<'a, T>(
        &'a self,
        shards: Vec<ShardId>,
        ask: impl Fn(Option<NodeId>, Vec<ShardId>) -> BoxFuture<'a, Vec<(ShardId, T)>>,
    ) -> Result<BTreeMap<ShardId, T>, Refused> {
        let mut told = BTreeMap::new();
        let asking = async {
            loop {
                let mut by_leader: BTreeMap<Option<NodeId>, Vec<ShardId>> = BTreeMap::new();
                for shard in shards.iter().copied().filter(|shard| !told.contains_key(shard)) {
                    match self.leader(shard) {
                        Leader::Here => by_leader.entry(None).or_default().push(shard),
                        Leader::At(node) => by_leader.entry(Some(node)).or_default().push(shard),
                        Leader::Unknown => {}
                    }
                }
                told.extend(
                    join_all(by_leader.into_iter().map(|(node, shards)| ask(node, shards))).await.into_iter().flatten(),
                );
                if shards.iter().all(|shard| told.contains_key(shard)) {
                    return;
                }
                sleep(PAUSE).await;
            }
        };
        timeout(PATIENCE, asking).await.ok(); // What is missing says it all.
        let missing: Vec<ShardId> = shards.into_iter().filter(|shard| !told.contains_key(shard)).collect();
        match missing.as_slice() {
            [] => Ok(told),
            [first, ..] => {
                let (count, of) = (missing.len(), self.count);
                let message =
                    format!("nobody that can be reached leads {count} of {of} shards just now, such as {first}");
                Err(Refused::new(Code::NotLed, message))
            }
        }
    }

    async fn standings_at(
        &self,
        node: NodeId,
        shards: Vec<ShardId>,
        consumer: Option<&ConsumerId>,
    ) -> Vec<(ShardId, Standing)> {
        let Some(mut leader) = self.client(node) else { return vec![] };
        let consumer = consumer.map_or_else(String::new, ToString::to_string);
        let request = pb::AskShardsRequest { shards: shards.iter().map(|shard| shard.0.into()).collect(), consumer };
        let Ok(Ok(answer)) = timeout(ASK_MAX, leader.ask_shards(request)).await else { return vec![] };
        let standing = |told: pb::ShardStanding| {
            let standing = Standing { tip: LogIndex(told.tip), acked: told.acked.map(LogIndex) };
            Some((form::shard(told.shard, self.count)?, standing))
        };
        answer.into_inner().standings.into_iter().filter_map(standing).collect()
    }

    async fn acknowledge_at(
        &self,
        node: NodeId,
        consumer: &ConsumerId,
        places: Vec<(ShardId, LogIndex)>,
    ) -> Vec<(ShardId, Acked)> {
        let Some(mut leader) = self.client(node) else { return vec![] };
        let places = places.into_iter().map(|(shard, index)| form::place(shard, index)).collect();
        let request = pb::AckShardsRequest { consumer: consumer.to_string(), places };
        let Ok(Ok(answer)) = timeout(ASK_MAX, leader.ack_shards(request)).await else { return vec![] };
        let acked = |told: pb::ShardAck| {
            let acked = match told.outcome() {
                pb::AckOutcome::Noted => Acked::Noted,
                pb::AckOutcome::Ahead => Acked::Ahead,
                pb::AckOutcome::TooMany => Acked::TooMany,
                pb::AckOutcome::Unspecified => return None,
            };
            Some((form::shard(told.shard, self.count)?, acked))
        };
        answer.into_inner().acks.into_iter().filter_map(acked).collect()
    }

    fn leader(&self, shard: ShardId) -> Leader {
        self.surroundings.as_ref().map_or(Leader::Here, |surroundings| surroundings.whereabouts.leader(shard))
    }

    pub(super) fn client(&self, node: NodeId) -> Option<FeedServiceClient<Channel>> {
        let channel = self.surroundings.as_ref()?.neighbours.channel(node, Lane::Forward).ok()?;
        Some(FeedServiceClient::new(channel))
    }

    pub(super) fn all(&self) -> Vec<ShardId> {
        (0..self.count).map(ShardId).collect()
    }
}

fn ahead(shard: ShardId) -> Refused {
    Refused::field("cursor", format!("is ahead of the log of {shard}: it was given before this state was restored"))
}

//! `EventService`: the feed, by page, by stream and by named consumer.

use std::sync::Arc;

use steward_actors::codec::{event_type, public_event};
use steward_actors::domain::account::Command;
use steward_actors::domain::ids::{AccountId, ConsumerId};
use steward_actors::feed::FEED_PAGE_MAX;
use steward_actors::shard::FeedEntry;
use steward_cluster::clock::Timestamp;
use steward_proto::event::v1::event_service_server::EventService;
use steward_proto::event::v1::subscribe_request::From as StartAt;
use steward_proto::event::v1::{self as pb};
use tonic::{Request, Response, Status};

use super::subscribe::{Answers, Subscriptions, Wanted};
use super::subscribe_all::{self, SubscriptionsToAll};
use super::wire;
use crate::gateway::error::Refused;
use crate::gateway::{Gateway, page};

/// Events looked at for one page, so that a rare type does not make one request read a whole feed.
const LOOKED_AT_MAX: usize = 10_000;

pub(super) struct Events {
    pub(super) gateway: Arc<Gateway>,
    pub(super) subscriptions: Subscriptions,
    pub(super) to_all: SubscriptionsToAll,
}

impl Events {
    /// The number after which a subscriber wants to start.
    fn start(&self, account: &AccountId, from: Option<StartAt>, newest: u64) -> Result<u64, Refused> {
        match from {
            None => Ok(0),
            Some(StartAt::AfterSeq(seq)) => check_cursor("after_seq", seq, newest),
            Some(StartAt::SinceMs(ms)) => {
                let first = self.gateway.router.feed().seek_time(account, Timestamp(ms))?;
                Ok(first.saturating_sub(1))
            }
            Some(StartAt::Consumer(name)) => {
                let consumer: ConsumerId = wire::id("consumer", &name)?;
                Ok(self.gateway.router.reads().consumer(account, &consumer)?.unwrap_or(0))
            }
            Some(StartAt::Latest(latest)) => Ok(if latest { newest } else { 0 }),
        }
    }
}

#[tonic::async_trait]
impl EventService for Events {
    type SubscribeStream = Answers<pb::SubscribeResponse>;
    type SubscribeAllStream = Answers<pb::SubscribeAllResponse>;

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        let reader = caller.account_reader(&self.gateway.auth, &request.account_id)?;
        let patterns = wire::patterns("types", &request.types)?;
        let account = reader.account().clone();
        let (_, newest) = self.gateway.router.reads().bounds(&account).map_err(Refused::from)?;
        let after = self.start(&account, request.from, newest)?;
        let until = request.until_now.then_some(newest);
        let wanted = Wanted { account, after, patterns, until };
        Ok(Response::new(self.subscriptions.open(&self.gateway, wanted)?))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        let reader = caller.account_reader(&self.gateway.auth, &request.account_id)?;
        let patterns = wire::patterns("types", &request.types)?;
        let size = page::page_size(request.page_size)?;
        let account = reader.account();
        let router = &self.gateway.router;
        let (_, newest) = router.reads().bounds(account).map_err(Refused::from)?;
        let mut next_after_seq = check_cursor("after_seq", request.after_seq, newest)?;
        let shard = router.shard_of(account);
        let wanted = |entry: &FeedEntry| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(&event_type(&entry.event)))
        };
        let mut events = vec![];
        let mut looked_at = 0;
        let mut gap = None;
        'page: while events.len() < size && looked_at < LOOKED_AT_MAX && next_after_seq < newest {
            let read = router.reads().events(account, next_after_seq, FEED_PAGE_MAX).map_err(Refused::from)?;
            if read.is_empty() {
                break;
            }
            for entry in read {
                if events.len() == size {
                    break;
                }
                if entry.seq > next_after_seq + 1 {
                    if looked_at > 0 {
                        break 'page; // Retention was here meanwhile: the next page starts with this gap.
                    }
                    gap = Some(pb::Gap { first_lost_seq: next_after_seq + 1, last_lost_seq: entry.seq - 1 });
                }
                looked_at += 1;
                next_after_seq = entry.seq;
                if wanted(&entry) {
                    events.push(public_event(account, shard, &entry));
                }
            }
        }
        let at_end = next_after_seq >= newest;
        Ok(Response::new(pb::ListEventsResponse { events, next_after_seq, at_end, gap }))
    }

    async fn ack_consumer(
        &self,
        request: Request<pb::AckConsumerRequest>,
    ) -> Result<Response<pb::AckConsumerResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.gateway, request)?;
        let writer = caller.account_writer(&self.gateway.auth, &request.account_id)?;
        let consumer = wire::id("consumer", &request.consumer)?;
        let command = Command::AckConsumer { consumer, seq: request.seq };
        self.gateway.router.execute(&writer, command, &correlation, None).await?;
        Ok(Response::new(pb::AckConsumerResponse {}))
    }

    async fn get_consumer(
        &self,
        request: Request<pb::GetConsumerRequest>,
    ) -> Result<Response<pb::GetConsumerResponse>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        let reader = caller.account_reader(&self.gateway.auth, &request.account_id)?;
        let consumer: ConsumerId = wire::id("consumer", &request.consumer)?;
        let seq = self.gateway.router.reads().consumer(reader.account(), &consumer).map_err(Refused::from)?;
        let seq = seq.ok_or_else(|| Refused::absent("consumer", consumer.as_str()))?;
        Ok(Response::new(pb::GetConsumerResponse { seq }))
    }

    async fn subscribe_all(
        &self,
        request: Request<pb::SubscribeAllRequest>,
    ) -> Result<Response<Self::SubscribeAllStream>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        caller.operator_proof()?;
        let patterns = wire::patterns("types", &request.types)?;
        let wanted = subscribe_all::start(&self.gateway.everything, request).await?;
        Ok(Response::new(self.to_all.open(&self.gateway, &self.subscriptions, wanted, patterns)?))
    }

    async fn ack_all_consumer(
        &self,
        request: Request<pb::AckAllConsumerRequest>,
    ) -> Result<Response<pb::AckAllConsumerResponse>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        caller.operator_proof()?;
        let consumer: ConsumerId = wire::id("consumer", &request.consumer)?;
        let everything = &self.gateway.everything;
        everything.acknowledge(&consumer, &everything.places(&request.cursor)?).await?;
        Ok(Response::new(pb::AckAllConsumerResponse {}))
    }

    async fn get_all_consumer(
        &self,
        request: Request<pb::GetAllConsumerRequest>,
    ) -> Result<Response<pb::GetAllConsumerResponse>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        caller.operator_proof()?;
        let consumer: ConsumerId = wire::id("consumer", &request.consumer)?;
        let everything = &self.gateway.everything;
        let places = everything.consumer(&consumer).await?;
        let places = places.ok_or_else(|| Refused::absent("consumer", consumer.as_str()))?;
        Ok(Response::new(pb::GetAllConsumerResponse { cursor: everything.cursor(&places) }))
    }
}

/// A cursor beyond the newest event is another account's, or older than a restore: say so instead of waiting for ever.
fn check_cursor(field: &'static str, seq: u64, newest: u64) -> Result<u64, Refused> {
    if seq <= newest {
        return Ok(seq);
    }
    Err(Refused::field(field, format!("must be at most {newest}, the number of the newest event")))
}

//! All shards in one: each from where it can be had, in turns, continued where the last page of it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use steward_actors::domain::pattern::Pattern;
use steward_actors::log_feed::LogReader;
use steward_actors::shard::ReadError;
use steward_cluster::ids::{LogIndex, NodeId, ShardId};
use steward_cluster::peers::Lane;
use steward_proto::peer::v1 as pb;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::cursor::Places;
use super::form;
use super::leaders::Everything;
use super::remote::{self, Told};
use crate::gateway::forward::Leader;

/// Pages of other nodes that wait to be taken.
const PAGES_WAITING_MAX: usize = 4;
/// How often it looks whether shards had better come from elsewhere, and tries again where a stream ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What comes of all shards.
pub(crate) struct Merge {
    everything: Everything,
    types: Vec<String>,
    /// Everything up to these places was handed on.
    places: Places,
    /// What is held here.
    reader: LogReader,
    streams: BTreeMap<NodeId, Stream>,
    opened: u64,
    tell: mpsc::Sender<Told>,
    told: mpsc::Receiver<Told>,
    /// Changes of who leads; none on a node that is alone.
    moves: Option<watch::Receiver<u64>>,
    looks: Interval,
}

/// What comes from another node.
struct Stream {
    number: u64,
    shards: BTreeSet<ShardId>,
    _reading: AbortOnDropHandle<()>,
}

/// Where a shard comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Here,
    At(NodeId),
    /// Nobody is known to hold it just now.
    Nowhere,
}

impl Merge {
    pub(super) fn new(everything: Everything, places: Places, patterns: Vec<Pattern>, types: Vec<String>) -> Self {
        let (tell, told) = mpsc::channel(PAGES_WAITING_MAX);
        let moves = everything.surroundings.as_ref().map(|surroundings| surroundings.whereabouts.changes());
        let reader = everything.shards.log_feed().reader(patterns);
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let streams = BTreeMap::new();
        let mut merge = Self { everything, types, places, reader, streams, opened: 0, tell, told, moves, looks };
        merge.arrange();
        merge
    }

    /// Everything up to these places was handed on.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// What is new in some shard; it may have nothing that is wanted. May be dropped while it waits; nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Vec<pb::FeedItem>, ReadError> {
        loop {
            let page = tokio::select! {
                page = self.reader.next() => Some(form::page(page?)),
                Some(told) = self.told.recv() => self.heard(told),
                () = changed(&mut self.moves) => {
                    self.arrange();
                    None
                }
                _ = self.looks.tick() => {
                    self.arrange();
                    None
                }
            };
            if let Some(items) = page.and_then(|page| self.take(page)) {
                return Ok(items);
            }
        }
    }

    /// A page, or news of a stream.
    fn heard(&mut self, told: Told) -> Option<pb::FollowShardsResponse> {
        match told {
            Told::Page { node, page } => {
                let shard = form::shard(page.shard, self.everything.count)?;
                if LogIndex(page.after) > self.places.get(shard) {
                    tracing::warn!(node = node.0, shard = shard.0, "a node left out a part of a shard: asked again");
                    self.streams.remove(&node);
                    return None;
                }
                Some(page)
            }
            Told::Ended { node, stream } => {
                // The next look opens another.
                self.streams.retain(|of, open| *of != node || open.number != stream);
                None
            }
        }
    }

    /// Takes what a page has beyond what was handed on; none: nothing.
    fn take(&mut self, page: pb::FollowShardsResponse) -> Option<Vec<pb::FeedItem>> {
        let shard = form::shard(page.shard, self.everything.count)?;
        let (place, through) = (self.places.get(shard), LogIndex(page.through));
        if through <= place {
            return None;
        }
        self.places.set(shard, through);
        Some(form::cut(page, place).items)
    }

    /// Lets every shard come from where it can be had now.
    fn arrange(&mut self) {
        let mut wanted: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
        for shard in self.everything.all() {
            match self.source(shard) {
                Source::Here if self.reader.follows(shard) => {}
                Source::Here => self.reader.follow(shard, self.places.get(shard)),
                Source::At(node) => {
                    self.reader.leave(shard);
                    wanted.entry(node).or_default().insert(shard);
                }
                Source::Nowhere => self.reader.leave(shard),
            }
        }
        self.streams.retain(|node, stream| wanted.get(node) == Some(&stream.shards));
        for (node, shards) in wanted {
            if !self.streams.contains_key(&node) {
                self.open(node, shards);
            }
        }
    }

    /// A replica here is read, unless it has yet to catch up with what was handed on.
    fn source(&self, shard: ShardId) -> Source {
        let Some(surroundings) = &self.everything.surroundings else { return Source::Here };
        let is_here = surroundings.whereabouts.is_replica_here(shard);
        let is_level = self.everything.shards.log_feed().tip(shard) >= self.places.get(shard);
        match surroundings.whereabouts.leader(shard) {
            Leader::Here if self.everything.shards.is_readable(shard) => Source::Here,
            Leader::Here => Source::Nowhere,
            Leader::At(_) if is_here && is_level => Source::Here,
            Leader::At(node) => Source::At(node),
            Leader::Unknown if is_here => Source::Here,
            Leader::Unknown => Source::Nowhere,
        }
    }

    fn open(&mut self, node: NodeId, shards: BTreeSet<ShardId>) {
        let Some(surroundings) = &self.everything.surroundings else { return };
        let Ok(channel) = surroundings.neighbours.channel(node, Lane::Forward) else { return };
        let after = shards.iter().map(|shard| form::place(*shard, self.places.get(*shard))).collect();
        let request = pb::FollowShardsRequest { after, types: self.types.clone() };
        self.opened += 1;
        let reading = remote::follow((node, self.opened), channel, request, self.tell.clone());
        self.streams.insert(node, Stream { number: self.opened, shards, _reading: reading });
    }
}

/// Comes back with news; never without a source of them.
async fn changed(moves: &mut Option<watch::Receiver<u64>>) {
    if let Some(moves) = moves
        && moves.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

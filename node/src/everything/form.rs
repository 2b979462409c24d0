//! Pages of a shard as nodes tell them, and the events in them as clients get them. Both ends use it, and so does what is
//! read on this node: then all sources look alike.

use steward_actors::codec::public_event;
use steward_actors::log_feed::{LogItem, LogPage};
use steward_cluster::ids::{LogIndex, ShardId};
use steward_proto::event::v1::AccountGap;
use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::feed_item::Item;

/// A page of this node's.
pub(super) fn page(page: LogPage) -> pb::FollowShardsResponse {
    let LogPage { shard, after, through, items } = page;
    let item = |item| {
        Some(match item {
            LogItem::Event { account, entry } => Item::Event(public_event(&account, shard, &entry)),
            LogItem::Gap { account, last_lost_seq } => {
                Item::Gap(AccountGap { account_id: account.to_string(), last_lost_seq })
            }
        })
    };
    let items = items.into_iter().map(|one| pb::FeedItem { item: item(one) }).collect();
    pb::FollowShardsResponse { shard: shard.0.into(), after: after.0, through: through.0, items }
}

/// What is new of a page to somebody who has read up to `place`.
pub(super) fn cut(mut page: pb::FollowShardsResponse, place: LogIndex) -> pb::FollowShardsResponse {
    if page.after < place.0 {
        page.items.retain(|item| match &item.item {
            Some(Item::Event(event)) => event.index > place.0,
            Some(Item::Gap(_)) | None => false, // It was told with what was read instead.
        });
        page.after = place.0;
    }
    page
}

/// The number of a shard; none when there are not so many.
pub(super) fn shard(number: u32, shards: u16) -> Option<ShardId> {
    u16::try_from(number).ok().filter(|number| *number < shards).map(ShardId)
}

/// A place as nodes tell it.
pub(super) fn place(shard: ShardId, index: LogIndex) -> pb::ShardPlace {
    pb::ShardPlace { shard: shard.0.into(), index: index.0 }
}

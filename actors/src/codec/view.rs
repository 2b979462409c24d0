//! An event as clients see it: its type and its data, without secrets.

use serde_json::Value;
use steward_proto::event::v1 as wire;

use crate::domain::account::Event;
use crate::domain::ids::AccountId;
use crate::shard::FeedEntry;

/// The type subscribers filter by, such as `job.requested`.
#[must_use]
pub fn event_type(event: &Event) -> String {
    unimplemented!("{event:?}")
}

/// The event's data. Secrets, hashes and wrapped keys are never in it.
#[must_use]
pub fn data_json(event: &Event) -> Value {
    unimplemented!("{event:?}")
}

/// The event as it goes over the wire.
#[must_use]
pub fn public_event(account: &AccountId, shard: u16, entry: &FeedEntry) -> wire::Event {
    unimplemented!("{account} {shard} {entry:?}")
}

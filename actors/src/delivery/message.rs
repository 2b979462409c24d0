//! What is posted for one event.

use std::time::Duration;

use serde_json::{Value, json};
use steward_cluster::clock::Timestamp;

use crate::codec::{data_json, event_type};
use crate::domain::account::{Endpoint, Event};
use crate::domain::ids::{AccountId, EndpointId};
use crate::shard::FeedEntry;

/// Whether an event may be delivered at all. Those about deliveries and endpoints would echo for ever.
#[must_use]
pub fn is_deliverable(event: &Event) -> bool {
    !matches!(
        event,
        Event::DeliverySucceeded { .. }
            | Event::DeliveryFailed { .. }
            | Event::EndpointDisabled { .. }
            | Event::EndpointChanged { .. }
    )
}

/// Whether the endpoint subscribes to the event.
pub(super) fn wanted(endpoint: &Endpoint, event: &Event) -> bool {
    if !is_deliverable(event) {
        return false;
    }
    if endpoint.patterns.is_empty() {
        return true;
    }
    let event_type = event_type(event);
    endpoint.patterns.iter().any(|pattern| pattern.matches(&event_type))
}

/// The same for all attempts: from it a receiver knows a repeat.
pub(super) fn id(account: &AccountId, endpoint: &EndpointId, seq: u64) -> String {
    format!("msg_{account}_{endpoint}_{seq}")
}

/// What is posted, in the shape the Standard Webhooks specification recommends: type, timestamp, data.
pub(super) fn document(account: &AccountId, entry: &FeedEntry) -> Value {
    json!({
        "type": event_type(&entry.event),
        "timestamp": rfc3339(entry.at),
        "data": {
            "account_id": account,
            "seq": entry.seq,
            "correlation_id": entry.correlation_id,
            "causation_seq": entry.causation_seq,
            "event": data_json(&entry.event),
        },
    })
}

/// What a test send posts.
pub(super) fn test_document(account: &AccountId, endpoint: &EndpointId, now: Timestamp) -> Value {
    json!({
        "type": "endpoint.test",
        "timestamp": rfc3339(now),
        "data": { "account_id": account, "event": { "endpoint": endpoint } },
    })
}

fn rfc3339(at: Timestamp) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_millis(at.0);
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(Timestamp(1_790_000_000_123)), "2026-09-21T14:13:20.123Z");
    }
}

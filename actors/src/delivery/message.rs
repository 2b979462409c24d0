//! What is posted for one event.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use steward_cluster::clock::Timestamp;

use crate::codec::{data_json, event_type};
use crate::domain::account::{Endpoint, Event};
use crate::domain::ids::{AccountId, EndpointId};
use crate::shard::FeedEntry;

/// Whether the endpoint wants the event. Events about deliveries would echo for ever.
pub(super) fn wanted(endpoint: &Endpoint, event: &Event) -> bool {
    let about_deliveries = matches!(
        event,
        Event::DeliverySucceeded { .. } | Event::DeliveryFailed { .. } | Event::EndpointDisabled { .. }
    );
    if about_deliveries {
        return false;
    }
    let event_type = event_type(event);
    endpoint.patterns.is_empty() || endpoint.patterns.iter().any(|pattern| pattern.matches(&event_type))
}

/// The same for all attempts: from it a receiver knows a repeat.
pub(super) fn id(account: &AccountId, endpoint: &EndpointId, seq: u64) -> String {
    format!("msg_{account}_{endpoint}_{seq}")
}

/// The body, in the shape the Standard Webhooks specification recommends: type, timestamp, data.
pub(super) fn body(account: &AccountId, entry: &FeedEntry) -> Bytes {
    let body = json!({
        "type": event_type(&entry.event),
        "timestamp": rfc3339(entry.at),
        "data": {
            "account_id": account,
            "seq": entry.seq,
            "correlation_id": entry.correlation_id,
            "causation_seq": entry.causation_seq,
            "event": data_json(&entry.event),
        },
    });
    body.to_string().into()
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

//! Endpoints and what became of the deliveries to them.

use steward_cluster::clock::Timestamp;

use super::{Decided, Decision, Rejection, check_room, jitter_ms};
use crate::domain::account::command::DeliveryOutcome;
use crate::domain::account::event::{EndpointCreated, Event, Mark};
use crate::domain::account::limits::{DELIVERY_RETRY_MS, ENDPOINTS_MAX, PATTERNS_MAX};
use crate::domain::account::state::{Account, Endpoint};
use crate::domain::ids::EndpointId;

pub(super) fn create(account: &Account, created: EndpointCreated) -> Decision {
    let id = created.endpoint.to_string();
    if account.endpoints.contains_key(&created.endpoint) {
        return Err(Rejection::AlreadyExists { what: "endpoint", id });
    }
    check_room(account.endpoints.len(), ENDPOINTS_MAX, "endpoints")?;
    if created.patterns.len() > PATTERNS_MAX {
        let rule = format!("must hold at most {PATTERNS_MAX} patterns");
        return Err(Rejection::Invalid { field: "patterns", rule });
    }
    Ok(Decided::one(Event::EndpointCreated(created), &id))
}

pub(super) fn delete(account: &Account, endpoint: EndpointId) -> Decision {
    find(account, &endpoint)?;
    let id = endpoint.to_string();
    Ok(Decided::one(Event::EndpointDeleted { endpoint }, &id))
}

pub(super) fn skip(account: &Account, endpoint: EndpointId, through_seq: u64) -> Decision {
    let found = find(account, &endpoint)?;
    if through_seq <= found.cursor {
        return Ok(Decided::default());
    }
    Ok(Decided::mark(Mark::EndpointSkipped { endpoint, through_seq: through_seq.min(account.last_seq) }))
}

/// An attempt on an event that is done with already came from a sender that was replaced: it changes nothing.
pub(super) fn report(
    account: &Account,
    endpoint: EndpointId,
    event_seq: u64,
    outcome: DeliveryOutcome,
    now: Timestamp,
) -> Decision {
    let found = find(account, &endpoint)?;
    if event_seq <= found.cursor || found.disabled.is_some() {
        return Ok(Decided::default());
    }
    let attempt = found.failed_attempts + 1;
    let id = endpoint.to_string();
    Ok(match outcome {
        DeliveryOutcome::Delivered { status, latency_ms } => {
            Decided::one(Event::DeliverySucceeded { endpoint, event_seq, attempt, status, latency_ms }, &id)
        }
        DeliveryOutcome::Gone => {
            let reason = "the receiver answered 410 Gone".to_owned();
            Decided::one(Event::EndpointDisabled { endpoint, reason }, &id)
        }
        DeliveryOutcome::Failed { status, error, retry_after_ms } => {
            let retry_at = retry_at(account, found, retry_after_ms, now);
            Decided::one(Event::DeliveryFailed { endpoint, event_seq, attempt, status, error, retry_at }, &id)
        }
    })
}

fn retry_at(account: &Account, endpoint: &Endpoint, asked_ms: Option<u64>, now: Timestamp) -> Option<Timestamp> {
    let tried = usize::try_from(endpoint.failed_attempts).expect("attempts are few");
    let wait_ms = DELIVERY_RETRY_MS.get(tried)?;
    let longest = DELIVERY_RETRY_MS[DELIVERY_RETRY_MS.len() - 1];
    let wait_ms = asked_ms.unwrap_or(0).min(longest).max(jitter_ms(*wait_ms, account, endpoint.cursor));
    Some(Timestamp(now.0.saturating_add(wait_ms)))
}

fn find<'a>(account: &'a Account, endpoint: &EndpointId) -> Result<&'a Endpoint, Rejection> {
    let missing = || Rejection::NotFound { what: "endpoint", id: endpoint.to_string() };
    account.endpoints.get(endpoint).ok_or_else(missing)
}

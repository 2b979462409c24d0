//! Endpoints: what they are asked to be.

use steward_cluster::clock::Timestamp;

use super::{Decided, Decision, Rejection, check_room};
use crate::domain::account::event::{EndpointChange, EndpointCreated, Event, Mark};
use crate::domain::account::limits::{ENDPOINTS_MAX, PATTERNS_MAX, PENDING_MAX, REQUEUED_MAX};
use crate::domain::account::state::{Account, Endpoint, EndpointSettings, OldSecret};
use crate::domain::ids::EndpointId;
use crate::domain::pattern::Pattern;

pub(super) fn create(account: &Account, created: EndpointCreated, settings: EndpointSettings) -> Decision {
    let id = created.endpoint.to_string();
    if account.endpoints.contains_key(&created.endpoint) {
        return Err(Rejection::AlreadyExists { what: "endpoint", id });
    }
    check_room(account.endpoints.len(), ENDPOINTS_MAX, "endpoints")?;
    check_patterns(&created.patterns)?;
    let (url, patterns) = (created.url.clone(), created.patterns.clone());
    let more = (settings != EndpointSettings::default()).then(|| Event::EndpointChanged {
        endpoint: created.endpoint.clone(),
        change: EndpointChange::Updated { url, patterns, settings },
    });
    let mut decided = Decided::one(Event::EndpointCreated(created), &id);
    decided.events.extend(more);
    Ok(decided)
}

pub(super) fn update(
    account: &Account,
    endpoint: EndpointId,
    url: String,
    patterns: Vec<Pattern>,
    settings: EndpointSettings,
) -> Decision {
    find(account, &endpoint)?;
    check_patterns(&patterns)?;
    Ok(changed(endpoint, EndpointChange::Updated { url, patterns, settings }))
}

pub(super) fn delete(account: &Account, endpoint: EndpointId) -> Decision {
    find(account, &endpoint)?;
    let id = endpoint.to_string();
    Ok(Decided::one(Event::EndpointDeleted { endpoint }, &id))
}

/// The secret before the old one counts no longer: receivers verify with two at most.
pub(super) fn rotate_secret(
    account: &Account,
    endpoint: EndpointId,
    sealed_secret: Vec<u8>,
    grace_ms: u64,
    now: Timestamp,
) -> Decision {
    let found = find(account, &endpoint)?;
    let until = Timestamp(now.0.saturating_add(grace_ms));
    let old = (grace_ms > 0).then(|| OldSecret { sealed: found.sealed_secret.clone(), until });
    Ok(changed(endpoint, EndpointChange::SecretRotated { sealed_secret, old }))
}

pub(super) fn pause(account: &Account, endpoint: EndpointId) -> Decision {
    let found = find(account, &endpoint)?;
    if found.is_paused {
        return Ok(Decided::default());
    }
    Ok(changed(endpoint, EndpointChange::Paused))
}

pub(super) fn resume(account: &Account, endpoint: EndpointId) -> Decision {
    let found = find(account, &endpoint)?;
    if !found.is_paused && found.disabled.is_none() && found.health.circuit.is_none() {
        return Ok(Decided::default());
    }
    Ok(changed(endpoint, EndpointChange::Resumed))
}

/// Events behind the cursor are still to be sent anyway.
pub(super) fn recover(account: &Account, endpoint: EndpointId, after_seq: u64, through_seq: u64) -> Decision {
    let found = find(account, &endpoint)?;
    if found.recovery.is_some() {
        return Err(Rejection::AlreadyExists { what: "recovery of endpoint", id: endpoint.to_string() });
    }
    let after_seq = after_seq.max(account.first_seq.saturating_sub(1));
    let through_seq = through_seq.min(found.cursor);
    if after_seq >= through_seq {
        return Ok(Decided::default());
    }
    Ok(changed(endpoint, EndpointChange::Recovering { after_seq, through_seq }))
}

pub(super) fn requeue(account: &Account, endpoint: EndpointId, mut seqs: Vec<u64>) -> Decision {
    let found = find(account, &endpoint)?;
    seqs.sort_unstable();
    seqs.dedup();
    if seqs.len() > REQUEUED_MAX {
        let rule = format!("must hold at most {REQUEUED_MAX} numbers");
        return Err(Rejection::Invalid { field: "event_seqs", rule });
    }
    if let Some(seq) = seqs.iter().find(|seq| !(account.first_seq..=account.last_seq).contains(seq)) {
        return Err(Rejection::NotFound { what: "event", id: seq.to_string() });
    }
    // Behind the cursor, or waiting for its next attempt, it is still to be sent anyway.
    seqs.retain(|seq| *seq <= found.cursor && found.pending.get(seq).is_none_or(|pending| pending.failed_attempts > 0));
    if seqs.is_empty() {
        return Ok(Decided::default());
    }
    check_room(found.pending.len() + seqs.len() - 1, PENDING_MAX, "deliveries pending at the endpoint")?;
    Ok(changed(endpoint, EndpointChange::Requeued { seqs }))
}

pub(super) fn skip(account: &Account, endpoint: EndpointId, through_seq: u64) -> Decision {
    let found = find(account, &endpoint)?;
    if through_seq <= found.cursor {
        return Ok(Decided::default());
    }
    Ok(Decided::mark(Mark::EndpointSkipped { endpoint, through_seq: through_seq.min(account.last_seq) }))
}

pub(super) fn find<'a>(account: &'a Account, endpoint: &EndpointId) -> Result<&'a Endpoint, Rejection> {
    let missing = || Rejection::NotFound { what: "endpoint", id: endpoint.to_string() };
    account.endpoints.get(endpoint).ok_or_else(missing)
}

fn changed(endpoint: EndpointId, change: EndpointChange) -> Decided {
    let id = endpoint.to_string();
    Decided::one(Event::EndpointChanged { endpoint, change }, &id)
}

fn check_patterns(patterns: &[Pattern]) -> Result<(), Rejection> {
    if patterns.len() > PATTERNS_MAX {
        let rule = format!("must hold at most {PATTERNS_MAX} patterns");
        return Err(Rejection::Invalid { field: "patterns", rule });
    }
    Ok(())
}

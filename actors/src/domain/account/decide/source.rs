//! Sources and the webhooks they bring.

use super::{Decided, Decision, Rejection, check_room};
use crate::domain::account::command::Facts;
use crate::domain::account::event::{Event, SourceCreated, WebhookAccepted};
use crate::domain::account::limits::{BODY_BYTES_MAX, SECRETS_MAX, SOURCES_MAX};
use crate::domain::account::playbook;
use crate::domain::account::state::Account;
use crate::domain::ids::SourceId;

pub(super) fn create(account: &Account, created: SourceCreated) -> Decision {
    let id = created.source.to_string();
    if account.sources.contains_key(&created.source) {
        return Err(Rejection::AlreadyExists { what: "source", id });
    }
    check_room(account.sources.len(), SOURCES_MAX, "sources")?;
    if !(1..=SECRETS_MAX).contains(&created.sealed_secrets.len()) {
        let rule = format!("must hold 1 to {SECRETS_MAX} secrets");
        return Err(Rejection::Invalid { field: "secrets", rule });
    }
    Ok(Decided::one(Event::SourceCreated(created), &id))
}

pub(super) fn delete(account: &Account, source: SourceId) -> Decision {
    let id = source.to_string();
    if !account.sources.contains_key(&source) {
        return Err(Rejection::NotFound { what: "source", id });
    }
    Ok(Decided::one(Event::SourceDeleted { source }, &id))
}

/// Platforms redeliver; a second delivery succeeds and changes nothing.
pub(super) fn accept(account: &Account, facts: &Facts, webhook: WebhookAccepted) -> Decision {
    let id = webhook.delivery_ids.first().cloned().unwrap_or_default();
    // The source may have been deleted between the signature check and here.
    if !account.sources.contains_key(&webhook.source) {
        return Err(Rejection::NotFound { what: "source", id: webhook.source.to_string() });
    }
    if let Some(seq) = facts.delivered_seq {
        return Ok(Decided::done_before(&id, seq));
    }
    if webhook.body.len() > BODY_BYTES_MAX {
        let rule = format!("must have at most {BODY_BYTES_MAX} bytes");
        return Err(Rejection::Invalid { field: "body", rule });
    }
    let mut follow_ups = playbook::follow(account, &webhook);
    let mut events = vec![Event::WebhookAccepted(webhook)];
    events.append(&mut follow_ups);
    let answer = super::Answer { id, ..super::Answer::default() };
    Ok(Decided { events, answer, ..Decided::default() })
}

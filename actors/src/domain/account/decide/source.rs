//! Sources and the webhooks they bring.

use std::collections::BTreeSet;

use bytes::Bytes;
use steward_cluster::clock::Timestamp;

use super::{Decided, Decision, Rejection, check_room};
use crate::domain::account::command::{Facts, SourceAsked};
use crate::domain::account::event::{
    Event, KeptRequest, Mark, RefusedFor, RefusedRequest, SourceChange, SourceCreated, WebhookAccepted,
};
use crate::domain::account::limits::{
    ALLOWED_NETWORKS_MAX, BATCH_ITEMS_MAX, BODY_BYTES_MAX, REFUSED_FORGOTTEN_MAX, REFUSED_MAX, REFUSED_PLACE_BYTES,
    SECRETS_MAX, SOURCE_RESPONSE_BYTES_MAX, SOURCES_MAX,
};
use crate::domain::account::playbook::Following;
use crate::domain::account::state::{Account, Source, SourceSettings};
use crate::domain::ids::SourceId;
use crate::domain::webhook;

/// Bytes of a content type.
const CONTENT_TYPE_BYTES_MAX: usize = 128;

pub(super) fn create(account: &Account, created: SourceCreated) -> Decision {
    let id = created.source.to_string();
    if account.sources.contains_key(&created.source) {
        return Err(Rejection::AlreadyExists { what: "source", id });
    }
    check_room(account.sources.len(), SOURCES_MAX, "sources")?;
    let fewest = usize::from(!brings_secrets(&created.scheme));
    if !(fewest..=SECRETS_MAX).contains(&created.sealed_secrets.len()) {
        let rule = format!("must hold {fewest} to {SECRETS_MAX} secrets");
        return Err(Rejection::Invalid { field: "secrets", rule });
    }
    Ok(Decided::one(Event::SourceCreated(created), &id))
}

pub(super) fn delete(account: &Account, source: SourceId) -> Decision {
    of_account(account, &source)?;
    let id = source.to_string();
    Ok(Decided::one(Event::SourceDeleted { source }, &id))
}

/// The account's source of this name.
fn of_account<'a>(account: &'a Account, source: &SourceId) -> Result<&'a Source, Rejection> {
    account.sources.get(source).ok_or_else(|| Rejection::NotFound { what: "source", id: source.to_string() })
}

pub(super) fn change(account: &Account, source: SourceId, asked: SourceAsked) -> Decision {
    let id = source.to_string();
    let state = of_account(account, &source)?;
    let change = match asked {
        SourceAsked::Update { tolerance_s, public_url, settings } => {
            check_settings(&settings)?;
            SourceChange::Updated { tolerance_s, public_url, settings }
        }
        SourceAsked::AddSecret { sealed_secret } => more_secrets(state, Some(sealed_secret), state.awaits_secret)?,
        SourceAsked::AwaitSecret if !brings_secrets(&state.scheme) => {
            let rule = "must not be empty: the platforms of this scheme bring none".to_owned();
            return Err(Rejection::Invalid { field: "secret", rule });
        }
        SourceAsked::AwaitSecret => more_secrets(state, None, true)?,
        SourceAsked::TakeSecret { .. } if !state.takes_secret() => {
            return Err(Rejection::AlreadyExists { what: "secret of source", id });
        }
        SourceAsked::TakeSecret { sealed_secret } => more_secrets(state, Some(sealed_secret), false)?,
        SourceAsked::RetireSecret { position } => {
            let mut sealed_secrets = state.sealed_secrets.clone();
            if position >= sealed_secrets.len() || (sealed_secrets.len() == 1 && !state.awaits_secret) {
                let rule = "must be the place of a secret, and not of the only one".to_owned();
                return Err(Rejection::Invalid { field: "position", rule });
            }
            sealed_secrets.remove(position);
            SourceChange::SecretsChanged { sealed_secrets, awaits_secret: state.awaits_secret }
        }
        SourceAsked::Pause if state.is_paused => return Ok(Decided::default()),
        SourceAsked::Pause => SourceChange::Paused,
        SourceAsked::Resume if !state.is_paused => return Ok(Decided::default()),
        SourceAsked::Resume => SourceChange::Resumed,
    };
    Ok(Decided::one(Event::SourceChanged { source, change }, &id))
}

/// The secrets there are and one more, now or from the platform's next handshake.
fn more_secrets(
    state: &Source,
    sealed_secret: Option<Vec<u8>>,
    awaits_secret: bool,
) -> Result<SourceChange, Rejection> {
    let mut sealed_secrets = state.sealed_secrets.clone();
    sealed_secrets.extend(sealed_secret);
    if sealed_secrets.len() + usize::from(awaits_secret) > SECRETS_MAX {
        let rule = format!("must be one of at most {SECRETS_MAX}: retire one first");
        return Err(Rejection::Invalid { field: "secret", rule });
    }
    Ok(SourceChange::SecretsChanged { sealed_secrets, awaits_secret })
}

fn brings_secrets(scheme: &str) -> bool {
    webhook::find(scheme).is_some_and(webhook::Scheme::brings_secrets)
}

fn check_settings(settings: &SourceSettings) -> Result<(), Rejection> {
    let invalid = |field, rule: String| Err(Rejection::Invalid { field, rule });
    if settings.allow.len() > ALLOWED_NETWORKS_MAX {
        return invalid("allow", format!("must hold at most {ALLOWED_NETWORKS_MAX} networks"));
    }
    let Some(response) = &settings.response else { return Ok(()) };
    if !(200..300).contains(&response.status) {
        return invalid("response.status", "must be 200 to 299".to_owned());
    }
    if response.body.len() > SOURCE_RESPONSE_BYTES_MAX || response.content_type.len() > CONTENT_TYPE_BYTES_MAX {
        let rule =
            format!("must have at most {SOURCE_RESPONSE_BYTES_MAX} bytes, its type at most {CONTENT_TYPE_BYTES_MAX}");
        return invalid("response.body", rule);
    }
    Ok(())
}

/// A refused request takes a place among the last ones of its source.
pub(super) fn keep_refused(
    account: &Account,
    source: SourceId,
    refused_for: RefusedFor,
    sealed_request: Bytes,
    at: Timestamp,
) -> Decision {
    let state = of_account(account, &source)?;
    let places = sealed_request.len().div_ceil(REFUSED_PLACE_BYTES).max(1);
    let places = u32::try_from(places).unwrap_or(u32::MAX);
    if u64::from(places) > REFUSED_MAX {
        let bytes = usize::try_from(REFUSED_MAX).unwrap_or(usize::MAX) * REFUSED_PLACE_BYTES;
        let rule = format!("must have at most {bytes} bytes");
        return Err(Rejection::Invalid { field: "request", rule });
    }
    let number = state.next_refused;
    Ok(Decided::mark(Mark::RequestRefused(RefusedRequest { source, number, places, refused_for, at, sealed_request })))
}

pub(super) fn forget_refused(account: &Account, source: SourceId, numbers: Vec<u64>) -> Decision {
    let state = of_account(account, &source)?;
    let is_none = |number: &u64| *number >= state.next_refused;
    if numbers.len() > REFUSED_FORGOTTEN_MAX || numbers.iter().any(is_none) {
        let rule = format!("must be at most {REFUSED_FORGOTTEN_MAX} numbers of requests that were refused");
        return Err(Rejection::Invalid { field: "numbers", rule });
    }
    if numbers.is_empty() {
        return Ok(Decided::default());
    }
    Ok(Decided::mark(Mark::RefusedForgotten { source, numbers }))
}

/// What the playbooks of today make of a webhook of before.
pub(super) fn follow_again(account: &Account, webhook: &WebhookAccepted) -> Decision {
    let mut following = Following::new(account);
    following.follow_all(webhook);
    Ok(Decided { events: following.events, ..Decided::default() })
}

/// Platforms redeliver; a second delivery succeeds and changes nothing. Of a batch the new ones are accepted, all at once.
pub(super) fn accept(account: &Account, facts: &Facts, webhooks: Vec<WebhookAccepted>) -> Decision {
    if !(1..=BATCH_ITEMS_MAX).contains(&webhooks.len()) {
        let rule = format!("must hold 1 to {BATCH_ITEMS_MAX} events");
        return Err(Rejection::Invalid { field: "body", rule });
    }
    let id = webhooks.first().and_then(|first| first.delivery_ids.first()).cloned().unwrap_or_default();
    // The source may have been deleted between the signature check and here.
    if let Some(webhook) = webhooks.iter().find(|webhook| !account.sources.contains_key(&webhook.source)) {
        return Err(Rejection::NotFound { what: "source", id: webhook.source.to_string() });
    }
    if webhooks.iter().any(|webhook| webhook.body.len() > BODY_BYTES_MAX) {
        let rule = format!("must have at most {BODY_BYTES_MAX} bytes");
        return Err(Rejection::Invalid { field: "body", rule });
    }
    let (mut following, mut first_known) = (Following::new(account), None);
    let (is_batch, mut in_batch) = (webhooks.len() > 1, BTreeSet::new());
    // The first that is new keeps the request of all.
    let (mut kept, mut kept_at) = (KeptRequest::Nowhere, None);
    for (at, mut webhook) in webhooks.into_iter().enumerate() {
        let of_request = std::mem::take(&mut webhook.kept);
        if at == 0 {
            kept = of_request;
        }
        if let Some(seq) = facts.delivered.get(at).copied().flatten() {
            first_known.get_or_insert(seq);
        } else if !is_batch || in_batch.insert(webhook.delivery_ids.clone()) {
            webhook.kept = match kept_at {
                Some(seq) => KeptRequest::At(seq),
                None => std::mem::take(&mut kept),
            };
            if matches!(webhook.kept, KeptRequest::Here(_)) {
                kept_at = Some(following.next_seq());
            }
            following.accept(webhook);
        }
    }
    if following.events.is_empty() {
        return Ok(Decided::done_before(&id, first_known.unwrap_or_default()));
    }
    let answer = super::Answer { id, ..super::Answer::default() };
    Ok(Decided { events: following.events, answer, ..Decided::default() })
}

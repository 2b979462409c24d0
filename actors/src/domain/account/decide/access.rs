//! The account itself, its keys and its playbooks.

use super::{Decided, Decision, Rejection, check_room};
use crate::domain::account::event::{ApiKeyCreated, Event};
use crate::domain::account::limits::{KEYS_MAX, LABEL_CHARS_MAX, PLAYBOOKS_MAX};
use crate::domain::account::state::{Account, Playbook};
use crate::domain::ids::{KeyId, PlaybookId};

pub(super) fn create(account: &Account, display_name: String, wrapped_key: Vec<u8>) -> Decision {
    check_label("display_name", &display_name)?;
    if account.created_at.is_some() {
        return Err(Rejection::AlreadyExists { what: "account", id: account.id.to_string() });
    }
    Ok(Decided::one(Event::AccountCreated { display_name, wrapped_key }, account.id.as_str()))
}

pub(super) fn create_key(account: &Account, created: ApiKeyCreated) -> Decision {
    check_label("label", &created.label)?;
    if account.keys.contains_key(&created.key) {
        return Err(Rejection::AlreadyExists { what: "key", id: created.key.to_string() });
    }
    check_room(account.keys.len(), KEYS_MAX, "keys")?;
    let id = created.key.to_string();
    Ok(Decided::one(Event::ApiKeyCreated(created), &id))
}

pub(super) fn revoke_key(account: &Account, key: KeyId) -> Decision {
    let id = key.to_string();
    if !account.keys.contains_key(&key) {
        return Err(Rejection::NotFound { what: "key", id });
    }
    Ok(Decided::one(Event::ApiKeyRevoked { key }, &id))
}

pub(super) fn put_playbook(account: &Account, playbook: PlaybookId, rule: Playbook) -> Decision {
    if !rule.on.as_str().starts_with("webhook.") {
        let rule = "must start with \"webhook.\": a job that follows a job could go on for ever".to_owned();
        return Err(Rejection::Invalid { field: "playbook.on", rule });
    }
    if !account.playbooks.contains_key(&playbook) {
        check_room(account.playbooks.len(), PLAYBOOKS_MAX, "playbooks")?;
    }
    let id = playbook.to_string();
    Ok(Decided::one(Event::PlaybookPut { playbook, rule }, &id))
}

pub(super) fn delete_playbook(account: &Account, playbook: PlaybookId) -> Decision {
    let id = playbook.to_string();
    if !account.playbooks.contains_key(&playbook) {
        return Err(Rejection::NotFound { what: "playbook", id });
    }
    Ok(Decided::one(Event::PlaybookDeleted { playbook }, &id))
}

fn check_label(field: &'static str, text: &str) -> Result<(), Rejection> {
    if text.chars().count() <= LABEL_CHARS_MAX && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let rule = format!("must have at most {LABEL_CHARS_MAX} characters, none of them a control character");
    Err(Rejection::Invalid { field, rule })
}

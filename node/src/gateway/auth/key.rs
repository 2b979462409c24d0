//! The form of keys. An account's key names its account, so that any node knows where to look it up.

use rand::Rng as _;
use steward_actors::domain::ids::{AccountId, KeyId};

/// What every key starts with, so that leaked ones can be searched for.
const PREFIX: &str = "stw_";
/// Stands where an account's key has its account and id.
const OPERATOR: &str = "operator";
/// Random bytes of a key.
const SECRET_BYTES: usize = 32;

/// A key as it was presented. Nothing is known about it but its form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `stw_operator.<secret>`
    Operator { hash: blake3::Hash },
    /// `stw_<account>.<key id>.<secret>`
    Account { account: AccountId, key: String, hash: blake3::Hash },
}

impl Key {
    /// Reads the form. The hash covers the whole text, so a secret opens only what its key names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let (names, secret) = rest.rsplit_once('.')?;
        if secret.len() != 2 * SECRET_BYTES || !secret.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let hash = blake3::hash(text.as_bytes());
        if names == OPERATOR {
            return Some(Self::Operator { hash });
        }
        let (account, key) = names.split_once('.')?;
        Some(Self::Account { account: AccountId::parse(account).ok()?, key: key.to_owned(), hash })
    }
}

/// A new key for an account: the text for its owner, and the hash to keep.
pub(crate) fn new_account_key(account: &AccountId, key: &KeyId) -> (String, [u8; 32]) {
    let text = format!("{PREFIX}{account}.{key}.{}", secret());
    let hash = *blake3::hash(text.as_bytes()).as_bytes();
    (text, hash)
}

/// A new key for the operator.
pub(super) fn new_operator_key() -> String {
    format!("{PREFIX}{OPERATOR}.{}", secret())
}

fn secret() -> String {
    let mut bytes = [0_u8; SECRET_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

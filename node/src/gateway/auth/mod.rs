//! Who asks, and what may they touch: a key becomes a [`Caller`], a caller becomes a proof for one account.
//!
//! # Invariants
//! - **K1 proof**: the proofs of this module are made here only, after the key and its role were checked.
//! - **K2 alike**: an account that the key does not open is answered like one that does not exist.
//! - **K3 revoked is dead**: a revoked key stops opening its account when its revocation is durable; an expired one at its
//!   time.
//! - **K5 links**: a link opens one blob until its time is over, and stops when the account is erased.
//! - **K4 hashed**: no key is kept in clear; hashes are compared in constant time.

mod cache;
mod key;
mod link;
mod operator;
mod proof;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;
use steward_actors::domain::account::Role;
use steward_actors::domain::ids::{AccountId, KeyId};
use steward_cluster::clock::Clock;

pub(crate) use cache::{KnownKey, KnownKeys};
pub(crate) use key::{Key, new_account_key};
pub(crate) use link::{LINK_TTL_MAX, Link};
pub(crate) use operator::open_operator_key;
pub(crate) use proof::{AccountReader, AccountWriter, Caller, Operator};

use super::error::{Code, Refused};
use crate::router::Router;

/// Tells who asks.
pub(crate) struct Authenticator {
    /// None: authentication is off, and everyone who reaches the node is the operator.
    operator: Option<blake3::Hash>,
    keys: Arc<KnownKeys>,
    router: Router,
    clock: Arc<dyn Clock>,
}

impl Authenticator {
    pub(crate) fn new(
        operator: Option<blake3::Hash>,
        keys: Arc<KnownKeys>,
        router: Router,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { operator, keys, router, clock }
    }

    /// Who asks, by the `authorization` header.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let Some(operator) = self.operator else { return Ok(Caller::operator()) };
        let missing = || Refused::new(Code::Unauthenticated, "authorization must be \"Bearer stw_…\"");
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
        let (scheme, secret) = header.split_once(' ').ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        match Key::parse(secret.trim()).ok_or_else(missing)? {
            Key::Operator { hash } if hash == operator => Ok(Caller::operator()),
            Key::Operator { .. } => Err(refused()),
            Key::Account { account, key, hash } => {
                let known = match self.keys.get(&hash) {
                    Some(known) => known,
                    None => self.look_up(&account, &key, hash)?,
                };
                let expired = known.expires_at.is_some_and(|at| at <= self.clock.now());
                if expired { Err(refused()) } else { Ok(Caller::key(known)) }
            }
        }
    }

    /// Whether the account is there, for callers that may touch any.
    pub(super) fn exists(&self, account: &AccountId) -> Result<bool, Refused> {
        Ok(self.router.reads().outline(account)?.is_some())
    }

    fn look_up(&self, account: &AccountId, key: &str, hash: blake3::Hash) -> Result<Arc<KnownKey>, Refused> {
        let before = self.keys.revocations();
        let key = KeyId::parse(key).map_err(|_| refused())?;
        let kept = self.router.reads().key(account, &key)?.ok_or_else(refused)?;
        // `blake3::Hash` compares in constant time.
        if blake3::Hash::from_bytes(kept.hash) != hash {
            return Err(refused());
        }
        let known = KnownKey { account: account.clone(), key, role: kept.role, expires_at: kept.expires_at };
        Ok(self.keys.remember(hash, known, before))
    }
}

/// One answer for unknown, wrong, revoked and expired keys.
fn refused() -> Refused {
    Refused::new(Code::Unauthenticated, "the key is not valid")
}

/// What a role is called where people read it.
pub(crate) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Writer => "writer",
        Role::Reader => "reader",
    }
}

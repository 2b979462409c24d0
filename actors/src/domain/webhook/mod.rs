//! Webhooks from other platforms: is this request really from its sender, and which event is it?
//!
//! The gateway verifies with [`verify()`] before anything is stored, answers challenges with
//! [`handshake::answer`], takes batches apart with [`split`], and outbound deliveries are signed with [`sign::sign`].
//!
//! One table (`table`) describes every scheme; one engine ([`verify()`]) reads it. A platform gets
//! code of its own only where a row cannot say what it does.
//!
//! # Invariants
//! - **W1 raw**: a MAC is computed over the body bytes as they were received, never over parsed JSON.
//! - **W2 order**: a missing credential is reported first, a wrong one second, staleness last; so an
//!   attacker learns nothing about the clock without a valid signature.
//! - **W3 constant time**: secrets and MACs are compared without an early exit.
//! - **W4 no downgrade**: an unknown version tag, prefix or encoding is never tried another way.
//! - **W5 total**: no request, whatever its bytes, makes this module panic.
//! - **W6 absence**: an empty secret never verifies anything.

mod batch;
mod body;
mod evidence;
mod extract;
pub mod handshake;
mod jwt;
mod keys;
mod pick;
mod scheme;
pub mod shape;
pub mod sign;
mod signed;
mod soap;
mod stamp;
mod table;
mod twilio;
mod verify;

#[cfg(test)]
mod changed_tests;
#[cfg(test)]
mod verify_tests;

pub use batch::{Item, TooMany, split};
pub use scheme::Scheme;
pub use table::{all, find};
pub use verify::{same_secret, usable_secret, verify};

use std::time::Duration;

use crate::domain::account::Trust;

/// The headers of a request, by case-insensitive name.
pub trait Headers {
    /// The first value under this name.
    fn value(&self, name: &str) -> Option<&[u8]>;
}

impl Headers for http::HeaderMap {
    fn value(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(http::HeaderValue::as_bytes)
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for Vec<(N, V)> {
    fn value(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.iter();
        fields.find(|(field, _)| field.as_ref().eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }
}

/// One request as it arrived.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// The HTTP method, upper case.
    pub method: &'a str,
    /// The public URL the sender was given, not the one the socket saw.
    pub url: &'a str,
    /// Its headers.
    pub headers: &'a dyn Headers,
    /// Its body, byte for byte; decoded, when it came compressed.
    pub body: &'a [u8],
    /// The body as it came, when that is another: this is what is signed.
    pub raw: Option<&'a [u8]>,
}

impl<'a> Incoming<'a> {
    /// The bytes that were sent.
    pub(super) fn sent(&self) -> &'a [u8] {
        self.raw.unwrap_or(self.body)
    }
}

/// What a verified request says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The sender's ids of the events inside, one per item of a batch, in its order. Empty when the
    /// scheme offers none: the caller falls back to a hash of the body.
    pub dedup_ids: Vec<String>,
    /// The sender-side account; none for a batch that mixes several.
    pub tenant_id: Option<String>,
    /// The sender's name for what happened; none for a batch that mixes several.
    pub event_type: Option<String>,
    /// How much of the request the credential vouches for.
    pub trust: Trust,
    /// Which of the given secrets matched, so that a rotation can be seen to be finished.
    pub secret_index: usize,
}

/// Why a request was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A required credential is absent or empty.
    #[error("{field} is missing or empty, and this scheme requires it")]
    MissingHeader {
        /// The header, or the field of the body.
        field: &'static str,
    },
    /// A credential is present but malformed, of an unknown version, or wrong.
    #[error("{field}: {why}")]
    BadSignature {
        /// The header, or the field of the body.
        field: &'static str,
        /// The rule it broke.
        why: &'static str,
    },
    /// The credential is right, but the request was signed too long ago, or too far ahead.
    #[error("{field} is {} s {} the clock, the limit is {} s", by.as_secs(), if *ahead { "ahead of" } else { "behind" }, limit.as_secs())]
    Expired {
        /// Where the timestamp stood.
        field: &'static str,
        /// Distance between the timestamp and the clock.
        by: Duration,
        /// Whether the timestamp lies in the future.
        ahead: bool,
        /// The largest distance accepted.
        limit: Duration,
    },
}

impl Refusal {
    /// The stable name of this refusal.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingHeader { .. } => "missing_header",
            Self::BadSignature { .. } => "bad_signature",
            Self::Expired { .. } => "expired",
        }
    }
}

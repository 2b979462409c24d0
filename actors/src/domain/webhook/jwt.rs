//! Takes a JSON web token apart (RFC 7519). What it says is believed only after `verify` checked its signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Longest token looked at; real ones are under a thousand bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// A token whose header names the algorithm that was asked for.
pub(super) struct Token<'t> {
    /// The signed bytes: header and claims as they were sent.
    pub(super) input: &'t [u8],
    pub(super) signature: &'t [u8],
    claims: Value,
}

impl<'t> Token<'t> {
    /// Reads the value of an `Authorization` header. The algorithm is the scheme's to choose, never the token's: one of
    /// another algorithm is none, whatever it is signed with.
    pub(super) fn read(value: &'t [u8], algorithm: &str) -> Option<Self> {
        let (kind, token) = value.split_at_checked(7)?;
        if !kind.eq_ignore_ascii_case(b"Bearer ") || token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let mut parts = token.trim_ascii().split(|byte| *byte == b'.');
        let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let input = token.trim_ascii().get(..header.len() + 1 + claims.len())?;
        if parts.next().is_some() || json(header)?.get("alg")?.as_str()? != algorithm {
            return None;
        }
        Some(Self { input, signature, claims: json(claims)? })
    }

    /// A claim that is text.
    pub(super) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// A claim that is a whole number, as it is written.
    pub(super) fn number(&self, claim: &str) -> Option<String> {
        self.claims.get(claim)?.as_u64().map(|number| number.to_string())
    }
}

fn json(part: &[u8]) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

//! Signs outbound deliveries by Standard Webhooks v1 and v1a, so that receivers can use a library they already have.
//!
//! Called by the delivery runner. While a secret is being rotated the delivery carries one signature per live
//! secret, and a receiver that knows either accepts it.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use steward_cluster::clock::Timestamp;

/// What secrets start with where people see them, so that leaked ones can be searched for.
const SECRET_PREFIX: &str = "whsec_";
/// The same for private keys, and for the public ones that belong to them.
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";

/// How long a key may be, by the standard.
const KEY_BYTES: RangeInclusive<usize> = 24..=64;

/// Standard base64; secrets and signatures in the wild come with and without padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a delivery could not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Nothing to sign with.
    #[error("the endpoint has no signing secret")]
    NoSecret,
    /// A secret is not base64 after an optional `whsec_`, or is empty.
    #[error("signing secret {index} is not whsec_ followed by base64")]
    BadSecret {
        /// Which of the given secrets.
        index: usize,
    },
    /// A dot in the id would let two deliveries share their signed bytes.
    #[error("the delivery id is empty or holds a character other than letters, digits, '_' and '-'")]
    BadId,
}

/// The three headers of a signed delivery.
///
/// # Errors
/// When there is no secret, a secret is malformed, or the id could be confused with another.
pub fn sign<S: AsRef<[u8]>>(
    id: &str,
    sent_at: Timestamp,
    body: &[u8],
    secrets: &[S],
) -> Result<[(&'static str, String); 3], SignError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if id.is_empty() || !id.bytes().all(plain) {
        return Err(SignError::BadId);
    }
    if secrets.is_empty() {
        return Err(SignError::NoSecret);
    }
    let seconds = (sent_at.0 / 1000).to_string();
    let mut signatures = Vec::with_capacity(secrets.len());
    for (index, secret) in secrets.iter().enumerate() {
        let pieces = [id.as_bytes(), b".", seconds.as_bytes(), b".", body];
        if let Some(key) = signing_key(secret.as_ref()) {
            signatures.push(format!("v1a,{}", BASE64.encode(key.sign(&pieces.concat()).to_bytes())));
            continue;
        }
        let key = key(secret.as_ref()).filter(|key| !key.is_empty()).ok_or(SignError::BadSecret { index })?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
        pieces.iter().for_each(|piece| mac.update(piece));
        signatures.push(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())));
    }
    Ok([("webhook-id", id.to_owned()), ("webhook-timestamp", seconds), ("webhook-signature", signatures.join(" "))])
}

/// The secret to show to the owner of an endpoint for this random key.
#[must_use]
pub fn secret(key: &[u8; 32]) -> String {
    format!("{SECRET_PREFIX}{}", BASE64.encode(key))
}

/// What receivers verify with, when a secret is a private key; none when it is shared with them.
#[must_use]
pub fn public_key(secret: &str) -> Option<String> {
    let key = signing_key(secret.as_bytes())?;
    Some(format!("{PUBLIC_PREFIX}{}", BASE64.encode(key.verifying_key().as_bytes())))
}

/// The private key behind a secret: base64 of its 32 bytes, or of those and the public key's.
fn signing_key(secret: &[u8]) -> Option<SigningKey> {
    let bytes = BASE64.decode(secret.trim_ascii().strip_prefix(PRIVATE_PREFIX.as_bytes())?).ok()?;
    match bytes.len() {
        32 => Some(SigningKey::from_bytes(bytes.as_slice().try_into().ok()?)),
        64 => SigningKey::from_keypair_bytes(bytes.as_slice().try_into().ok()?).ok(),
        _ => None,
    }
}

/// Whether an owner's own secret is of the standard's form: `whsec_` and base64 of 24 to 64 bytes, or `whsk_` and base64
/// of an Ed25519 private key.
#[must_use]
pub fn is_secret(secret: &str) -> bool {
    if signing_key(secret.as_bytes()).is_some() {
        return true;
    }
    secret.starts_with(SECRET_PREFIX) && key(secret.as_bytes()).is_some_and(|key| KEY_BYTES.contains(&key.len()))
}

/// The key behind a secret, when it is base64.
pub(super) fn key(secret: &[u8]) -> Option<Vec<u8>> {
    let secret = secret.trim_ascii();
    BASE64.decode(secret.strip_prefix(SECRET_PREFIX.as_bytes()).unwrap_or(secret)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::webhook::{Incoming, find, verify};

    const NOW: Timestamp = Timestamp(1_790_000_000_999);

    #[test]
    fn signs_as_the_official_library_does() {
        let text = include_str!("../../../../tests/fixtures/vectors/standard-webhooks-signed.json");
        let golden: Value = serde_json::from_str(text).unwrap();
        let secrets: Vec<&str> = golden["secrets"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for delivery in golden["deliveries"].as_array().unwrap() {
            let sent_at = Timestamp(delivery["sent_at_unix"].as_u64().unwrap() * 1000);
            let body = delivery["body"].as_str().unwrap().as_bytes();
            let headers = sign(delivery["id"].as_str().unwrap(), sent_at, body, &secrets).unwrap();
            let signatures: Vec<&str> =
                delivery["signatures"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert_eq!(headers[2], ("webhook-signature", signatures.join(" ")), "{delivery}");
        }
    }

    #[test]
    fn a_receiver_with_either_secret_accepts_it() {
        let (old, new) = (secret(&[1; 32]), secret(&[2; 32]));
        let headers = sign("dlv_1", NOW, b"{}", &[&old, &new]).unwrap().to_vec();
        let incoming = Incoming { method: "POST", url: "", headers: &headers, body: b"{}", raw: None };
        let judge = |secret: &str| verify(find("standard-webhooks-v1").unwrap(), &incoming, &[secret], NOW, None);
        assert_eq!(judge(&old).unwrap().dedup_ids, ["dlv_1"]);
        assert!(judge(&new).is_ok());
        assert_eq!(judge(&secret(&[3; 32])).unwrap_err().code(), "bad_signature");
    }

    #[test]
    fn what_cannot_be_signed_safely_is_refused() {
        let good = secret(&[1; 32]);
        assert_eq!(sign("a.b", NOW, b"", &[&good]), Err(SignError::BadId));
        assert_eq!(sign("", NOW, b"", &[&good]), Err(SignError::BadId));
        assert_eq!(sign::<&str>("a", NOW, b"", &[]), Err(SignError::NoSecret));
        assert_eq!(sign("a", NOW, b"", &[good.as_str(), "whsec_"]), Err(SignError::BadSecret { index: 1 }));
    }

    #[test]
    fn owners_may_bring_secrets_of_the_standards_form_only() {
        assert!(is_secret(&secret(&[0; 32])));
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!"] {
            assert!(!is_secret(bad), "{bad}");
        }
    }
}

//! Turns configured secrets into keys.

use std::borrow::Cow;

use base64::Engine;

use super::scheme::{Algorithm, KeyForm, Scheme};
use super::sign;

const ED25519_KEY_BYTES: usize = 32;
/// An uncompressed point of P-256: a tag and two coordinates.
const P256_POINT_BYTES: usize = 65;
/// The algorithm identifiers of public keys: object identifiers as DER has them.
const EC_P256: &[u8] = &[6, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
const RSA: &[u8] = &[6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 5, 0];
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 3;

/// The key of a configured secret, unless it is empty or not of the form the scheme needs.
pub(super) fn key<'s>(scheme: &Scheme, secret: &'s [u8]) -> Option<Cow<'s, [u8]>> {
    let key = match scheme.key {
        KeyForm::Text => Cow::Borrowed(secret),
        KeyForm::Whsec => Cow::Owned(sign::key(secret)?),
        KeyForm::Whpk => {
            let key = sign::BASE64.decode(secret.trim_ascii().strip_prefix(b"whpk_")?).ok()?;
            Cow::Owned(Some(key).filter(|key| key.len() == ED25519_KEY_BYTES)?)
        }
        KeyForm::Spki => Cow::Owned(public_key(secret, scheme.algorithm)?),
    };
    Some(key).filter(|key| !key.is_empty())
}

/// The key inside a `SubjectPublicKeyInfo` (RFC 5280, 4.1), if it is one for this algorithm.
fn public_key(text: &[u8], algorithm: Algorithm) -> Option<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.starts_with(b"-----"));
    let der = sign::BASE64.decode(lines.collect::<Vec<_>>().concat()).ok()?;
    let (info, []) = element(&der, SEQUENCE)? else { return None };
    let (identifier, rest) = element(info, SEQUENCE)?;
    let (bits, []) = element(rest, BIT_STRING)? else { return None };
    let key = bits.strip_prefix(&[0])?;
    let fits = match algorithm {
        Algorithm::EcdsaP256 => identifier == EC_P256 && key.len() == P256_POINT_BYTES,
        Algorithm::RsaSha256 => identifier == RSA,
        Algorithm::HmacSha256
        | Algorithm::HmacSha1
        | Algorithm::Sha256AfterSecret
        | Algorithm::Token
        | Algorithm::Ed25519 => false,
    };
    fits.then(|| key.to_vec())
}

/// The content of a DER element with this tag, and what follows it. Lengths of up to two bytes.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *der.strip_prefix(&[tag])? {
        [short @ 0..=0x7F, ref rest @ ..] => (usize::from(short), rest),
        [0x81, length, ref rest @ ..] => (usize::from(length), rest),
        [0x82, high, low, ref rest @ ..] => (usize::from(high) << 8 | usize::from(low), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

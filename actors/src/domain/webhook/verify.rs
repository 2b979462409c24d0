//! The engine: judges one request by one row of the scheme table. Called by the gateway for every webhook.
//!
//! Several secrets may be live while one is being rotated, and several signatures may come for the same reason;
//! any pair that matches is enough. The body is fed to the MAC where it lies; nothing copies it.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use steward_cluster::clock::Timestamp;
use subtle::ConstantTimeEq;

use super::body::Reader;
use super::scheme::{Algorithm, Encoding, KeyForm, Layout, Part, Scheme, SignatureAt, StampAt};
use super::{Incoming, Refusal, Verified, extract, sign, stamp};

/// Signatures tried per request; the largest number any scheme documents.
const SIGNATURES_MAX: usize = 100;

/// Longest signature text looked at, and room for its bytes: the longest MAC is 32 bytes.
const SIGNATURE_TEXT_BYTES_MAX: usize = 128;

/// Judges a request; `tolerance` replaces the scheme's own limit on the age of a delivery.
///
/// # Errors
/// The first rule the request breaks, in the order of invariant W2.
pub fn verify<S: AsRef<[u8]>>(
    scheme: &Scheme,
    incoming: &Incoming<'_>,
    secrets: &[S],
    now: Timestamp,
    tolerance: Option<Duration>,
) -> Result<Verified, Refusal> {
    let reader = Reader::new(*incoming, scheme.places(), scheme.batch);
    let evidence = Evidence::gather(scheme, &reader)?;
    let secret_index = matching_secret(scheme, &reader, &evidence, secrets)?;
    check_freshness(scheme, &reader, &evidence, now, tolerance)?;
    Ok(extract::describe(scheme, &reader, secret_index))
}

/// Whether a secret is of the form this scheme needs; asked before a source is stored with it.
#[must_use]
pub fn usable_secret(scheme: &Scheme, secret: &[u8]) -> bool {
    key(scheme, secret).is_some()
}

/// The credentials of a request, all present but not yet believed.
struct Evidence<'r> {
    signatures: Vec<Cow<'r, [u8]>>,
    stamp: Option<Cow<'r, [u8]>>,
}

impl<'r> Evidence<'r> {
    fn gather(scheme: &Scheme, reader: &'r Reader<'_>) -> Result<Self, Refusal> {
        let missing = |field| Refusal::MissingHeader { field };
        let signatures: Vec<_> = match scheme.signature {
            SignatureAt::Place(place) => reader.value(place).into_iter().collect(),
            SignatureAt::Numbered(prefix) => (1..=SIGNATURES_MAX)
                .map_while(|number| reader.header(&format!("{prefix}{number}")))
                .map(Cow::Borrowed)
                .collect(),
        };
        let first = signatures.first().ok_or_else(|| missing(scheme.signature_field()))?;
        for part in scheme.signed {
            if let Part::Value(place) = part {
                reader.value(*place).ok_or_else(|| missing(place.field()))?;
            }
        }
        let stamp = match scheme.stamp.map(|stamp| stamp.at) {
            Some(StampAt::Place(place)) if signs_stamp(scheme) => {
                Some(reader.value(place).ok_or_else(|| missing(place.field()))?)
            }
            Some(StampAt::Pair(key)) => {
                let Some(value) = pair(first, scheme.layout, key) else {
                    return Err(bad(scheme, "has no timestamp in it"));
                };
                Some(Cow::Owned(value.to_vec()))
            }
            // A time inside the signed body counts only once the signature is known to be right.
            Some(StampAt::Place(_)) | None => None,
        };
        for (name, expected) in scheme.fixed {
            let value = reader.header(name).ok_or_else(|| missing(name))?;
            if !value.eq_ignore_ascii_case(expected.as_bytes()) {
                return Err(Refusal::BadSignature { field: name, why: "is not a version this scheme knows" });
            }
        }
        Ok(Self { signatures, stamp })
    }
}

/// The first secret that explains one of the signatures.
fn matching_secret<S: AsRef<[u8]>>(
    scheme: &Scheme,
    reader: &Reader<'_>,
    evidence: &Evidence<'_>,
    secrets: &[S],
) -> Result<usize, Refusal> {
    let candidates = candidates(scheme, evidence);
    if candidates.is_empty() {
        return Err(bad(scheme, "holds no signature of the form and version this scheme requires"));
    }
    let mut usable = false;
    for (index, secret) in secrets.iter().enumerate() {
        let Some(key) = key(scheme, secret.as_ref()) else { continue };
        usable = true;
        let expected = expected_tag(scheme, reader, evidence, &key);
        if candidates.iter().any(|candidate| bool::from(expected.as_slice().ct_eq(candidate))) {
            return Ok(index);
        }
    }
    Err(bad(scheme, if usable { "matches none of the configured secrets" } else { "no usable secret is configured" }))
}

/// The signatures in the request, decoded; those of unknown version or broken form are left out.
fn candidates(scheme: &Scheme, evidence: &Evidence<'_>) -> Vec<Tag> {
    let values = evidence.signatures.iter();
    let texts = values.flat_map(|value| signature_texts(value, scheme.layout));
    texts.take(SIGNATURES_MAX).filter_map(|text| decode(text, scheme)).collect()
}

fn signature_texts(value: &[u8], layout: Layout) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    match layout {
        Layout::Bare => Box::new(std::iter::once(value)),
        Layout::Prefixed(prefix) => Box::new(value.strip_prefix(prefix.as_bytes()).into_iter()),
        Layout::Pairs { separator, signature } => {
            Box::new(pairs(value, separator).filter(move |(key, _)| *key == signature.as_bytes()).map(|(_, text)| text))
        }
        Layout::Versioned(version) => Box::new(
            value
                .split(u8::is_ascii_whitespace)
                .filter_map(move |entry| entry.strip_prefix(version.as_bytes())?.strip_prefix(b",")),
        ),
    }
}

fn pairs(value: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(move |byte| *byte == separator).filter_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        Some((entry.get(..at)?.trim_ascii(), entry.get(at + 1..)?.trim_ascii()))
    })
}

fn pair<'v>(value: &'v [u8], layout: Layout, key: &str) -> Option<&'v [u8]> {
    let Layout::Pairs { separator, .. } = layout else { return None };
    pairs(value, separator).find(|(name, _)| *name == key.as_bytes()).map(|(_, text)| text)
}

/// A MAC, or the hash that stands for a token: tokens differ in length, their hashes do not.
type Tag = Vec<u8>;

fn decode(text: &[u8], scheme: &Scheme) -> Option<Tag> {
    if matches!(scheme.algorithm, Algorithm::Token) {
        let token = match scheme.encoding {
            Encoding::Base64 => sign::BASE64.decode(text).ok()?,
            Encoding::Hex => hex::decode(text).ok()?,
            Encoding::Plain => text.to_vec(),
        };
        return Some(Sha256::digest(token).to_vec());
    }
    if text.len() > SIGNATURE_TEXT_BYTES_MAX {
        return None;
    }
    match scheme.encoding {
        Encoding::Hex => hex::decode(text).ok(),
        Encoding::Base64 => sign::BASE64.decode(text).ok(),
        Encoding::Plain => Some(text.to_vec()),
    }
}

/// The key of a configured secret, unless it is empty or not of the form the scheme needs.
fn key<'s>(scheme: &Scheme, secret: &'s [u8]) -> Option<Cow<'s, [u8]>> {
    let key = match scheme.key {
        KeyForm::Text => Cow::Borrowed(secret),
        KeyForm::Whsec => Cow::Owned(sign::key(secret)?),
    };
    Some(key).filter(|key| !key.is_empty())
}

fn expected_tag(scheme: &Scheme, reader: &Reader<'_>, evidence: &Evidence<'_>, key: &[u8]) -> Tag {
    match scheme.algorithm {
        Algorithm::HmacSha256 => {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
            feed(scheme, reader, evidence, |bytes| mac.update(bytes));
            mac.finalize().into_bytes().to_vec()
        }
        Algorithm::HmacSha1 => {
            let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
            feed(scheme, reader, evidence, |bytes| mac.update(bytes));
            mac.finalize().into_bytes().to_vec()
        }
        Algorithm::Sha256AfterSecret => {
            let mut hash = Sha256::new_with_prefix(key);
            feed(scheme, reader, evidence, |bytes| Digest::update(&mut hash, bytes));
            hash.finalize().to_vec()
        }
        Algorithm::Token => Sha256::digest(key).to_vec(),
    }
}

fn feed(scheme: &Scheme, reader: &Reader<'_>, evidence: &Evidence<'_>, mut update: impl FnMut(&[u8])) {
    for part in scheme.signed {
        match part {
            Part::Text(text) => update(text.as_bytes()),
            Part::Stamp => update(evidence.stamp.as_deref().unwrap_or_default()),
            Part::Value(place) => update(reader.value(*place).as_deref().unwrap_or_default()),
            Part::Method => update(reader.incoming.method.as_bytes()),
            Part::Url => update(reader.incoming.url.as_bytes()),
            Part::UrlUnescaped => unescape(reader.incoming.url, &mut update),
            Part::Body => update(reader.incoming.body),
        }
    }
}

/// HubSpot signs the URL with exactly these escapes undone; others, such as `%20`, stay.
fn unescape(url: &str, update: &mut impl FnMut(&[u8])) {
    let mut rest = url.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let (before, escape) = rest.split_at(at);
        update(before);
        let taken = escape.len().min(3);
        let (escape, after) = escape.split_at(taken);
        let plain: &[u8] = match escape.to_ascii_uppercase().as_slice() {
            b"%3A" => b":",
            b"%2F" => b"/",
            b"%3F" => b"?",
            b"%40" => b"@",
            b"%21" => b"!",
            b"%24" => b"$",
            b"%27" => b"'",
            b"%28" => b"(",
            b"%29" => b")",
            b"%2A" => b"*",
            b"%2C" => b",",
            b"%3B" => b";",
            _ => escape,
        };
        update(plain);
        rest = after;
    }
    update(rest);
}

fn check_freshness(
    scheme: &Scheme,
    reader: &Reader<'_>,
    evidence: &Evidence<'_>,
    now: Timestamp,
    tolerance: Option<Duration>,
) -> Result<(), Refusal> {
    let Some(stamp) = scheme.stamp else { return Ok(()) };
    let (field, late) = match stamp.at {
        StampAt::Place(place) => (place.field(), reader.value(place)),
        StampAt::Pair(_) => (scheme.signature_field(), None),
    };
    let text = evidence.stamp.as_ref().or(late.as_ref());
    let sent = text.and_then(|text| stamp::parse(text, stamp.form));
    let sent = sent.ok_or(Refusal::BadSignature { field, why: "is not a time of the form this scheme requires" })?;
    let now = stamp::round(now, stamp.form);
    let limit = tolerance.unwrap_or(stamp.tolerance);
    let by = now.since(sent).max(sent.since(now));
    if by > limit {
        return Err(Refusal::Expired { field, by, ahead: sent > now, limit });
    }
    Ok(())
}

fn signs_stamp(scheme: &Scheme) -> bool {
    scheme.signed.iter().any(|part| matches!(part, Part::Stamp))
}

fn bad(scheme: &Scheme, why: &'static str) -> Refusal {
    Refusal::BadSignature { field: scheme.signature_field(), why }
}

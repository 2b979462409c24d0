//! The engine: judges one request by one row of the scheme table. Called by the gateway for every webhook.
//!
//! Several secrets may be live while one is being rotated, and several signatures may come for the same reason;
//! any pair that matches is enough. The body is fed to the MAC where it lies; nothing copies it.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use steward_cluster::clock::Timestamp;
use subtle::ConstantTimeEq as _;

use super::body::Reader;
use super::evidence::{Evidence, SIGNATURES_MAX, signature_texts};
use super::keys::key;
use super::scheme::{Algorithm, Claim, Encoding, Scheme, SignatureAt, StampAt};
use super::signed::{self, Proof, Tag};
use super::{Incoming, Refusal, Verified, extract, sign, stamp};

/// Longest signature text looked at: the longest is of an RSA key of 4,096 bits.
const SIGNATURE_TEXT_BYTES_MAX: usize = 700;

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
    let reader = Reader::new(*incoming, scheme.places(), scheme.items);
    let evidence = Evidence::gather(scheme, &reader)?;
    let secret_index = matching_secret(scheme, &reader, &evidence, secrets)?;
    check_claims(scheme, incoming, &evidence)?;
    check_freshness(scheme, &reader, &evidence, now, tolerance)?;
    Ok(extract::describe(scheme, &reader, secret_index))
}

/// Whether a secret is of the form this scheme needs; asked before a source is stored with it.
#[must_use]
pub fn usable_secret(scheme: &Scheme, secret: &[u8]) -> bool {
    key(scheme, secret).is_some()
}

/// Whether two secrets are the same, in constant time for secrets of one length.
#[must_use]
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    bool::from(Sha256::digest(one).ct_eq(&Sha256::digest(other)))
}

/// The first secret that explains one of the signatures; where every event has its own, all of them have to be explained.
fn matching_secret<S: AsRef<[u8]>>(
    scheme: &Scheme,
    reader: &Reader<'_>,
    evidence: &Evidence<'_>,
    secrets: &[S],
) -> Result<usize, Refusal> {
    let candidates = candidates(scheme, evidence);
    let needs_all = matches!(scheme.signature, SignatureAt::EveryItem(_));
    if candidates.is_empty() || (needs_all && candidates.len() < evidence.signatures.len()) {
        return Err(bad(scheme, "holds no signature of the form and version this scheme requires"));
    }
    // Made one after the other: while a secret is being rotated the first usually explains all there is.
    let keys = secrets.iter().enumerate();
    let keys = keys.filter_map(|(index, secret)| Some((index, key(scheme, secret.as_ref())?)));
    let (mut open, mut first, mut is_usable) = (candidates, None, false);
    for (index, key) in keys {
        is_usable = true;
        // The second form is put together only when the usual one explains too little.
        for form in signed::forms(scheme) {
            let proof = Proof::new(scheme, form, reader, evidence, &key);
            let count = open.len();
            open.retain(|(of, tag)| of.is_some_and(|of| of != index) || !proof.explains(tag));
            if open.len() < count {
                first = first.or(Some(index));
            }
            if let Some(first) = first.filter(|_| !needs_all || open.is_empty()) {
                return Ok(first);
            }
        }
    }
    Err(bad(
        scheme,
        if is_usable { "matches none of the configured secrets" } else { "no usable secret is configured" },
    ))
}

/// A decoded signature, and the number of the one secret it was made with, where the scheme tells.
type Candidate = (Option<usize>, Tag);

/// The signatures in the request, decoded; those of unknown version or broken form are left out.
fn candidates(scheme: &Scheme, evidence: &Evidence<'_>) -> Vec<Candidate> {
    let limit = match scheme.signature {
        // Each has to be looked at, and costs no more than reading the body did.
        SignatureAt::EveryItem(_) => usize::MAX,
        SignatureAt::Place(_) | SignatureAt::Numbered(_) | SignatureAt::Each(_) => SIGNATURES_MAX,
    };
    let values = evidence.signatures.iter();
    let texts = values.flat_map(|(of, value)| signature_texts(value, scheme.layout).map(move |text| (*of, text)));
    texts.take(limit).filter_map(|(of, text)| Some((of, decode(text, scheme)?))).collect()
}

fn decode(text: &[u8], scheme: &Scheme) -> Option<Tag> {
    if matches!(scheme.algorithm, Algorithm::Token) {
        let token = match scheme.encoding {
            Encoding::Base64 => sign::BASE64.decode(text).ok()?,
            Encoding::Base64Url => URL_SAFE_NO_PAD.decode(text).ok()?,
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
        Encoding::Base64Url => URL_SAFE_NO_PAD.decode(text).ok(),
        Encoding::Plain => Some(text.to_vec()),
    }
}

/// Whether the token speaks of this request.
fn check_claims(scheme: &Scheme, incoming: &Incoming<'_>, evidence: &Evidence<'_>) -> Result<(), Refusal> {
    for (name, claim) in scheme.claims {
        let said = evidence.token.as_ref().and_then(|token| token.text(name));
        let (is_so, why) = match claim {
            Claim::Url => (said == Some(incoming.url), "names another URL than the source's public one"),
            Claim::BodySha256 => {
                let hash = hex::encode(Sha256::digest(incoming.sent()));
                (said.is_some_and(|said| said.eq_ignore_ascii_case(&hash)), "names the hash of another body")
            }
        };
        if !is_so {
            return Err(Refusal::BadSignature { field: name, why });
        }
    }
    Ok(())
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
        StampAt::ExpiryClaim(claim) => {
            let number = evidence.token.as_ref().and_then(|token| token.number(claim));
            (claim, number.map(|number| Cow::Owned(number.into_bytes())))
        }
    };
    let text = evidence.stamp.as_ref().or(late.as_ref());
    let sent = text.and_then(|text| stamp::parse(text, stamp.form));
    let sent = sent.ok_or(Refusal::BadSignature { field, why: "is not a time of the form this scheme requires" })?;
    let now = stamp::round(now, stamp.form);
    let limit = tolerance.unwrap_or(stamp.tolerance);
    if let StampAt::ExpiryClaim(_) = stamp.at {
        // Good until then, but no longer; and whoever issues tokens may do so for as long as he likes.
        let by = now.since(sent);
        let is_over = now >= sent && by >= limit;
        return if is_over { Err(Refusal::Expired { field, by, ahead: false, limit }) } else { Ok(()) };
    }
    let by = now.since(sent).max(sent.since(now));
    if by > limit {
        return Err(Refusal::Expired { field, by, ahead: sent > now, limit });
    }
    Ok(())
}

pub(super) fn bad(scheme: &Scheme, why: &'static str) -> Refusal {
    Refusal::BadSignature { field: scheme.signature_field(), why }
}

//! Puts the signed bytes together, and says what a signature made with one secret looks like.

use std::iter;

use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::body::Reader;
use super::evidence::Evidence;
use super::scheme::{Algorithm, Part, Scheme};
use super::{Incoming, twilio};

/// A MAC, or the hash that stands for a token: tokens differ in length, their hashes do not.
pub(super) type Tag = Vec<u8>;

/// The forms in which senders put the signed bytes together, the usual one first.
pub(super) fn forms(scheme: &Scheme) -> impl Iterator<Item = &'static [Part]> + use<> {
    let also = Some(scheme.signed_also).filter(|form| !form.is_empty());
    iter::once(scheme.signed).chain(also)
}

/// What a signature made with one secret, over one form of the signed bytes, looks like.
pub(super) enum Proof<'k> {
    Tag(Tag),
    /// The owner of the public key made it, of this message.
    Key {
        key: UnparsedPublicKey<&'k [u8]>,
        message: Vec<u8>,
    },
}

impl<'k> Proof<'k> {
    pub(super) fn new(
        scheme: &Scheme,
        form: &'static [Part],
        reader: &Reader<'_>,
        evidence: &Evidence<'_>,
        key: &'k [u8],
    ) -> Self {
        let signed = Signed { form, reader, evidence };
        let algorithm: &'static dyn VerificationAlgorithm = match scheme.algorithm {
            Algorithm::HmacSha256 => return Self::Tag(signed.mac::<Hmac<Sha256>>(key)),
            Algorithm::HmacSha1 => return Self::Tag(signed.mac::<Hmac<Sha1>>(key)),
            Algorithm::Sha256AfterSecret => return Self::Tag(signed.hash_after(key)),
            Algorithm::Token => return Self::Tag(Sha256::digest(key).to_vec()),
            Algorithm::Ed25519 => &ED25519,
            Algorithm::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
        };
        Self::Key { key: UnparsedPublicKey::new(algorithm, key), message: signed.message() }
    }

    pub(super) fn explains(&self, signature: &[u8]) -> bool {
        match self {
            Self::Tag(tag) => bool::from(tag.as_slice().ct_eq(signature)),
            Self::Key { key, message } => key.verify(message, signature).is_ok(),
        }
    }
}

/// Room for what is signed beside the body.
const TEXT_BYTES: usize = 512;

/// The signed bytes, put together in one form.
struct Signed<'e, 'r> {
    form: &'static [Part],
    reader: &'e Reader<'r>,
    evidence: &'e Evidence<'e>,
}

impl Signed<'_, '_> {
    fn hash_after(&self, secret: &[u8]) -> Tag {
        let mut hash = Sha256::new_with_prefix(secret);
        self.feed(|bytes| Digest::update(&mut hash, bytes));
        hash.finalize().to_vec()
    }

    fn mac<M: Mac + KeyInit>(&self, key: &[u8]) -> Tag {
        let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
        self.feed(|bytes| mac.update(bytes));
        mac.finalize().into_bytes().to_vec()
    }

    /// In one piece, for signatures that cannot be checked otherwise.
    fn message(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.reader.incoming.body.len() + TEXT_BYTES);
        self.feed(|bytes| message.extend_from_slice(bytes));
        message
    }

    fn feed(&self, mut update: impl FnMut(&[u8])) {
        let Incoming { method, url, .. } = self.reader.incoming;
        let body = self.reader.incoming.sent();
        for part in self.form {
            match part {
                Part::Text(text) => update(text.as_bytes()),
                Part::Stamp => update(self.evidence.stamp.as_deref().unwrap_or_default()),
                Part::Value(place) => update(self.reader.value(*place).as_deref().unwrap_or_default()),
                Part::Method => update(method.as_bytes()),
                Part::Url => update(url.as_bytes()),
                Part::UrlUnescaped => unescape(url, &mut update),
                Part::UrlOtherPort => update(twilio::other_port(url).as_deref().unwrap_or(url).as_bytes()),
                Part::Body => update(body),
                Part::BodyEscaped => escape(body, &mut update),
                Part::TwilioBody => twilio::body(self.reader, &mut update),
                Part::TokenInput => update(self.evidence.token.as_ref().map_or(&[], |token| token.input)),
            }
        }
    }
}

/// Box signs its bodies with what is beyond ASCII as `\uXXXX`, in UTF-16, and sends them without.
fn escape(body: &[u8], update: &mut impl FnMut(&[u8])) {
    let Ok(text) = std::str::from_utf8(body) else { return update(body) };
    for char in text.chars() {
        if char.is_ascii() {
            update(char.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| update(format!("\\u{unit:04x}").as_bytes()));
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

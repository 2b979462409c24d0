//! The vocabulary of the scheme table: what a row can say. Read by the engine in `verify`.

use std::time::Duration;

use crate::domain::account::Trust;

/// How one platform proves that a request is its own, and where the request says what it is.
#[derive(Debug)]
pub struct Scheme {
    /// The name sources are configured with.
    pub name: &'static str,
    /// The platform.
    pub provider: &'static str,
    /// Where the signature or token stands.
    pub(super) signature: SignatureAt,
    /// How signatures are laid out in that value.
    pub(super) layout: Layout,
    /// How one signature is written.
    pub(super) encoding: Encoding,
    /// What is computed and compared.
    pub(super) algorithm: Algorithm,
    /// How the configured secret becomes a key.
    pub(super) key: KeyForm,
    /// The signed bytes, piece by piece.
    pub(super) signed: &'static [Part],
    /// A second way in which senders put the signed bytes together; empty when there is none.
    pub(super) signed_also: &'static [Part],
    /// What the claims of a token must say.
    pub(super) claims: &'static [(&'static str, Claim)],
    /// Where the delivery time stands, for schemes that have one.
    pub(super) stamp: Option<Stamp>,
    /// Headers that must hold exactly this value.
    pub(super) fixed: &'static [Fixed],
    /// Where the events stand in a body. Places in the body are relative to each.
    pub(super) items: Items,
    /// The parts of an event's id, joined by colons; no id unless all are there.
    pub(super) dedup: &'static [Place],
    /// Where the sender-side account stands; the first place that has one counts.
    pub(super) tenant: &'static [Place],
    /// Where the event type stands; the first place that has one counts.
    pub(super) event_type: &'static [Place],
    /// How much of the request the credential vouches for.
    pub trust: Trust,
    /// The challenge this platform sends before or between events.
    pub(super) challenge: Challenge,
    /// What this platform takes for a receipt, beside the status.
    pub(super) receipt: Receipt,
}

/// Where a value of the request stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Header(&'static str),
    /// The header that is present, of two spellings.
    EitherHeader(&'static str, &'static str),
    /// A scalar of the JSON body, by pointer.
    Json(&'static str),
    /// The scheme, host and port of a URL in the JSON body, by pointer.
    JsonOrigin(&'static str),
    /// A field of a form body.
    Form(&'static str),
}

/// Where signatures stand.
#[derive(Clone, Copy, Debug)]
pub(super) enum SignatureAt {
    Place(Place),
    /// Numbered headers, from 1 up; a match in any of them counts.
    Numbered(&'static str),
    /// One header for each secret, in the order of the secrets; at least one of them is there.
    Each(&'static [&'static str]),
    /// In every event of the body, and each of them has to match.
    EveryItem(Place),
}

/// A header that says how the sender signs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixed {
    pub(super) header: &'static str,
    /// The key it stands under, when the header is a list of `key=value`.
    pub(super) pair: Option<&'static str>,
    pub(super) value: &'static str,
}

/// Where the events of a body stand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Items {
    /// The body is one.
    One,
    /// The body may be an array of them.
    Array,
    /// An array under this key of the body.
    Under(&'static str),
    /// The notifications of a SOAP envelope.
    Soap,
}

/// What a claim of a token must say about the request that carries it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim {
    /// The URL the sender was given.
    Url,
    /// The SHA-256 of the body, in hex.
    BodySha256,
}

/// How signatures are laid out in one value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    /// The value is one signature.
    Bare,
    /// One signature behind this prefix, which is required.
    Prefixed(&'static str),
    /// `key=value` pairs; several signatures may stand under the one key that counts.
    Pairs { separator: u8, signature: &'static str },
    /// `version,signature` separated by spaces; only this version counts.
    Versioned(&'static str),
    /// A JSON web token behind `Bearer`, of this algorithm and no other.
    Jwt(&'static str),
}

/// How one signature is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Encoding {
    Hex,
    Base64,
    /// With `-` and `_`, without padding.
    Base64Url,
    /// As it is: static tokens.
    Plain,
}

/// What is computed and compared.
#[derive(Clone, Copy, Debug)]
pub(super) enum Algorithm {
    HmacSha256,
    HmacSha1,
    /// SHA-256 over the secret followed by the signed bytes; weaker than HMAC, but some senders use it.
    Sha256AfterSecret,
    /// The secret itself is sent.
    Token,
    /// The secret is the sender's public key, as for the rest.
    Ed25519,
    /// ECDSA over P-256 with SHA-256, in DER.
    EcdsaP256,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RsaSha256,
}

/// How the configured secret becomes a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyForm {
    /// Its bytes as they are.
    Text,
    /// Base64, behind a `whsec_` that may be left out.
    Whsec,
    /// Base64 of 32 bytes, behind `whpk_`.
    Whpk,
    /// Base64 of a DER `SubjectPublicKeyInfo`, with or without PEM lines.
    Spki,
}

/// One piece of the signed bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Text(&'static str),
    /// The timestamp exactly as it was sent.
    Stamp,
    /// Another value of the request, which must be present.
    Value(Place),
    Method,
    Url,
    /// The URL with the escapes undone that HubSpot's signer does not write.
    UrlUnescaped,
    /// The URL with its default port, or without it: as it is not.
    UrlOtherPort,
    Body,
    /// The body with everything beyond ASCII as `\uXXXX`.
    BodyEscaped,
    /// What Twilio signs of a body.
    TwilioBody,
    /// The token's first two parts.
    TokenInput,
}

/// The delivery time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) at: StampAt,
    pub(super) form: StampForm,
    /// The largest distance from the clock accepted, unless the source is configured otherwise.
    pub(super) tolerance: Duration,
}

/// Where the delivery time stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum StampAt {
    Place(Place),
    /// Under this key of the signature value (`t=…,v1=…`).
    Pair(&'static str),
    /// In this claim of the token, which is good until then.
    ExpiryClaim(&'static str),
}

/// How the delivery time is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum StampForm {
    UnixSeconds,
    UnixMillis,
    Rfc3339,
}

/// What a platform takes for a receipt of its events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receipt {
    /// Any body.
    Any,
    /// A SOAP envelope that says so; anything else is sent again for a day.
    SoapAck,
}

/// The challenge a platform sends to see whether the receiver holds the secret, or is there at all.
#[derive(Clone, Copy, Debug)]
pub(super) enum Challenge {
    None,
    /// `endpoint.url_validation`: return the token and its MAC.
    Zoom,
    /// `url_verification`: echo `challenge`.
    Slack,
    /// Echo `X-Front-Challenge`.
    Front,
    /// The first message of a channel: acknowledge it, it is no event.
    GoogleSync,
    /// Echo `validationToken` of the URL. It comes without any credential.
    Graph,
    /// Echo `X-Hook-Secret`, and sign with it from then on.
    Asana,
}

impl Challenge {
    /// The header by which it is known, or that it brings.
    fn header(self) -> Option<&'static str> {
        match self {
            Self::Front => Some("X-Front-Challenge"),
            Self::GoogleSync => Some("X-Goog-Resource-State"),
            Self::Asana => Some("X-Hook-Secret"),
            Self::None | Self::Zoom | Self::Slack | Self::Graph => None,
        }
    }
}

impl Place {
    /// What to call this place in a refusal.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Header(name)
            | Self::EitherHeader(name, _)
            | Self::Json(name)
            | Self::JsonOrigin(name)
            | Self::Form(name) => name,
        }
    }
}

impl Scheme {
    /// Every place this row names.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let signature = match self.signature {
            SignatureAt::Place(place) | SignatureAt::EveryItem(place) => Some(place),
            SignatureAt::Numbered(_) | SignatureAt::Each(_) => None,
        };
        let stamp = self.stamp.and_then(|stamp| match stamp.at {
            StampAt::Place(place) => Some(place),
            StampAt::Pair(_) | StampAt::ExpiryClaim(_) => None,
        });
        let signed =
            self.signed.iter().filter_map(|part| if let Part::Value(place) = part { Some(*place) } else { None });
        let described = [self.dedup, self.tenant, self.event_type].into_iter().flatten().copied();
        signature.into_iter().chain(stamp).chain(signed).chain(described)
    }

    /// Whether a request is judged, or described, by the header of this name.
    #[must_use]
    pub fn reads_header(&self, name: &str) -> bool {
        let is = |one: &str| one.eq_ignore_ascii_case(name);
        let at_place = |place| match place {
            Place::Header(one) => is(one),
            Place::EitherHeader(one, other) => is(one) || is(other),
            Place::Json(_) | Place::JsonOrigin(_) | Place::Form(_) => false,
        };
        let is_signature = match self.signature {
            SignatureAt::Place(_) | SignatureAt::EveryItem(_) => false, // Among the places.
            SignatureAt::Numbered(prefix) => {
                name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            }
            SignatureAt::Each(headers) => headers.iter().any(|header| is(header)),
        };
        is_signature
            || self.places().any(at_place)
            || self.fixed.iter().any(|fixed| is(fixed.header))
            || self.challenge.header().is_some_and(is)
    }

    /// What to call the signature in a refusal.
    pub(super) fn signature_field(&self) -> &'static str {
        match self.signature {
            SignatureAt::Place(place) | SignatureAt::EveryItem(place) => place.field(),
            SignatureAt::Numbered(prefix) => prefix,
            SignatureAt::Each(headers) => headers.first().copied().unwrap_or_default(),
        }
    }

    /// Whether the platform makes the secret and brings it with a handshake.
    #[must_use]
    pub fn brings_secrets(&self) -> bool {
        matches!(self.challenge, Challenge::Asana)
    }

    /// How far from the clock a delivery may be stamped by default; none when the scheme carries no time.
    #[must_use]
    pub fn tolerance(&self) -> Option<Duration> {
        self.stamp.map(|stamp| stamp.tolerance)
    }
}

//! Every scheme this verifier knows, one row each. A new platform of a known kind is a new row and
//! vectors for it; what a row can say stands in `scheme`.
//!
//! # Decisions
//! - Limits on age are the platform's own where it has one. Zoom and Zendesk name none, so theirs are ours; a
//!   source may widen any of them, because deduplication does the work against replays.
//! - A scheme that is not here is unknown and refused by name. There is no "no signature" scheme.

mod commerce;
mod customers;
mod work;

use std::time::Duration;

use super::scheme::{
    Algorithm, Challenge, Claim, Encoding, Fixed, Items, KeyForm, Layout, Part, Place, Receipt, Scheme, SignatureAt,
    Stamp, StampAt, StampForm,
};
use crate::domain::account::Trust;

/// Every scheme, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Scheme> {
    [work::SCHEMES, customers::SCHEMES, commerce::SCHEMES].into_iter().flatten()
}

/// The scheme of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scheme> {
    all().find(|scheme| scheme.name == name)
}

/// What most platforms do: hex HMAC-SHA256 of the body, nothing else.
const PLAIN: Scheme = Scheme {
    name: "",
    provider: "",
    signature: header(""),
    layout: Layout::Bare,
    encoding: Encoding::Hex,
    algorithm: Algorithm::HmacSha256,
    key: KeyForm::Text,
    signed: &[Part::Body],
    stamp: None,
    signed_also: &[],
    claims: &[],
    fixed: &[],
    items: Items::One,
    dedup: &[],
    tenant: &[],
    event_type: &[],
    trust: Trust::Full,
    challenge: Challenge::None,
    receipt: Receipt::Any,
};

/// Stripe's shape: `t=…,v1=…` over `t.body`.
const STAMPED_PAIRS: Scheme = Scheme {
    layout: Layout::Pairs { separator: b',', signature: "v1" },
    signed: &[Part::Stamp, Part::Text("."), Part::Body],
    stamp: stamped_pair("t", 300),
    ..PLAIN
};

/// Standard Webhooks v1 by its own header names.
const STANDARD: Scheme = Scheme {
    signature: header("webhook-signature"),
    layout: Layout::Versioned("v1"),
    encoding: Encoding::Base64,
    key: KeyForm::Whsec,
    signed: &[Part::Value(Place::Header("webhook-id")), Part::Text("."), Part::Stamp, Part::Text("."), Part::Body],
    stamp: stamped(Place::Header("webhook-timestamp"), StampForm::UnixSeconds, 300),
    dedup: &[Place::Header("webhook-id")],
    event_type: &[Place::Json("/type")],
    ..PLAIN
};

const HUBSPOT: Scheme = Scheme {
    provider: "hubspot",
    signature: header("X-HubSpot-Signature"),
    algorithm: Algorithm::Sha256AfterSecret,
    items: Items::Array,
    dedup: &[
        Place::Json("/portalId"),
        Place::Json("/subscriptionId"),
        Place::Json("/eventId"),
        Place::Json("/occurredAt"),
    ],
    tenant: &[Place::Json("/portalId")],
    event_type: &[Place::Json("/subscriptionType")],
    ..PLAIN
};

const TOKEN: Scheme =
    Scheme { encoding: Encoding::Plain, algorithm: Algorithm::Token, signed: &[], trust: Trust::TokenOnly, ..PLAIN };

const BASIC: Scheme = Scheme {
    signature: header("Authorization"),
    layout: Layout::Prefixed("Basic "),
    encoding: Encoding::Base64,
    ..TOKEN
};

/// A JSON web token behind `Bearer`, good until its `exp`.
const JWT: Scheme = Scheme {
    signature: header("Authorization"),
    encoding: Encoding::Base64Url,
    signed: &[Part::TokenInput],
    stamp: Some(Stamp { at: StampAt::ExpiryClaim("exp"), form: StampForm::UnixSeconds, tolerance: Duration::ZERO }),
    ..PLAIN
};

/// Twilio, by any of its keys.
const TWILIO: Scheme = Scheme {
    provider: "twilio",
    signature: header("X-Twilio-Signature"),
    encoding: Encoding::Base64,
    signed: &[Part::Url, Part::TwilioBody],
    signed_also: &[Part::UrlOtherPort, Part::TwilioBody],
    dedup: &[Place::Header("I-Twilio-Idempotency-Token")],
    tenant: &[Place::Form("AccountSid"), Place::Json("/AccountSid")],
    event_type: &[
        Place::Json("/EventType"),
        Place::Form("EventType"),
        Place::Form("CallStatus"),
        Place::Form("MessageStatus"),
    ],
    ..PLAIN
};

const fn header(name: &'static str) -> SignatureAt {
    SignatureAt::Place(Place::Header(name))
}

const fn stamped(place: Place, form: StampForm, tolerance_s: u64) -> Option<Stamp> {
    Some(Stamp { at: StampAt::Place(place), form, tolerance: Duration::from_secs(tolerance_s) })
}

const fn stamped_pair(key: &'static str, tolerance_s: u64) -> Option<Stamp> {
    let tolerance = Duration::from_secs(tolerance_s);
    Some(Stamp { at: StampAt::Pair(key), form: StampForm::UnixSeconds, tolerance })
}

//! Where money and content move: payments, shops, contracts, video; and the senders of the common standard.

use super::*;

pub(super) static SCHEMES: &[Scheme] = &[
    Scheme { name: "standard-webhooks-v1", provider: "standard-webhooks", ..STANDARD },
    Scheme {
        name: "standard-webhooks-v1a",
        provider: "standard-webhooks",
        layout: Layout::Versioned("v1a"),
        algorithm: Algorithm::Ed25519,
        key: KeyForm::Whpk,
        ..STANDARD
    },
    Scheme {
        name: "svix-v1",
        provider: "svix",
        signature: SignatureAt::Place(Place::EitherHeader("svix-signature", "webhook-signature")),
        signed: &[
            Part::Value(Place::EitherHeader("svix-id", "webhook-id")),
            Part::Text("."),
            Part::Stamp,
            Part::Text("."),
            Part::Body,
        ],
        stamp: stamped(Place::EitherHeader("svix-timestamp", "webhook-timestamp"), StampForm::UnixSeconds, 300),
        dedup: &[Place::EitherHeader("svix-id", "webhook-id")],
        ..STANDARD
    },
    Scheme {
        name: "stripe-v1",
        provider: "stripe",
        signature: header("Stripe-Signature"),
        dedup: &[Place::Json("/id")],
        tenant: &[Place::Json("/account")],
        event_type: &[Place::Json("/type")],
        ..STAMPED_PAIRS
    },
    Scheme {
        name: "shopify-hmac",
        provider: "shopify",
        signature: header("X-Shopify-Hmac-Sha256"),
        encoding: Encoding::Base64,
        dedup: &[Place::Header("X-Shopify-Event-Id")],
        tenant: &[Place::Header("X-Shopify-Shop-Domain")],
        event_type: &[Place::Header("X-Shopify-Topic")],
        ..PLAIN
    },
    Scheme {
        name: "shopify-events-hmac",
        provider: "shopify",
        signature: header("shopify-hmac-sha256"),
        encoding: Encoding::Base64,
        dedup: &[Place::Header("shopify-event-id")],
        tenant: &[Place::Header("shopify-shop-domain")],
        event_type: &[Place::Header("shopify-topic")],
        ..PLAIN
    },
    Scheme {
        name: "chargebee-basic",
        provider: "chargebee",
        dedup: &[Place::Json("/id")],
        event_type: &[Place::Json("/event_type")],
        ..BASIC
    },
    Scheme {
        name: "paddle-h1",
        provider: "paddle",
        signature: header("Paddle-Signature"),
        layout: Layout::Pairs { separator: b';', signature: "h1" },
        signed: &[Part::Stamp, Part::Text(":"), Part::Body],
        stamp: stamped_pair("ts", 5),
        dedup: &[Place::Json("/event_id")],
        event_type: &[Place::Json("/event_type")],
        ..PLAIN
    },
    Scheme {
        name: "docusign-hmac",
        provider: "docusign",
        signature: SignatureAt::Numbered("X-DocuSign-Signature-"),
        encoding: Encoding::Base64,
        dedup: &[Place::Json("/data/envelopeId"), Place::Json("/event"), Place::Json("/generatedDateTime")],
        tenant: &[Place::Json("/data/accountId")],
        event_type: &[Place::Json("/event")],
        ..PLAIN
    },
    Scheme {
        name: "mux-v1",
        provider: "mux",
        signature: header("Mux-Signature"),
        dedup: &[Place::Json("/id")],
        tenant: &[Place::Json("/environment/id")],
        event_type: &[Place::Json("/type")],
        ..STAMPED_PAIRS
    },
];

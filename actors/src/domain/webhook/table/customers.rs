//! Where customers are talked to: CRM, support, calendars, forms, mail, analytics.

use super::*;

pub(super) static SCHEMES: &[Scheme] = &[
    Scheme {
        name: "hubspot-v1",
        fixed: &[Fixed { header: "X-HubSpot-Signature-Version", pair: None, value: "v1" }],
        ..HUBSPOT
    },
    Scheme {
        name: "hubspot-v2",
        fixed: &[Fixed { header: "X-HubSpot-Signature-Version", pair: None, value: "v2" }],
        signed: &[Part::Method, Part::Url, Part::Body],
        ..HUBSPOT
    },
    Scheme {
        name: "hubspot-v3",
        signature: header("X-HubSpot-Signature-v3"),
        encoding: Encoding::Base64,
        algorithm: Algorithm::HmacSha256,
        signed: &[Part::Method, Part::UrlUnescaped, Part::Body, Part::Stamp],
        stamp: stamped(Place::Header("X-HubSpot-Request-Timestamp"), StampForm::UnixMillis, 300),
        ..HUBSPOT
    },
    Scheme {
        name: "zendesk-hmac",
        provider: "zendesk",
        signature: header("X-Zendesk-Webhook-Signature"),
        encoding: Encoding::Base64,
        signed: &[Part::Stamp, Part::Body],
        stamp: stamped(Place::Header("X-Zendesk-Webhook-Signature-Timestamp"), StampForm::Rfc3339, 300),
        dedup: &[Place::Header("X-Zendesk-Webhook-Invocation-Id")],
        tenant: &[Place::Header("X-Zendesk-Account-Id")],
        event_type: &[Place::Json("/type")],
        ..PLAIN
    },
    Scheme {
        name: "intercom-hub-sha1",
        provider: "intercom",
        signature: header("X-Hub-Signature"),
        layout: Layout::Prefixed("sha1="),
        algorithm: Algorithm::HmacSha1,
        dedup: &[Place::Json("/id")],
        tenant: &[Place::Json("/app_id")],
        event_type: &[Place::Json("/topic")],
        ..PLAIN
    },
    Scheme {
        name: "front-app-hmac",
        provider: "front",
        signature: header("X-Front-Signature"),
        encoding: Encoding::Base64,
        signed: &[Part::Stamp, Part::Text(":"), Part::Body],
        stamp: stamped(Place::Header("X-Front-Request-Timestamp"), StampForm::UnixMillis, 300),
        tenant: &[Place::Json("/authorization/id")],
        event_type: &[Place::Json("/type")],
        challenge: Challenge::Front,
        ..PLAIN
    },
    Scheme {
        name: "front-rule-sha1",
        provider: "front",
        signature: header("X-Front-Signature"),
        encoding: Encoding::Base64,
        algorithm: Algorithm::HmacSha1,
        ..PLAIN
    },
    Scheme {
        name: "pipedrive-basic",
        provider: "pipedrive",
        dedup: &[Place::Json("/meta/id")],
        tenant: &[Place::Json("/meta/company_id")],
        ..BASIC
    },
    Scheme {
        name: "calendly-v1",
        provider: "calendly",
        signature: header("Calendly-Webhook-Signature"),
        stamp: stamped_pair("t", 180),
        tenant: &[Place::Json("/created_by")],
        event_type: &[Place::Json("/event")],
        ..STAMPED_PAIRS
    },
    Scheme {
        name: "typeform-sha256",
        provider: "typeform",
        signature: header("Typeform-Signature"),
        layout: Layout::Prefixed("sha256="),
        encoding: Encoding::Base64,
        dedup: &[Place::Json("/event_id")],
        tenant: &[Place::Json("/form_response/form_id")],
        event_type: &[Place::Json("/event_type")],
        ..PLAIN
    },
    Scheme {
        name: "mailgun-body",
        provider: "mailgun",
        signature: SignatureAt::Place(Place::Json("/signature/signature")),
        signed: &[Part::Stamp, Part::Value(Place::Json("/signature/token"))],
        stamp: stamped(Place::Json("/signature/timestamp"), StampForm::UnixSeconds, 900),
        dedup: &[Place::Json("/event-data/id")],
        event_type: &[Place::Json("/event-data/event")],
        trust: Trust::BodyNotCovered,
        ..PLAIN
    },
    Scheme {
        name: "segment-sha1",
        provider: "segment",
        signature: header("X-Signature"),
        algorithm: Algorithm::HmacSha1,
        dedup: &[Place::Json("/messageId")],
        tenant: &[Place::Json("/projectId")],
        event_type: &[Place::Json("/type")],
        ..PLAIN
    },
    Scheme {
        name: "salesforce-outbound-message",
        provider: "salesforce",
        signature: SignatureAt::Place(Place::Json("/OrganizationId")),
        items: Items::Soap,
        dedup: &[Place::Json("/Notification/Id")],
        tenant: &[Place::Json("/OrganizationId")],
        event_type: &[Place::Json("/Notification/sObject/@type")],
        receipt: Receipt::SoapAck,
        ..TOKEN
    },
    Scheme {
        name: "gong-jwt",
        provider: "gong",
        layout: Layout::Jwt("RS256"),
        algorithm: Algorithm::RsaSha256,
        key: KeyForm::Spki,
        claims: &[("webhook_url", Claim::Url), ("body_sha256", Claim::BodySha256)],
        dedup: &[Place::Json("/callData/metaData/id")],
        ..JWT
    },
    Scheme { name: "twilio-form-sha1", algorithm: Algorithm::HmacSha1, ..TWILIO },
    Scheme { name: "twilio-json-bodysha256", algorithm: Algorithm::HmacSha1, ..TWILIO },
    Scheme {
        name: "twilio-sharedkey-sha256",
        fixed: &[Fixed {
            header: "X-Twilio-Webhooks-Signature-Settings",
            pair: Some("algorithm"),
            value: "HMAC_SHA256",
        }],
        ..TWILIO
    },
    Scheme {
        name: "sendgrid-ecdsa",
        provider: "sendgrid",
        signature: header("X-Twilio-Email-Event-Webhook-Signature"),
        encoding: Encoding::Base64,
        algorithm: Algorithm::EcdsaP256,
        key: KeyForm::Spki,
        signed: &[Part::Stamp, Part::Body],
        stamp: stamped(Place::Header("X-Twilio-Email-Event-Webhook-Timestamp"), StampForm::UnixSeconds, 300),
        items: Items::Array,
        dedup: &[Place::Json("/sg_event_id")],
        event_type: &[Place::Json("/event")],
        ..PLAIN
    },
];

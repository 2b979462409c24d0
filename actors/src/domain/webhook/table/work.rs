//! Where teams work: code, chat, meetings, issues, incidents.

use super::*;

pub(super) static SCHEMES: &[Scheme] = &[
    Scheme {
        name: "github-hub256",
        provider: "github",
        signature: header("X-Hub-Signature-256"),
        layout: Layout::Prefixed("sha256="),
        dedup: &[Place::Header("X-GitHub-Delivery")],
        tenant: &[Place::Json("/installation/id"), Place::Json("/repository/owner/id")],
        event_type: &[Place::Header("X-GitHub-Event")],
        ..PLAIN
    },
    Scheme {
        name: "gitlab-token",
        provider: "gitlab",
        signature: header("X-Gitlab-Token"),
        dedup: &[Place::Header("Idempotency-Key")],
        tenant: &[Place::Json("/project/id"), Place::Json("/group_id")],
        event_type: &[Place::Header("X-Gitlab-Event")],
        ..TOKEN
    },
    Scheme {
        name: "gitlab-signing-token",
        provider: "gitlab",
        tenant: &[Place::Json("/project/id"), Place::Json("/group_id")],
        event_type: &[Place::Header("X-Gitlab-Event")],
        ..STANDARD
    },
    Scheme {
        name: "slack-v0",
        provider: "slack",
        signature: header("X-Slack-Signature"),
        layout: Layout::Prefixed("v0="),
        signed: &[Part::Text("v0:"), Part::Stamp, Part::Text(":"), Part::Body],
        stamp: stamped(Place::Header("X-Slack-Request-Timestamp"), StampForm::UnixSeconds, 300),
        dedup: &[Place::Json("/event_id")],
        tenant: &[Place::Json("/team_id"), Place::Json("/team/id"), Place::Form("team_id")],
        event_type: &[Place::Json("/event/type"), Place::Json("/type"), Place::Form("command")],
        challenge: Challenge::Slack,
        ..PLAIN
    },
    Scheme {
        name: "zoom-v0",
        provider: "zoom",
        signature: header("x-zm-signature"),
        layout: Layout::Prefixed("v0="),
        signed: &[Part::Text("v0:"), Part::Stamp, Part::Text(":"), Part::Body],
        stamp: stamped(Place::Header("x-zm-request-timestamp"), StampForm::UnixSeconds, 300),
        tenant: &[Place::Json("/payload/account_id")],
        event_type: &[Place::Json("/event")],
        challenge: Challenge::Zoom,
        ..PLAIN
    },
    Scheme {
        name: "jira-hub256",
        provider: "jira",
        signature: header("X-Hub-Signature"),
        layout: Layout::Prefixed("sha256="),
        dedup: &[Place::Header("X-Atlassian-Webhook-Identifier")],
        tenant: JIRA_SITE,
        event_type: &[Place::Json("/webhookEvent")],
        ..PLAIN
    },
    Scheme {
        name: "linear-sha256",
        provider: "linear",
        signature: header("Linear-Signature"),
        // The header of the same meaning is not signed; only the time inside the body counts.
        stamp: stamped(Place::Json("/webhookTimestamp"), StampForm::UnixMillis, 60),
        dedup: &[Place::Header("Linear-Delivery")],
        tenant: &[Place::Json("/organizationId")],
        event_type: &[Place::Header("Linear-Event")],
        ..PLAIN
    },
    Scheme {
        name: "asana-hook",
        provider: "asana",
        signature: header("X-Hook-Signature"),
        items: Items::Under("events"),
        event_type: &[Place::Json("/action")],
        challenge: Challenge::Asana,
        ..PLAIN
    },
    Scheme {
        name: "goog-channel-token",
        provider: "google",
        signature: header("X-Goog-Channel-Token"),
        dedup: &[Place::Header("X-Goog-Channel-ID"), Place::Header("X-Goog-Message-Number")],
        tenant: &[Place::Header("X-Goog-Channel-ID")],
        event_type: &[Place::Header("X-Goog-Resource-State")],
        challenge: Challenge::GoogleSync,
        ..TOKEN
    },
    Scheme {
        name: "pagerduty-v1",
        provider: "pagerduty",
        signature: header("X-PagerDuty-Signature"),
        layout: Layout::Pairs { separator: b',', signature: "v1" },
        dedup: &[Place::Json("/event/id")],
        tenant: &[Place::Header("X-Webhook-Subscription")],
        event_type: &[Place::Json("/event/event_type")],
        ..PLAIN
    },
    Scheme {
        name: "jira-oauth-jwt",
        provider: "jira",
        layout: Layout::Jwt("HS256"),
        dedup: &[Place::Header("X-Atlassian-Webhook-Identifier")],
        tenant: JIRA_SITE,
        event_type: &[Place::Json("/webhookEvent")],
        trust: Trust::BodyNotCovered,
        ..JWT
    },
    Scheme {
        name: "graph-client-state",
        provider: "msgraph",
        signature: SignatureAt::EveryItem(Place::Json("/clientState")),
        items: Items::Under("value"),
        dedup: &[Place::Json("/subscriptionId"), Place::Json("/id")],
        tenant: &[Place::Json("/tenantId")],
        event_type: &[Place::Json("/changeType")],
        challenge: Challenge::Graph,
        ..TOKEN
    },
    Scheme {
        name: "box-v1",
        provider: "box",
        signature: SignatureAt::Each(&["BOX-SIGNATURE-PRIMARY", "BOX-SIGNATURE-SECONDARY"]),
        encoding: Encoding::Base64,
        signed: &[Part::Body, Part::Stamp],
        signed_also: &[Part::BodyEscaped, Part::Stamp],
        stamp: stamped(Place::Header("BOX-DELIVERY-TIMESTAMP"), StampForm::Rfc3339, 600),
        fixed: &[
            Fixed { header: "BOX-SIGNATURE-VERSION", pair: None, value: "1" },
            Fixed { header: "BOX-SIGNATURE-ALGORITHM", pair: None, value: "HmacSHA256" },
        ],
        dedup: &[Place::Json("/id")],
        event_type: &[Place::Json("/trigger")],
        ..PLAIN
    },
];

/// Where the address of a Jira site stands.
const JIRA_SITE: &[Place] =
    &[Place::JsonOrigin("/issue/self"), Place::JsonOrigin("/project/self"), Place::JsonOrigin("/user/self")];

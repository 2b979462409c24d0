//! What six platforms send, signed as their documentation says. Shares no code with the node's verifier.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::http::{Headers, headers};

/// A platform that sends webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    Stripe,
    GitHub,
    Slack,
    Zoom,
    HubSpot,
    Standard,
}

/// One webhook before it is signed.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub platform: Platform,
    /// The platform's id for it; Zoom has none.
    pub id: String,
    pub body: Vec<u8>,
}

impl Platform {
    pub const ALL: [Self; 6] = [Self::Stripe, Self::GitHub, Self::Slack, Self::Zoom, Self::HubSpot, Self::Standard];

    /// The name of its scheme.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Stripe => "stripe-v1",
            Self::GitHub => "github-hub256",
            Self::Slack => "slack-v0",
            Self::Zoom => "zoom-v0",
            Self::HubSpot => "hubspot-v3",
            Self::Standard => "standard-webhooks-v1",
        }
    }

    /// What it signs with.
    #[must_use]
    pub fn secret(self) -> &'static str {
        match self {
            Self::Stripe => "whsec_7Wn0vVtBzxJ5gZJ2",
            Self::GitHub => "It's a Secret to Everybody",
            Self::Slack => "8f742231b10e8888abcd99yyyzzz85a5",
            Self::Zoom => "6cqunEzg0ioC5n-DUyO9cQ",
            Self::HubSpot => "1f5e2a4c-3b7d-4e09-9a1d-7f2e8c6b5a30",
            Self::Standard => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        }
    }

    /// The type its sample webhook has on the feed.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Stripe => "webhook.stripe.invoice.paid",
            Self::GitHub => "webhook.github.push",
            Self::Slack => "webhook.slack.app_mention",
            Self::Zoom => "webhook.zoom.recording.completed",
            Self::HubSpot => "webhook.hubspot.contact.creation",
            Self::Standard => "webhook.standard-webhooks.invoice.paid",
        }
    }

    /// A sample webhook; `number` makes it differ from others.
    #[must_use]
    pub fn sample(self, number: u64) -> Delivery {
        let body = match self {
            Self::Stripe => json!({"id": format!("evt_{number}"), "type": "invoice.paid", "account": "acct_1"}),
            Self::GitHub => json!({"ref": "refs/heads/main", "after": number, "installation": {"id": 7}}),
            Self::Slack => {
                json!({"type": "event_callback", "event_id": format!("Ev{number}"), "team_id": "T1",
                       "event": {"type": "app_mention", "text": "hello"}})
            }
            Self::Zoom => {
                json!({"event": "recording.completed", "event_ts": number, "payload": {"account_id": "z1", "object": {}}})
            }
            Self::HubSpot => {
                json!([{"portalId": 62515, "subscriptionId": 12, "eventId": number, "occurredAt": number,
                        "subscriptionType": "contact.creation", "objectId": 123}])
            }
            Self::Standard => json!({"type": "invoice.paid", "data": {"number": number}}),
        };
        Delivery { platform: self, id: format!("delivery-{number}"), body: body.to_string().into_bytes() }
    }

    /// A Zoom webhook about a recording.
    #[must_use]
    pub fn zoom_recording(url: &str, number: u64) -> Delivery {
        let body: Value = json!({
            "event": "recording.completed",
            "event_ts": number,
            "payload": {"account_id": "z1", "object": {"topic": "Reading circle", "recording_files": [
                {"id": "f1", "file_type": "MP4", "download_url": url}
            ]}},
        });
        Delivery { platform: Self::Zoom, id: String::new(), body: body.to_string().into_bytes() }
    }
}

impl Delivery {
    /// The headers of a webhook sent at this time to this URL.
    #[must_use]
    pub fn signed(&self, at_ms: u64, url: &str) -> Headers {
        self.signed_with(self.platform.secret(), at_ms, url)
    }

    /// The same with a secret of one's own.
    ///
    /// # Panics
    /// When a Standard Webhooks secret is no base64.
    #[must_use]
    pub fn signed_with(&self, secret: &str, at_ms: u64, url: &str) -> Headers {
        let (seconds, body) = ((at_ms / 1000).to_string(), self.body.as_slice());
        let key = secret.as_bytes();
        match self.platform {
            Platform::Stripe => {
                let signature = hex::encode(mac(key, &[seconds.as_bytes(), b".", body]));
                headers(&[("Stripe-Signature", &format!("t={seconds},v1={signature}"))])
            }
            Platform::GitHub => {
                let signature = format!("sha256={}", hex::encode(mac(key, &[body])));
                let names = ("X-Hub-Signature-256", "X-GitHub-Event", "X-GitHub-Delivery");
                headers(&[(names.0, &signature), (names.1, "push"), (names.2, &self.id)])
            }
            Platform::Slack => {
                let signature = format!("v0={}", hex::encode(mac(key, &[b"v0:", seconds.as_bytes(), b":", body])));
                headers(&[("X-Slack-Request-Timestamp", &seconds), ("X-Slack-Signature", &signature)])
            }
            Platform::Zoom => {
                let signature = format!("v0={}", hex::encode(mac(key, &[b"v0:", seconds.as_bytes(), b":", body])));
                headers(&[("x-zm-request-timestamp", &seconds), ("x-zm-signature", &signature)])
            }
            Platform::HubSpot => {
                let at = at_ms.to_string();
                let signature = STANDARD.encode(mac(key, &[b"POST", url.as_bytes(), body, at.as_bytes()]));
                headers(&[("X-HubSpot-Request-Timestamp", &at), ("X-HubSpot-Signature-v3", &signature)])
            }
            Platform::Standard => {
                let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("the secret is base64");
                let parts = [self.id.as_bytes(), b".", seconds.as_bytes(), b".", body];
                let signature = format!("v1,{}", STANDARD.encode(mac(&key, &parts)));
                let names = ("webhook-id", "webhook-timestamp", "webhook-signature");
                headers(&[(names.0, &self.id), (names.1, &seconds), (names.2, &signature)])
            }
        }
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// One signature of a Standard Webhooks request, by a secret that is `whsec_` and base64.
///
/// # Panics
/// When the secret is something else.
#[must_use]
pub fn standard_signature(secret: &str, id: &str, time: &str, body: &[u8]) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a shared secret")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key will do");
    for piece in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
        mac.update(piece);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

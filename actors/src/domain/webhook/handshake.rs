//! Answers the challenges platforms send to see whether a receiver is there and holds the secret.
//!
//! [`answer`] is called by the gateway with a request that [`super::verify()`] accepted, never before: an answer to an
//! unsigned challenge would be an oracle for the secret (Zoom) or an echo of a stranger's text (Slack, Front). [`greet`] is
//! called before, for the one platform that has nothing to sign with yet.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use url::form_urlencoded;

use super::Incoming;
use super::body::Reader;
use super::scheme::{Challenge, Items, Place, Receipt, Scheme};

/// Longest challenge echoed or signed; real ones are under 100 bytes.
const CHALLENGE_BYTES_MAX: usize = 512;

/// The receipt of a SOAP notification, by its description in Salesforce's WSDL.
const SOAP_ACK: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
    r#"<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>"#,
    r#"<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>"#,
    "</soapenv:Body></soapenv:Envelope>",
);

/// The answer to a challenge: status 200, this type, this body, and no event. The gateway adds `nosniff`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The content type to send.
    pub content_type: &'static str,
    /// The body to send.
    pub body: String,
}

/// The answer to a challenge that comes before anything is signed or known, so that a subscription can be made at all. It
/// echoes a stranger's text, which is why it is plain, short, and given for schemes that have no other way only.
#[must_use]
pub fn greet(scheme: &Scheme, incoming: &Incoming<'_>) -> Option<Answer> {
    let Challenge::Graph = scheme.challenge else { return None };
    let (_, query) = incoming.url.split_once('?').filter(|_| incoming.body.is_empty())?;
    let (_, token) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "validationToken")?;
    (token.len() <= CHALLENGE_BYTES_MAX).then(|| plain(token.into_owned()))
}

/// Where Asana brings a secret, and reads it back.
const HOOK_SECRET: &str = "X-Hook-Secret";

/// The secret that an unsigned request brings, if its scheme lets platforms bring them. Whether the source takes it is for
/// its state to say. One that is signed is no handshake, whatever else it carries.
#[must_use]
pub fn brought_secret<'a>(scheme: &Scheme, incoming: &Incoming<'a>) -> Option<&'a str> {
    if !scheme.brings_secrets() || incoming.headers.value(scheme.signature_field()).is_some() {
        return None;
    }
    let secret = std::str::from_utf8(incoming.headers.value(HOOK_SECRET)?).ok()?;
    let is_visible = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
    (is_visible && secret.len() <= CHALLENGE_BYTES_MAX).then_some(secret)
}

/// What the platform wants to read once its events are kept, if it wants anything.
#[must_use]
pub fn receipt(scheme: &Scheme) -> Option<Answer> {
    match scheme.receipt {
        Receipt::Any => None,
        Receipt::SoapAck => Some(Answer { content_type: "text/xml; charset=utf-8", body: SOAP_ACK.to_owned() }),
    }
}

/// The answer, if this verified request is a challenge; `secret` is the one that verified it.
#[must_use]
pub fn answer(scheme: &Scheme, incoming: &Incoming<'_>, secret: &[u8]) -> Option<Answer> {
    match scheme.challenge {
        Challenge::None | Challenge::Graph | Challenge::Asana => None,
        Challenge::Zoom => {
            let token = challenge(incoming, "/event", "endpoint.url_validation", "/payload/plainToken")?;
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
            mac.update(token.as_bytes());
            let encrypted = hex::encode(mac.finalize().into_bytes());
            let body = json!({ "plainToken": token, "encryptedToken": encrypted }).to_string();
            Some(Answer { content_type: "application/json", body })
        }
        Challenge::Slack => challenge(incoming, "/type", "url_verification", "/challenge").map(plain),
        Challenge::Front => {
            let text = std::str::from_utf8(incoming.headers.value("X-Front-Challenge")?).ok()?;
            (text.len() <= CHALLENGE_BYTES_MAX).then(|| plain(text.to_owned()))
        }
        Challenge::GoogleSync => {
            let state = incoming.headers.value("X-Goog-Resource-State")?;
            (state == b"sync").then(|| plain(String::new()))
        }
    }
}

fn plain(body: String) -> Answer {
    Answer { content_type: "text/plain; charset=utf-8", body }
}

/// The challenge text of a JSON body whose `kind` is the expected one.
fn challenge(incoming: &Incoming<'_>, kind: &'static str, expected: &str, text: &'static str) -> Option<String> {
    let (kind, text) = (Place::Json(kind), Place::Json(text));
    let reader = Reader::new(*incoming, [kind, text].into_iter(), Items::One);
    if reader.value(kind)?.as_ref() != expected.as_bytes() {
        return None;
    }
    let challenge = String::from_utf8(reader.value(text)?.into_owned()).ok()?;
    (challenge.len() <= CHALLENGE_BYTES_MAX).then_some(challenge)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::Value;
    use steward_cluster::clock::Timestamp;

    use super::*;
    use crate::domain::webhook::{find, verify};

    const VECTORS: &str = include_str!("../../../../tests/fixtures/vectors/webhooks.json");

    /// Runs one handshake of the vector file as the gateway would: verify, then answer.
    fn run(id: &str, scheme: &str, corrupt: bool) -> Option<(Answer, Value)> {
        let file: Value = serde_json::from_str(VECTORS).unwrap();
        let vector = file["handshakes"].as_array().unwrap().iter().find(|vector| vector["id"] == id).unwrap();
        let fields: BTreeMap<String, String> = serde_json::from_value(vector["headers"].clone()).unwrap();
        let headers: Vec<(String, String)> = fields.into_iter().collect();
        let mut body = STANDARD.decode(vector["body_base64"].as_str().unwrap()).unwrap();
        if corrupt {
            body.push(b' ');
        }
        let secret = vector["secret"].as_str().unwrap();
        let incoming = Incoming {
            method: "POST",
            url: vector["url"].as_str().unwrap(),
            headers: &headers,
            body: &body,
            raw: None,
        };
        let now = Timestamp(vector["now_unix"].as_u64().unwrap() * 1000);
        let scheme = find(scheme).unwrap();
        verify(scheme, &incoming, &[secret], now, None).ok()?;
        Some((answer(scheme, &incoming, secret.as_bytes()).unwrap(), vector["expect"].clone()))
    }

    #[test]
    fn zoom_gets_its_token_back_with_the_mac() {
        let (answer, expected) = run("zoom-url-validation/s", "zoom-v0", false).unwrap();
        assert_eq!(answer.content_type, "application/json");
        assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), expected["json"]);
    }

    #[test]
    fn slack_and_front_get_their_text_back_as_plain_text() {
        for (id, scheme) in [("slack-url-verification/s", "slack-v0"), ("front-challenge/s", "front-app-hmac")] {
            let (answer, expected) = run(id, scheme, false).unwrap();
            assert_eq!(answer.content_type, "text/plain; charset=utf-8", "{id}");
            assert_eq!(answer.body, expected["body"], "{id}");
        }
    }

    #[test]
    fn a_graph_subscription_is_validated_before_anything_is_signed() {
        let file: Value = serde_json::from_str(VECTORS).unwrap();
        let is_it = |vector: &&Value| vector["id"] == "msgraph-validation-token/s";
        let vector = file["handshakes"].as_array().unwrap().iter().find(is_it).unwrap();
        let headers: Vec<(&str, &str)> = vec![];
        let of = |url, body| Incoming { method: "POST", url, headers: &headers, body, raw: None };
        let url = vector["url"].as_str().unwrap();
        let scheme = find("graph-client-state").unwrap();
        let answer = greet(scheme, &of(url, b"")).unwrap();
        assert_eq!(
            (answer.content_type, answer.body.as_str()),
            ("text/plain; charset=utf-8", vector["expect"]["body"].as_str().unwrap())
        );
        let long = format!("https://a.example/?validationToken={}", "x".repeat(CHALLENGE_BYTES_MAX + 1));
        assert_eq!(greet(scheme, &of(&long, b"")), None);
        assert_eq!(greet(scheme, &of(url, b"{}")), None);
        assert_eq!(greet(find("slack-v0").unwrap(), &of(url, b"")), None);
    }

    #[test]
    fn asana_brings_its_secret_without_a_signature() {
        let of = |scheme: &str, headers: &[(&str, &str)]| {
            let headers = headers.to_vec();
            let incoming = Incoming { method: "POST", url: "", headers: &headers, body: b"{}", raw: None };
            brought_secret(find(scheme).unwrap(), &incoming).map(str::to_owned)
        };
        assert_eq!(of("asana-hook", &[("x-hook-secret", "b758c9")]).as_deref(), Some("b758c9"));
        assert_eq!(of("asana-hook", &[("x-hook-secret", "b758c9"), ("X-Hook-Signature", "00")]), None);
        assert_eq!(of("zoom-v0", &[("x-hook-secret", "b758c9")]), None);
        for bad in ["", "a b", "\u{fc}", &"x".repeat(CHALLENGE_BYTES_MAX + 1)] {
            assert_eq!(of("asana-hook", &[("x-hook-secret", bad)]), None, "{bad}");
        }
    }

    #[test]
    fn the_first_message_of_a_google_channel_is_no_event() {
        let (answer, _) = run("google-sync/s", "goog-channel-token", false).unwrap();
        assert_eq!(answer.body, "");
    }

    #[test]
    fn an_unsigned_challenge_is_never_answered() {
        assert_eq!(run("zoom-url-validation/s", "zoom-v0", true), None);
        assert_eq!(run("slack-url-verification/s", "slack-v0", true), None);
    }

    #[test]
    fn events_and_oversized_challenges_are_not_answered() {
        let long = "x".repeat(CHALLENGE_BYTES_MAX + 1);
        let bodies = [
            r#"{"event":"recording.completed","payload":{"plainToken":"t"}}"#.to_owned(),
            format!(r#"{{"event":"endpoint.url_validation","payload":{{"plainToken":"{long}"}}}}"#),
            format!(r#"{{"type":"url_verification","challenge":"{long}"}}"#),
        ];
        let headers: Vec<(&str, &str)> = vec![];
        for body in &bodies {
            let incoming = Incoming { method: "POST", url: "", headers: &headers, body: body.as_bytes(), raw: None };
            for scheme in ["zoom-v0", "slack-v0", "front-app-hmac", "goog-channel-token", "stripe-v1"] {
                assert_eq!(answer(find(scheme).unwrap(), &incoming, b"s"), None, "{scheme}");
            }
        }
    }
}

//! One post to one endpoint: signed, bounded, judged.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use steward_cluster::clock::{Clock, Timestamp};
use zeroize::Zeroizing;

use super::extras::{Credentials, Extras};
use crate::domain::account::limits::RESPONSE_BYTES_MAX;
use crate::domain::account::{Account, DeliveryOutcome, Endpoint};
use crate::domain::webhook::sign;
use crate::egress::{Egress, EgressError};
use crate::seal::Sealer;

/// Characters of a failure that go into its event.
const ERROR_CHARS_MAX: usize = 300;

/// Everything a post to one endpoint needs, opened once.
pub(super) struct Addressed {
    url: String,
    extras: HeaderMap,
    secret: Zeroizing<Vec<u8>>,
    old_secret: Option<(Zeroizing<Vec<u8>>, Timestamp)>,
    /// With a client certificate it has connections of its own.
    egress: Egress,
}

impl Addressed {
    /// Opens what is sealed. An error says what cannot be used.
    pub(super) fn open(
        account: &Account,
        endpoint: &Endpoint,
        egress: &Egress,
        sealer: &Sealer,
    ) -> Result<Self, String> {
        let open = |sealed: &[u8]| sealer.open(&account.wrapped_key, sealed).map_err(|error| error.to_string());
        let sealed = &endpoint.settings.sealed_extras;
        let extras = if sealed.is_empty() { Zeroizing::default() } else { open(sealed)? };
        let extras = Extras::decode(&extras).map_err(|error| error.to_string())?;
        let egress = match &extras.credentials {
            Credentials::Certificate { chain_pem, key_pem, ca_pem } => egress
                .with_certificate(chain_pem, key_pem, ca_pem)
                .map_err(|error| format!("the client certificate cannot be used: {error}"))?,
            Credentials::None | Credentials::Basic { .. } | Credentials::Bearer { .. } => egress.clone(),
        };
        let old = endpoint.old_secret.as_ref();
        let old_secret = old.map(|old| Ok::<_, String>((open(&old.sealed)?, old.until))).transpose()?;
        let extras = extras.headers().map_err(|(field, rule)| format!("{field} {rule}"))?;
        let secret = open(&endpoint.sealed_secret)?;
        Ok(Self { url: endpoint.url.clone(), extras, secret, old_secret, egress })
    }

    /// Posts once.
    pub(super) async fn post(&self, id: &str, body: Bytes, clock: &dyn Clock, timeout: Duration) -> DeliveryOutcome {
        let headers = match self.headers(id, &body, clock.now()) {
            Ok(headers) => headers,
            Err(error) => return unanswered(error, Duration::ZERO),
        };
        let started = clock.monotonic();
        let answer = self.egress.post(&self.url, headers, body, timeout, RESPONSE_BYTES_MAX).await;
        let latency = clock.monotonic().saturating_sub(started);
        match answer {
            Ok(answer) => judge(answer.status, &answer.headers, &answer.body, latency, clock.now()),
            Err(error) => unanswered(explain(&error), latency),
        }
    }

    fn headers(&self, id: &str, body: &[u8], now: Timestamp) -> Result<HeaderMap, String> {
        let old = self.old_secret.as_ref().filter(|(_, until)| now < *until).map(|(old, _)| old.as_slice());
        let secrets: Vec<&[u8]> = std::iter::once(self.secret.as_slice()).chain(old).collect();
        let signed = sign::sign(id, now, body, &secrets).map_err(|error| error.to_string())?;
        let mut headers = self.extras.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in signed {
            let value = HeaderValue::from_str(&value).map_err(|_| "the signature is no header".to_owned())?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8], latency: Duration, now: Timestamp) -> DeliveryOutcome {
    let latency_ms = millis(latency);
    let response = String::from_utf8_lossy(body).into_owned();
    if status.is_success() {
        return DeliveryOutcome::Delivered { status: status.as_u16(), latency_ms, response };
    }
    if status == StatusCode::GONE {
        return DeliveryOutcome::Gone;
    }
    let asked = headers.get(header::RETRY_AFTER).and_then(|value| retry_after_ms(value.to_str().ok()?.trim(), now));
    DeliveryOutcome::Failed {
        status: Some(status.as_u16()),
        error: format!("the receiver answered {status}"),
        retry_after_ms: asked,
        latency_ms,
        response,
    }
}

/// Seconds, or a date.
fn retry_after_ms(value: &str, now: Timestamp) -> Option<u64> {
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let at = httpdate::parse_http_date(value).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(millis(at).saturating_sub(now.0))
}

pub(super) fn unanswered(error: String, latency: Duration) -> DeliveryOutcome {
    let latency_ms = millis(latency);
    DeliveryOutcome::Failed { status: None, error, retry_after_ms: None, latency_ms, response: String::new() }
}

/// An attempt as it is reported where answers are not kept yet.
pub(super) fn without_answer(outcome: DeliveryOutcome) -> DeliveryOutcome {
    let response = String::new();
    match outcome {
        DeliveryOutcome::Delivered { status, latency_ms, .. } => {
            DeliveryOutcome::Delivered { status, latency_ms, response }
        }
        outcome @ (DeliveryOutcome::Gone | DeliveryOutcome::Forgotten) => outcome,
        DeliveryOutcome::Failed { status, error, retry_after_ms, .. } => {
            DeliveryOutcome::Failed { status, error, retry_after_ms, latency_ms: 0, response }
        }
    }
}

fn explain(error: &EgressError) -> String {
    format!("{}: {error}", error.code()).chars().take(ERROR_CHARS_MAX).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_their_status() {
        let now = Timestamp(1_790_000_000_000);
        let judged = |status: u16, retry_after: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = retry_after {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
            }
            judge(StatusCode::from_u16(status).unwrap(), &headers, b"hm", Duration::from_millis(7), now)
        };
        let response = "hm".to_owned();
        let delivered = DeliveryOutcome::Delivered { status: 204, latency_ms: 7, response: response.clone() };
        assert_eq!(judged(204, None), delivered);
        assert_eq!(judged(410, None), DeliveryOutcome::Gone);
        let failed = |status, retry_after_ms| DeliveryOutcome::Failed {
            status: Some(status),
            error: format!("the receiver answered {}", StatusCode::from_u16(status).unwrap()),
            retry_after_ms,
            latency_ms: 7,
            response: response.clone(),
        };
        assert_eq!(judged(302, None), failed(302, None), "redirects are not followed");
        assert_eq!(judged(429, Some("120")), failed(429, Some(120_000)));
        assert_eq!(judged(503, Some("soon")), failed(503, None));
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_millis(now.0 + 60_000));
        assert_eq!(judged(503, Some(&date)), failed(503, Some(60_000)));
    }
}

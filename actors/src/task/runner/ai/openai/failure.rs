//! What a failed call means for the task: try again, wait, or give up.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use steward_cluster::clock::Timestamp;

use crate::egress::EgressError;
use crate::task::runner::{Retry, TaskError};

/// The longest wait a service may ask for.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// How much of a refusal is read, and how much of its text is passed on.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
const REFUSAL_CHARS_MAX: usize = 300;
/// Codes and types of a 429 that mean money, not speed.
const MONEY_CODES: [&str; 4] =
    ["insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "billing_not_active"];

/// A failed call.
#[derive(Debug)]
pub(in crate::task::runner) struct Failure {
    pub(in crate::task::runner) error: TaskError,
    /// The parameter the service named as wrong.
    pub(super) param: Option<String>,
    /// The service's word for why.
    pub(in crate::task::runner) reason: Option<String>,
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        Self { error, param: None, reason: None }
    }
}

/// The service gave an answer that is no success.
pub(super) fn answered(
    provider: &str,
    key: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Failure {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str| body["error"][name].as_str().unwrap_or_default();
    // Some say no more than a text.
    let words = body["error"].as_str().unwrap_or_else(|| field("message"));
    let asked = headers.get("x-should-retry").and_then(|value| value.to_str().ok());
    let wait = wait(headers, now).map_or(Retry::BackOff, Retry::After);
    let money = MONEY_CODES.iter().any(|code| field("code") == *code || field("type") == *code);
    let (code, says, retry) = match status.as_u16() {
        401 | 403 => ("provider_refused_key", "refused the API key".to_owned(), Retry::Never),
        402 => ("provider_quota_exhausted", "has no credit left".to_owned(), Retry::Never),
        429 if money => ("provider_quota_exhausted", "has no credit left".to_owned(), Retry::Never),
        429 => ("provider_rate_limited", "limits the rate of requests".to_owned(), wait),
        408 | 409 | 425 | 500.. => ("provider_failed", "failed".to_owned(), wait),
        _ => ("provider_rejected", format!("rejected the request: {}", passed_on(words, key)), Retry::Never),
    };
    let retry = match (asked, retry) {
        (Some("false"), _) => Retry::Never,
        (Some("true"), Retry::Never) => wait,
        (_, retry) => retry,
    };
    let message = format!("provider {provider} {says} (status {})", status.as_u16());
    let named = |name: &str| body["error"][name].as_str().map(str::to_owned);
    Failure { error: TaskError { code, message, retry }, param: named("param"), reason: named("code") }
}

/// The service reported an error in the middle of its answer.
pub(super) fn in_stream(provider: &str, error: &Value) -> Failure {
    let code = error["code"].as_str().or_else(|| error["type"].as_str()).unwrap_or_default();
    let (code, retry) = if MONEY_CODES.contains(&code) {
        ("provider_quota_exhausted", Retry::Never)
    } else {
        ("provider_failed", Retry::BackOff)
    };
    TaskError { code, message: format!("provider {provider} failed in the middle of its answer"), retry }.into()
}

/// The answer ended before the service said it was done.
pub(super) fn cut_off(provider: &str) -> Failure {
    let message = format!("provider {provider} broke off its answer");
    TaskError { code: "provider_cut_off", message, retry: Retry::BackOff }.into()
}

/// The answer is not what the protocol says.
pub(super) fn malformed(provider: &str, what: &str) -> Failure {
    let message = format!("provider {provider} {what}");
    TaskError { code: "provider_malformed", message, retry: Retry::BackOff }.into()
}

/// The service was not reached, or the way to it broke.
pub(super) fn unreached(provider: &str, error: &EgressError) -> Failure {
    let retry = if error.is_retryable() { Retry::BackOff } else { Retry::Never };
    let message = format!("provider {provider}: {error}");
    TaskError { code: "provider_unreachable", message, retry }.into()
}

/// The beginning of a refusal's body.
pub(super) async fn read(body: &mut BoxStream<'static, Result<Bytes, EgressError>>) -> Vec<u8> {
    let mut bytes = vec![];
    while let Some(Ok(piece)) = body.next().await {
        bytes.extend_from_slice(&piece[..piece.len().min(REFUSAL_BYTES_MAX - bytes.len())]);
        if bytes.len() == REFUSAL_BYTES_MAX {
            break;
        }
    }
    bytes
}

/// `retry-after-ms`, else `retry-after` in seconds or as a date.
fn wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    if let Some(ms) = text("retry-after-ms").and_then(number) {
        return Some(seconds(ms / 1000.0));
    }
    let after = text("retry-after")?;
    if let Some(after) = number(after) {
        return Some(seconds(after));
    }
    let date = httpdate::parse_http_date(after).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_millis(now.0)).min(WAIT_MAX))
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(WAIT_MAX).min(WAIT_MAX)
}

/// The service's own words, without the key should it repeat that.
fn passed_on(message: &str, key: &str) -> String {
    let message = if key.is_empty() { message.to_owned() } else { message.replace(key, "***") };
    message.chars().take(REFUSAL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[track_caller]
    fn check(status: u16, list: &[(&'static str, &'static str)], body: &str, code: &str, retry: Retry) {
        let status = StatusCode::from_u16(status).unwrap();
        let now = Timestamp(784_111_777_000 - 30_000); // Half a minute before the date below.
        let failure = answered("p", "sk-secret", status, &headers(list), body.as_bytes(), now);
        assert_eq!((failure.error.code, failure.error.retry), (code, retry), "{failure:?}");
        assert!(!format!("{failure:?}").contains("sk-secret"));
    }

    #[test]
    fn each_refusal_has_its_retry() {
        let after = |seconds| Retry::After(Duration::from_secs_f64(seconds));
        let money = r#"{"error":{"message":"x","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        check(
            429,
            &[("retry-after", "2")],
            r#"{"error":{"code":"rate_limit_exceeded"}}"#,
            "provider_rate_limited",
            after(2.0),
        );
        check(429, &[("retry-after-ms", "1500"), ("retry-after", "9")], "", "provider_rate_limited", after(1.5));
        check(429, &[("retry-after", "0.25")], "", "provider_rate_limited", after(0.25));
        check(429, &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], "", "provider_rate_limited", after(30.0));
        check(429, &[("retry-after", "soon")], "", "provider_rate_limited", Retry::BackOff);
        check(429, &[("retry-after", "900000")], "", "provider_rate_limited", Retry::After(WAIT_MAX));
        check(429, &[("retry-after", "2")], money, "provider_quota_exhausted", Retry::Never);
        check(429, &[("x-should-retry", "false")], "", "provider_rate_limited", Retry::Never);
        check(402, &[], "", "provider_quota_exhausted", Retry::Never);
        check(401, &[], r#"{"error":{"message":"bad key sk-secret"}}"#, "provider_refused_key", Retry::Never);
        check(400, &[], r#"{"error":{"message":"bad key sk-secret"}}"#, "provider_rejected", Retry::Never);
        check(400, &[("x-should-retry", "true")], "", "provider_rejected", Retry::BackOff);
        check(404, &[], "<html>", "provider_rejected", Retry::Never);
        check(503, &[("retry-after", "1")], "", "provider_failed", after(1.0));
        check(529, &[], "", "provider_failed", Retry::BackOff);
    }
}

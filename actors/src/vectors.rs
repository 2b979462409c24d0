//! Runs a file of webhook test vectors through the verifier: `steward webhook verify --vectors FILE`.
//!
//! For people who add a platform, or doubt a signature: the same engine and table as the gateway.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use steward_cluster::clock::Timestamp;

use crate::domain::webhook::{self, Incoming, Refusal, Scheme, Verified};

/// What became of every vector. Displays as one line per failure and a last line of totals.
#[derive(Debug)]
pub struct VectorReport {
    /// Vectors whose verdict, ids and account were as expected.
    pub passed: usize,
    /// The others.
    pub failed: Vec<VectorFailure>,
    /// How many vectors each unknown scheme had.
    pub skipped: BTreeMap<String, usize>,
}

/// One vector that did not come out as expected.
#[derive(Debug)]
pub struct VectorFailure {
    /// The vector's id.
    pub id: String,
    /// What the file expects.
    pub expected: String,
    /// What the verifier said.
    pub got: String,
    /// The verifier's reason, or the field that differs.
    pub why: String,
}

/// Why a file of vectors could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// Not a vector file.
    #[error("the vector file is not of the expected form")]
    Malformed(#[source] serde_json::Error),
    /// A body that is not base64.
    #[error("vector {id} has a body that is not base64")]
    Body {
        /// The vector's id.
        id: String,
        /// What is wrong with it.
        source: base64::DecodeError,
    },
}

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    scheme: String,
    method: String,
    url: String,
    secret: Option<String>,
    #[serde(default)]
    extra_secrets: Vec<String>,
    headers: BTreeMap<String, String>,
    body_base64: String,
    now_unix: u64,
    expect: String,
    tolerance_s: Option<u64>,
    #[serde(default)]
    dedup_ids: Vec<String>,
    tenant_id: Option<String>,
}

/// Judges every vector of the file and compares with what the file expects.
///
/// # Errors
/// When the text is not a vector file. Vectors that fail are in the report, not an error.
pub fn verify_vectors(text: &str) -> Result<VectorReport, VectorError> {
    let file: File = serde_json::from_str(text).map_err(VectorError::Malformed)?;
    let mut report = VectorReport { passed: 0, failed: Vec::new(), skipped: BTreeMap::new() };
    for vector in file.vectors {
        let Some(scheme) = webhook::find(&vector.scheme) else {
            *report.skipped.entry(vector.scheme).or_default() += 1;
            continue;
        };
        let body = STANDARD
            .decode(&vector.body_base64)
            .map_err(|source| VectorError::Body { id: vector.id.clone(), source })?;
        match check(scheme, &vector, &body) {
            Ok(()) => report.passed += 1,
            Err((got, why)) => {
                report.failed.push(VectorFailure { id: vector.id, expected: vector.expect, got, why });
            }
        }
    }
    Ok(report)
}

/// What the verifier said and why, when that is not what the vector expects.
fn check(scheme: &Scheme, vector: &Vector, body: &[u8]) -> Result<(), (String, String)> {
    let headers: Vec<(&str, &str)> =
        vector.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let incoming = Incoming { method: &vector.method, url: &vector.url, headers: &headers, body, raw: None };
    let secrets: Vec<&str> = vector.secret.iter().chain(&vector.extra_secrets).map(String::as_str).collect();
    let now = Timestamp(vector.now_unix.saturating_mul(1000));
    let tolerance = vector.tolerance_s.map(Duration::from_secs);
    let outcome = webhook::verify(scheme, &incoming, &secrets, now, tolerance);
    let got = outcome.as_ref().map_or_else(Refusal::code, |_| "ok");
    if got != vector.expect {
        let why = outcome.map_or_else(|refusal| refusal.to_string(), |_| "the credential matches".to_owned());
        return Err((got.to_owned(), why));
    }
    outcome.map_or(Ok(()), |verified| compare(vector, &verified)).map_err(|why| (got.to_owned(), why))
}

/// Compares what the request was read to say. A vector that names no account says nothing about it.
fn compare(vector: &Vector, verified: &Verified) -> Result<(), String> {
    if verified.dedup_ids != vector.dedup_ids {
        return Err(format!("dedup_ids are {:?}, not {:?}", verified.dedup_ids, vector.dedup_ids));
    }
    if vector.tenant_id.is_some() && verified.tenant_id != vector.tenant_id {
        return Err(format!("tenant_id is {:?}, not {:?}", verified.tenant_id, vector.tenant_id));
    }
    Ok(())
}

impl fmt::Display for VectorReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failed {
            let VectorFailure { id, expected, got, why } = failure;
            writeln!(out, "{id}: expected {expected}, got {got}: {why}")?;
        }
        for (scheme, count) in &self.skipped {
            writeln!(out, "{scheme}: unknown scheme, {count} skipped")?;
        }
        write!(out, "{} passed, {} failed", self.passed, self.failed.len())?;
        let skipped: usize = self.skipped.values().sum();
        if skipped > 0 {
            write!(out, ", {skipped} skipped")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = include_str!("../../tests/fixtures/vectors/webhooks.json");

    #[test]
    fn every_vector_of_a_known_scheme_passes() {
        let report = verify_vectors(VECTORS).unwrap();
        assert!(report.failed.is_empty(), "{report}");
        assert_eq!(report.passed, 249, "{report}");
    }

    #[test]
    fn the_default_limits_on_age_are_those_of_the_vectors() {
        let file: File = serde_json::from_str(VECTORS).unwrap();
        for vector in file.vectors {
            let Some(scheme) = webhook::find(&vector.scheme) else { continue };
            assert_eq!(scheme.tolerance(), vector.tolerance_s.map(Duration::from_secs), "{}", vector.id);
        }
    }

    /// Kept requests hold no other headers, and are to be judged as they were.
    #[test]
    fn a_scheme_needs_no_header_but_those_it_says_it_reads() {
        let mut file: File = serde_json::from_str(VECTORS).unwrap();
        let mut left_out = 0;
        for vector in &mut file.vectors {
            let Some(scheme) = webhook::find(&vector.scheme) else { continue };
            let all = vector.headers.len();
            vector.headers.retain(|name, _| name.eq_ignore_ascii_case("content-type") || scheme.reads_header(name));
            left_out += all - vector.headers.len();
            let body = STANDARD.decode(&vector.body_base64).unwrap();
            assert_eq!(check(scheme, vector, &body), Ok(()), "{}", vector.id);
        }
        assert!(left_out > 0, "some headers are of no use");
    }

    #[test]
    fn a_failing_vector_is_named_with_the_reason() {
        let text = r#"{"vectors": [
            {"id": "a", "scheme": "github-hub256", "method": "POST", "url": "", "secret": "s", "headers": {},
             "body_base64": "", "now_unix": 0, "expect": "ok"},
            {"id": "b", "scheme": "carrier-pigeon", "method": "POST", "url": "", "secret": "s", "headers": {},
             "body_base64": "", "now_unix": 0, "expect": "ok"}]}"#;
        let report = verify_vectors(text).unwrap().to_string();
        let expected = "a: expected ok, got missing_header: X-Hub-Signature-256 is missing or empty, and this scheme \
                        requires it\ncarrier-pigeon: unknown scheme, 1 skipped\n0 passed, 1 failed, 1 skipped";
        assert_eq!(report, expected);
    }
}

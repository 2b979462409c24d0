//! Wire to domain: what every handler needs to read a request.

use std::fmt::Display;

use prost::Message;
use serde_json::Value;
use steward_actors::domain::account::Idempotency;
use steward_actors::domain::ids::Id;
use steward_actors::domain::job::JobKind;
use steward_actors::domain::pattern::Pattern;
use tonic::Request;

use crate::gateway::Gateway;
use crate::gateway::auth::Caller;
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::Refused;
use crate::gateway::forward::RetryKey;

/// Kinds of job that turn speech into text.
const LISTENING: [&str; 2] = ["call", "transcript"];

/// Who asks, under which correlation id, and what.
pub(super) fn open<T>(gateway: &Gateway, request: Request<T>) -> Result<(Caller, CorrelationId, T), Refused> {
    let caller = gateway.auth.authenticate(request.metadata().as_ref())?;
    let given = request.extensions().get::<CorrelationId>().cloned();
    let correlation = given.unwrap_or_else(|| CorrelationId::of(request.metadata().as_ref()));
    Ok((caller, correlation, request.into_inner()))
}

/// An id in a field.
pub(super) fn id<Of>(field: &'static str, text: &str) -> Result<Id<Of>, Refused> {
    Id::parse(text).map_err(|rule| Refused::field(field, rule))
}

/// Event type patterns in a repeated field.
pub(super) fn patterns(field: &'static str, texts: &[String]) -> Result<Vec<Pattern>, Refused> {
    let pattern = |(at, text): (usize, &String)| {
        Pattern::parse(text).map_err(|rule| Refused::field(format!("{field}[{at}]"), rule))
    };
    texts.iter().enumerate().map(pattern).collect()
}

/// A JSON object in a field; empty text means an empty object.
pub(super) fn object(field: &'static str, text: &str) -> Result<Value, Refused> {
    if text.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let rule = |why: &dyn Display| Refused::field(field, format!("must be a JSON object: {why}"));
    let value: Value = serde_json::from_str(text).map_err(|error| rule(&error))?;
    if value.is_object() { Ok(value) } else { Err(rule(&"it is another kind of value")) }
}

/// The input of a job. Which engines there are is a setting of the nodes, so no rule about accounts can know them.
pub(super) fn job_input(gateway: &Gateway, kind: JobKind, text: &str) -> Result<Value, Refused> {
    let input = object("input_json", text)?;
    if LISTENING.contains(&kind.as_str()) {
        gateway.engines.asked(&input).map_err(|rule| Refused::field("input_json.engine", rule))?;
    }
    Ok(input)
}

/// The name the node that took the request gave it, for clients that gave none.
pub(super) fn retry_key<T>(request: &Request<T>) -> Option<RetryKey> {
    request.extensions().get().cloned()
}

/// The client's name for its request, else ours, with a hash of the whole request; none without a name.
pub(super) fn idempotency(
    operation: &'static str,
    key: &str,
    retry_key: Option<RetryKey>,
    request: &impl Message,
) -> Option<Idempotency> {
    let key = if key.is_empty() { retry_key?.0 } else { key.to_owned() };
    let mut hasher = blake3::Hasher::new();
    hasher.update(operation.as_bytes());
    hasher.update(&[0]);
    hasher.update(&request.encode_to_vec());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    Some(Idempotency { key, fingerprint: u64::from_le_bytes(first) })
}

#[cfg(test)]
mod tests {
    use steward_proto::job::v1::CreateJobRequest;

    use super::*;

    #[test]
    fn a_fingerprint_covers_the_whole_request() {
        let request = |input: &str| CreateJobRequest { input_json: input.to_owned(), ..CreateJobRequest::default() };
        let print = |input: &str| idempotency("CreateJob", "k", None, &request(input)).unwrap().fingerprint;
        assert_eq!(print("{}"), print("{}"));
        assert_ne!(print("{}"), print("{\"a\":1}"));
        assert_ne!(print("{}"), idempotency("CancelJob", "k", None, &request("{}")).unwrap().fingerprint);
        assert_eq!(idempotency("CreateJob", "", None, &request("{}")), None);
    }

    #[test]
    fn the_clients_name_goes_before_ours() {
        let request = CreateJobRequest::default();
        let key = |key: &str| idempotency("CreateJob", key, Some(RetryKey("ours".to_owned())), &request).unwrap().key;
        assert_eq!((key("theirs"), key("")), ("theirs".to_owned(), "ours".to_owned()));
    }

    #[test]
    fn bad_fields_are_named() {
        assert!(object("input_json", "[1]").unwrap_err().message.starts_with("input_json must be a JSON object"));
        assert!(object("input_json", "{").unwrap_err().message.contains("EOF"));
        let refused = patterns("types", &["a.*".to_owned(), "A".to_owned()]).unwrap_err();
        assert!(refused.message.starts_with("types[1] must be"), "{refused}");
    }
}

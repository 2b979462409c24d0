//! Jobs asked for and cancelled by clients.

use serde_json::Value;

use super::{Decided, Decision, Rejection, check_room};
use crate::domain::account::command::Facts;
use crate::domain::account::event::Event;
use crate::domain::account::limits::{JSON_BYTES_MAX, OPEN_JOBS_MAX};
use crate::domain::account::state::Account;
use crate::domain::ids::JobId;
use crate::domain::job::JobKind;

/// A job is named after its kind and the event that records it: unique in its account, and short enough to say aloud.
pub(in crate::domain::account) fn job_id(kind: JobKind, seq: u64) -> JobId {
    JobId::parse(&format!("{}-{seq}", kind.as_str())).expect("a kind's name and a number make an id")
}

pub(super) fn create(account: &Account, kind: JobKind, input: Value) -> Decision {
    check_room(account.jobs.len(), OPEN_JOBS_MAX, "open jobs")?;
    if !input.is_object() {
        return Err(Rejection::Invalid { field: "input_json", rule: "must be a JSON object".to_owned() });
    }
    if input.to_string().len() > JSON_BYTES_MAX {
        let rule = format!("must have at most {JSON_BYTES_MAX} bytes");
        return Err(Rejection::Invalid { field: "input_json", rule });
    }
    check_input(kind, &input)?;
    let job = job_id(kind, account.last_seq + 1);
    let id = job.to_string();
    Ok(Decided::one(Event::JobRequested { job, kind, input, playbook: None }, &id))
}

/// What each kind cannot do without. The rest of the input is its runner's to judge.
fn check_input(kind: JobKind, input: &Value) -> Result<(), Rejection> {
    let text = |field: &str| input.get(field).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
    let list = |field: &str| input.get(field).is_some_and(Value::is_array);
    let needs = |field: &'static str, rule: &str| Err(Rejection::Invalid { field, rule: rule.to_owned() });
    match kind.as_str() {
        "call" | "probe" | "normalize" | "thumbnail" | "transcript" if !text("url") && !text("blob") => {
            needs("input_json.url", "must be an https URL, or input_json.blob the hash of a blob")
        }
        "summarize" | "index" if !text("text") && !list("segments") => {
            needs("input_json.text", "must be a text, or input_json.segments a list of {start_ms, end_ms, text}")
        }
        "search" if !text("query") => needs("input_json.query", "must be a text"),
        "answer" if !text("question") => needs("input_json.question", "must be a text"),
        "chat" if !list("messages") => needs("input_json.messages", "must be a list of {role, content}"),
        "embed" if !text("input") && !list("input") => needs("input_json.input", "must be a text or a list of texts"),
        _ => Ok(()),
    }
}

/// Cancelling what has ended changes nothing.
pub(super) fn cancel(account: &Account, facts: &Facts, job: JobId) -> Decision {
    let id = job.to_string();
    if account.jobs.contains_key(&job) {
        return Ok(Decided::one(Event::JobCancelled { job }, &id));
    }
    if facts.job_ended {
        Ok(Decided::done_before(&id, account.last_seq))
    } else {
        Err(Rejection::NotFound { what: "job", id })
    }
}

//! Jobs that clients ask for, and what they ask of them later.

use serde_json::Value;
use steward_cluster::clock::Timestamp;

use super::budget::check_request as check_budget;
use super::{Decided, Decision, Rejection, check_room};
use crate::domain::account::command::Facts;
use crate::domain::account::event::{Event, JobChange};
use crate::domain::account::limits::{JOB_AHEAD_MS_MAX, JSON_BYTES_MAX};
use crate::domain::account::state::Account;
use crate::domain::ids::JobId;
use crate::domain::job::{ClipAsked, EncoderArgs, Failure, Job, JobKind, JobOptions, JobState, SoundAsked, TaskState};
use crate::domain::task::TaskId;

/// A job is named after its kind and the event that records it: unique in its account, and short enough to say aloud.
pub(in crate::domain::account) fn job_id(kind: JobKind, seq: u64) -> JobId {
    JobId::parse(&format!("{}-{seq}", kind.as_str())).expect("a kind's name and a number make an id")
}

pub(super) fn create(
    account: &Account,
    facts: &Facts,
    kind: JobKind,
    input: Value,
    options: JobOptions,
    now: Timestamp,
) -> Decision {
    check_room(account.jobs.len(), account.task_limits.open_jobs(), "open jobs")?;
    check_input(kind, &input)?;
    check_budget(account, facts, kind, &input, now)?;
    check_times(options, now)?;
    let job = job_id(kind, account.last_seq + 1);
    let id = job.to_string();
    Ok(Decided::one(Event::JobRequested { job, kind, input, playbook: None, options }, &id))
}

/// What every job's input keeps to, and what each kind cannot do without. The rest of the input is its runner's to judge.
pub(super) fn check_input(kind: JobKind, input: &Value) -> Result<(), Rejection> {
    if !input.is_object() {
        return Err(Rejection::Invalid { field: "input_json", rule: "must be a JSON object".to_owned() });
    }
    if input.to_string().len() > JSON_BYTES_MAX {
        let rule = format!("must have at most {JSON_BYTES_MAX} bytes");
        return Err(Rejection::Invalid { field: "input_json", rule });
    }
    let text = |field: &str| input.get(field).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
    let list = |field: &str| input.get(field).is_some_and(Value::is_array);
    let needs = |field: &'static str, rule: &str| Err(Rejection::Invalid { field, rule: rule.to_owned() });
    match kind.as_str() {
        "call" | "probe" | "normalize" | "thumbnail" | "transcript" | "hls" | "audio" | "storyboard" | "clip"
            if !text("url") && !text("blob") =>
        {
            needs("input_json.url", "must be an https URL, or input_json.blob the hash of a blob")
        }
        "summarize" | "index" if !text("text") && !list("segments") => {
            needs("input_json.text", "must be a text, or input_json.segments a list of {start_ms, end_ms, text}")
        }
        "search" if !text("query") => needs("input_json.query", "must be a text"),
        "answer" if !text("question") => needs("input_json.question", "must be a text"),
        "chat" if !list("messages") => needs("input_json.messages", "must be a list of {role, content}"),
        "embed" if !text("input") && !list("input") => needs("input_json.input", "must be a text or a list of texts"),
        _ => check_media(kind, input),
    }
}

/// What jobs on recordings may say beside the recording.
fn check_media(kind: JobKind, input: &Value) -> Result<(), Rejection> {
    let checked = match kind.as_str() {
        "call" | "normalize" | "hls" => EncoderArgs::of_input(input).map(|_| ()),
        "clip" => ClipAsked::of_input(input).and_then(|_| EncoderArgs::of_input(input)).map(|_| ()),
        "audio" => SoundAsked::of_input(input).map(|_| ()),
        _ => Ok(()),
    };
    checked.map_err(|rule| Rejection::Invalid { field: "input_json", rule })
}

/// A start that has passed is no fault: the job starts at once.
fn check_times(options: JobOptions, now: Timestamp) -> Result<(), Rejection> {
    let JobOptions { start_at, deadline_at, priority: _ } = options;
    for (field, at) in [("start_at_ms", start_at), ("deadline_at_ms", deadline_at)] {
        if at.is_some_and(|at| at.0.saturating_sub(now.0) > JOB_AHEAD_MS_MAX) {
            return Err(Rejection::Invalid { field, rule: "must be at most 366 days ahead".to_owned() });
        }
    }
    let earliest = start_at.map_or(now, |start_at| start_at.max(now));
    if deadline_at.is_some_and(|deadline_at| deadline_at <= earliest) {
        let rule = "must be in the future, and behind start_at_ms".to_owned();
        return Err(Rejection::Invalid { field: "deadline_at_ms", rule });
    }
    Ok(())
}

fn open<'a>(account: &'a Account, job: &JobId) -> Result<&'a Job, Rejection> {
    account.jobs.get(job).ok_or_else(|| Rejection::NotFound { what: "open job", id: job.to_string() })
}

/// Stops what runs, and starts nothing until the job is resumed.
pub(super) fn pause(account: &Account, job: JobId) -> Decision {
    set_paused(account, job, true, JobChange::Paused)
}

pub(super) fn resume(account: &Account, job: JobId) -> Decision {
    set_paused(account, job, false, JobChange::Resumed)
}

fn set_paused(account: &Account, job: JobId, wanted: bool, change: JobChange) -> Decision {
    let id = job.to_string();
    if open(account, &job)?.is_paused == wanted {
        return Ok(Decided::done_before(&id, account.last_seq));
    }
    Ok(Decided::one(Event::JobChanged { job, change }, &id))
}

/// Opens a job again that has ended. One that succeeded needs to be told from where.
pub(super) fn restart(account: &Account, facts: &Facts, job: JobId, from: Option<TaskId>) -> Decision {
    let id = job.to_string();
    if account.jobs.contains_key(&job) {
        return Err(Rejection::JobState { job: id, wanted: "ended: cancel it first" });
    }
    // What is behind the floor is about to be forgotten.
    let ended = facts.ended_job.as_ref().filter(|ended| ended.seq >= account.first_seq);
    let Some(ended) = ended else { return Err(Rejection::NotFound { what: "job", id }) };
    let invalid = |rule: String| Err(Rejection::Invalid { field: "from_task", rule });
    match from {
        None if ended.state == JobState::Succeeded => return invalid("must be set: the job succeeded".to_owned()),
        Some(task) if !ended.tasks.contains_key(&task) => {
            let tasks: Vec<String> = ended.tasks.keys().map(ToString::to_string).collect();
            return invalid(format!("must be a task of the job: {}", tasks.join(", ")));
        }
        None | Some(_) => {}
    }
    check_room(account.jobs.len(), account.task_limits.open_jobs(), "open jobs")?;
    Ok(Decided::one(Event::JobChanged { job, change: JobChange::Restarted { from } }, &id))
}

/// Fails a job whose deadline has come. What it was at then names the failure.
pub(super) fn expire(account: &Account, job: JobId) -> Decision {
    let Some(open) = account.jobs.get(&job).filter(|open| open.options.deadline_at.is_some()) else {
        return Ok(Decided::default()); // It has ended, or was restarted without a deadline.
    };
    let at_work = [TaskState::Running, TaskState::BackingOff, TaskState::Ready, TaskState::Delayed];
    let task_in = |state: TaskState| open.tasks.iter().find(|(_, task)| task.state == state).map(|(kind, _)| *kind);
    let Some(task) = at_work.into_iter().find_map(task_in) else { return Ok(Decided::default()) };
    let failure = Failure { code: "deadline_exceeded".to_owned(), message: "the job's deadline has passed".to_owned() };
    let id = job.to_string();
    Ok(Decided::one(Event::JobFailed { job, task, failure }, &id))
}

/// Cancelling what has ended changes nothing.
pub(super) fn cancel(account: &Account, facts: &Facts, job: JobId) -> Decision {
    let id = job.to_string();
    if account.jobs.contains_key(&job) {
        return Ok(Decided::one(Event::JobCancelled { job }, &id));
    }
    if facts.ended_job.is_some() {
        Ok(Decided::done_before(&id, account.last_seq))
    } else {
        Err(Rejection::NotFound { what: "job", id })
    }
}

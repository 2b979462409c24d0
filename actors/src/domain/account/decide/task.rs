//! Leases of tasks and what their workers report. Every report is fenced by its attempt.

use std::time::Duration;

use serde_json::Value;
use steward_cluster::clock::Timestamp;

use super::{Decided, Decision, Rejection, budget, jitter_ms};
use crate::domain::account::call::AiCalled;
use crate::domain::account::command::{Facts, RetryAsked, TaskRef};
use crate::domain::account::event::{Event, JobChange, ReleaseReason};
use crate::domain::account::limits::{JSON_BYTES_MAX, TASK_BACK_OFF_MS_MAX, TASK_BACK_OFF_MS_MIN, TASK_FAILURES_MAX};
use crate::domain::account::state::Account;
use crate::domain::ids::JobId;
use crate::domain::job::{Failure, Job, Split, Task, TaskState};
use crate::domain::task::{OPEN_JOBS_MAX_MAX, RUNNING_MAX_MAX, TaskId, TaskKind, TaskLimits, WEIGHT_MAX};

pub(super) fn start(
    account: &Account,
    facts: &Facts,
    job: JobId,
    task: TaskId,
    worker: String,
    now: Timestamp,
) -> Decision {
    let (open, found) = find(account, &job, task)?;
    if open.is_paused {
        return Err(Rejection::JobState { job: job.to_string(), wanted: "resumed" });
    }
    if found.state != TaskState::Ready {
        return Err(Rejection::TaskState { job: job.to_string(), task: task.to_string(), wanted: "ready" });
    }
    check_limits(account, task.kind)?;
    let reserved = budget::reserve(account, facts, open, task, now)?;
    let id = job.to_string();
    Ok(Decided::one(Event::TaskStarted { job, task, attempt: found.attempt + 1, worker, reserved }, &id))
}

/// Counts the leases that were given: there is no other counter, so none can be lost.
fn check_limits(account: &Account, task: TaskKind) -> Result<(), Rejection> {
    if account.task_limits.runs_freely() {
        return Ok(());
    }
    let tasks = account.jobs.values().flat_map(|job| &job.tasks);
    let running = tasks.filter(|(_, task)| task.state == TaskState::Running).map(|(task, _)| task.kind);
    let (mut of_all, mut of_kind) = (0, 0);
    let limits = &account.task_limits;
    let counted = limits.counted_as(task);
    running.for_each(|kind| {
        of_all += 1;
        of_kind += usize::from(limits.counted_as(kind) == counted);
    });
    let Some(reached) = limits.reached(counted, of_all, of_kind) else { return Ok(()) };
    let what = if reached.kind.is_some() { "running tasks of this kind" } else { "running tasks" };
    Err(Rejection::Limit { what, max: usize::try_from(reached.max).unwrap_or(usize::MAX) })
}

pub(super) fn set_limits(account: &Account, limits: TaskLimits) -> Decision {
    let invalid = |field: &'static str, rule: String| Err(Rejection::Invalid { field, rule });
    if limits.weight == 0 || limits.weight > WEIGHT_MAX {
        return invalid("weight", format!("must be 1 to {WEIGHT_MAX}"));
    }
    let is_wrong = |max: &u32| *max == 0 || *max > RUNNING_MAX_MAX;
    if limits.running_max.as_ref().is_some_and(is_wrong) {
        return invalid("running_max", format!("must be at most {RUNNING_MAX_MAX}"));
    }
    if limits.running_max_by_kind.values().any(is_wrong) {
        return invalid("running_max_by_kind", format!("must be 1 to {RUNNING_MAX_MAX} for each kind"));
    }
    if limits.open_jobs_max.is_some_and(|max| max == 0 || max > OPEN_JOBS_MAX_MAX) {
        return invalid("open_jobs_max", format!("must be at most {OPEN_JOBS_MAX_MAX}"));
    }
    let id = account.id.to_string();
    if account.task_limits == limits {
        return Ok(Decided::done_before(&id, account.last_seq));
    }
    Ok(Decided::one(Event::TaskLimitsSet { limits }, &id))
}

pub(super) fn progress(account: &Account, at: TaskRef, permille: u32, note: String) -> Decision {
    fenced(account, &at)?;
    let TaskRef { job, task, attempt } = at;
    let id = job.to_string();
    Ok(Decided::one(Event::TaskProgressed { job, task, attempt, permille: permille.min(1000), note }, &id))
}

pub(super) fn checkpoint(account: &Account, at: TaskRef, state: Value) -> Decision {
    fenced(account, &at)?;
    check_size("checkpoint", &state)?;
    let TaskRef { job, task, attempt } = at;
    let id = job.to_string();
    Ok(Decided::one(Event::TaskCheckpointed { job, task, attempt, state }, &id))
}

/// A report that comes again is known by its number. The account itself says what the call cost.
pub(super) fn ai_call(account: &Account, facts: &Facts, at: TaskRef, mut call: AiCalled, now: Timestamp) -> Decision {
    let (_, found) = fenced(account, &at)?;
    let id = at.job.to_string();
    if call.number != 0 && call.number <= found.calls {
        return Ok(Decided::done_before(&id, account.last_seq));
    }
    let model = format!("{}/{}", call.provider, call.model);
    call.cost_micros = facts.tariff.cost(&model, call.input_tokens, call.output_tokens);
    let used = call.used();
    let mut decided = Decided::one(Event::AiCalled { job: at.job, task: at.task, call }, &id);
    budget::spend(account, used, now, &mut decided);
    Ok(decided)
}

/// The last task to succeed ends its job.
pub(super) fn succeed(account: &Account, facts: &Facts, at: TaskRef, result: Value, now: Timestamp) -> Decision {
    let (found, reported) = fenced(account, &at)?;
    let used = budget::worked_through(reported, &result);
    check_size("result", &result)?;
    let others_done = found.tasks.iter().all(|(kind, task)| *kind == at.task || task.state == TaskState::Succeeded);
    let document = (at.task == TaskKind::Index.whole()).then(|| indexed(&result)).flatten();
    let TaskRef { job, task, attempt } = at;
    let of_job = (job.clone(), found);
    let mut decided = Decided::one(Event::JobSucceeded { job: job.clone() }, job.as_str());
    if !others_done {
        decided.events.clear();
    }
    if let Some(document) = document {
        decided.events.insert(0, document);
    }
    let splits = task == TaskKind::Probe.whole() && found.tasks.contains_key(&TaskKind::Normalize.whole());
    if let Some(split) = Split::of_probe(&result).filter(|_| splits) {
        decided.events.insert(0, Event::JobChanged { job: job.clone(), change: JobChange::Split(split) });
    }
    let blobs = blobs_of(&result);
    decided.events.insert(0, Event::TaskSucceeded { job, task, attempt, result, blobs });
    budget::end_what_never_fits(account, facts, of_job, now, &mut decided);
    budget::spend(account, used, now, &mut decided);
    Ok(decided)
}

/// A task that fails for good fails its job.
pub(super) fn fail(account: &Account, at: TaskRef, failure: Failure, retry: RetryAsked, now: Timestamp) -> Decision {
    let (_, found) = fenced(account, &at)?;
    let failures = found.failures + 1;
    let back_off = || {
        let doubled = TASK_BACK_OFF_MS_MIN.checked_shl(failures - 1).unwrap_or(TASK_BACK_OFF_MS_MAX);
        jitter_ms(doubled.min(TASK_BACK_OFF_MS_MAX), account, u64::from(at.attempt))
    };
    let wait_ms = match retry {
        RetryAsked::Never => None,
        RetryAsked::BackOff => Some(back_off()),
        RetryAsked::AfterMs(asked) => Some(asked.max(back_off())),
    };
    let wait_ms = wait_ms.filter(|_| failures < TASK_FAILURES_MAX);
    let retry_at = wait_ms.map(|wait_ms| now.plus(Duration::from_millis(wait_ms)));
    let TaskRef { job, task, attempt } = at;
    let id = job.to_string();
    let ends = Event::JobFailed { job: job.clone(), task, failure: failure.clone() };
    let mut decided = Decided::one(Event::TaskFailed { job, task, attempt, failure, retry_at }, &id);
    if retry_at.is_none() {
        decided.events.push(ends);
    }
    Ok(decided)
}

/// Takes a lease back, or ends a back-off.
pub(super) fn release(account: &Account, at: TaskRef, reason: ReleaseReason) -> Decision {
    let (_, found) = find(account, &at.job, at.task)?;
    let wanted = match reason {
        ReleaseReason::LeaseLost | ReleaseReason::Drained => TaskState::Running,
        ReleaseReason::BackOffOver => TaskState::BackingOff,
        ReleaseReason::DelayOver => TaskState::Delayed,
    };
    if found.attempt != at.attempt || found.state != wanted {
        return Ok(Decided::default()); // Someone was quicker; the task is where it should be.
    }
    let TaskRef { job, task, attempt } = at;
    let id = job.to_string();
    Ok(Decided::one(Event::TaskReleased { job, task, attempt, reason }, &id))
}

fn find<'a>(account: &'a Account, job: &JobId, task: TaskId) -> Result<(&'a Job, &'a Task), Rejection> {
    let missing = || Rejection::NotFound { what: "open job", id: job.to_string() };
    let found = account.jobs.get(job).ok_or_else(missing)?;
    let no_task = || Rejection::NotFound { what: "task", id: task.to_string() };
    Ok((found, found.tasks.get(&task).ok_or_else(no_task)?))
}

/// The task, when the report comes from its current attempt.
fn fenced<'a>(account: &'a Account, at: &TaskRef) -> Result<(&'a Job, &'a Task), Rejection> {
    let stale = || Rejection::StaleAttempt { job: at.job.to_string(), task: at.task.to_string(), attempt: at.attempt };
    let (job, task) = find(account, &at.job, at.task).map_err(|_| stale())?;
    if task.state == TaskState::Running && task.attempt == at.attempt { Ok((job, task)) } else { Err(stale()) }
}

fn check_size(field: &'static str, value: &Value) -> Result<(), Rejection> {
    if value.to_string().len() <= JSON_BYTES_MAX {
        return Ok(());
    }
    Err(Rejection::Invalid { field, rule: format!("must have at most {JSON_BYTES_MAX} bytes") })
}

/// The document an index task made, when it made one.
fn indexed(result: &Value) -> Option<Event> {
    let text = |field: &str| result.get(field).and_then(Value::as_str).map(str::to_owned);
    let chunks = result.get("chunks").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok())?;
    let title = text("title").unwrap_or_default();
    Some(Event::DocumentIndexed { document: text("document")?, title, blob: text("blob")?, chunks })
}

/// Every name of a blob in the fields that are about blobs, so that the account may read it.
pub(crate) fn blobs_of(result: &Value) -> Vec<String> {
    let mut found = vec![];
    let fields = result.as_object().into_iter().flatten();
    fields.filter(|(name, _)| name.contains("blob")).for_each(|(_, value)| collect_names(value, &mut found));
    found
}

fn collect_names(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let hash = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if hash && !found.contains(text) {
                found.push(text.clone());
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| collect_names(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blobs_are_found_in_fields_about_blobs_only() {
        let [one, srt, vtt, text] = ["1", "2", "3", "4"].map(|digit| digit.repeat(64));
        let result = json!({"blob": one, "blobs": {"srt": srt, "all": [vtt, srt], "count": 2}, "text": text, "n": 1});
        let mut found = blobs_of(&result);
        found.sort();
        assert_eq!(found, [one, srt, vtt]);
    }
}

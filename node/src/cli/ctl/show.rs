//! Answers of the API as JSON values: printed as they are, or as tables of some of their fields.

use serde_json::{Value, json};
use steward_proto::account::v1 as accounts;
use steward_proto::event::v1 as events;
use steward_proto::job::v1 as jobs;
use steward_proto::webhook::v1 as webhooks;

use crate::gateway::time::rfc3339;
use steward_cluster::clock::Timestamp;

pub(super) fn account(account: &accounts::Account) -> Value {
    let mut value = json!({
        "account": account.account_id,
        "name": account.display_name,
        "created": time(account.created_at_ms),
        "first_seq": account.first_seq,
        "last_seq": account.last_seq,
        "quarantine": account.quarantine_reason,
    });
    if let Some(limits) = &account.task_limits {
        value["task_limits"] = task_limits(limits);
    }
    if !account.budgets.is_empty() {
        value["budgets"] = account.budgets.iter().map(budget).collect();
    }
    value
}

fn budget(state: &accounts::BudgetState) -> Value {
    let budget = state.budget.clone().unwrap_or_default();
    json!({
        "unit": budget.unit,
        "max": budget.max,
        "period": budget.period,
        "reserved": state.reserved,
        "spent": state.spent,
        "left": state.left,
        "since": time(state.since_ms),
        "until": time(state.until_ms),
    })
}

pub(super) fn task_limits(limits: &accounts::TaskLimits) -> Value {
    let by_kind = limits.running_max_by_kind.iter().map(|limit| (limit.kind.clone(), limit.running_max.into()));
    json!({
        "weight": limits.weight,
        "running_max": (limits.running_max > 0).then_some(limits.running_max),
        "running_max_by_kind": by_kind.collect::<serde_json::Map<_, _>>(),
        "open_jobs_max": (limits.open_jobs_max > 0).then_some(limits.open_jobs_max),
    })
}

pub(super) fn api_key(key: &accounts::ApiKey) -> Value {
    let role = match key.role() {
        accounts::Role::Admin => "admin",
        accounts::Role::Writer => "writer",
        accounts::Role::Reader => "reader",
        accounts::Role::Unspecified => "",
    };
    json!({
        "key": key.key_id,
        "role": role,
        "label": key.label,
        "created": time(key.created_at_ms),
        "expires": time(key.expires_at_ms),
    })
}

pub(super) fn playbook(playbook: &accounts::Playbook) -> Value {
    json!({
        "playbook": playbook.playbook_id,
        "on": playbook.on,
        "job": playbook.job_kind,
        "input": parsed(&playbook.input_json),
    })
}

pub(super) fn source(source: &webhooks::Source) -> Value {
    json!({
        "source": source.source_id,
        "scheme": source.scheme,
        "path": source.path,
        "tolerance_s": source.tolerance_s,
        "public_url": source.public_url,
        "created": time(source.created_at_ms),
        "state": match (source.is_paused, source.awaits_secret) {
            (true, _) => "paused",
            (false, true) => "awaits secret",
            (false, false) => "active",
        },
        "rate_per_s": source.rate_per_s,
        "allow": source.allow,
        "response": source.response.as_ref().map(|response| {
            json!({"status": response.status, "content_type": response.content_type, "body": response.body})
        }),
        "secrets": source.secrets.iter().map(|secret| {
            json!({"position": secret.position, "last_used": time(secret.last_used_at_ms)})
        }).collect::<Value>(),
        "counts": source.counts.iter().map(|count| (count.what.clone(), json!(count.count))).collect::<Value>(),
    })
}

pub(super) fn tested(tested: &webhooks::TestSourceResponse) -> Value {
    let event = |event: &webhooks::TestedEvent| json!({"type": event.r#type, "delivery_id": event.delivery_id, "secret": event.secret});
    json!({
        "accepted": tested.is_accepted,
        "code": tested.code,
        "detail": tested.detail,
        "events": tested.events.iter().map(event).collect::<Value>(),
    })
}

pub(super) fn refused(request: &webhooks::RefusedRequest) -> Value {
    json!({
        "number": request.number,
        "at": time(request.at_ms),
        "code": request.code,
        "content_type": request.content_type,
        "body_bytes": request.body_bytes,
        "headers": request.header_names,
    })
}

pub(super) fn endpoint(endpoint: &webhooks::Endpoint) -> Value {
    let state = match endpoint.state() {
        webhooks::EndpointState::Active => "active",
        webhooks::EndpointState::Disabled => "disabled",
        webhooks::EndpointState::Paused => "paused",
        webhooks::EndpointState::CircuitOpen => "circuit_open",
        webhooks::EndpointState::Unspecified => "",
    };
    json!({
        "endpoint": endpoint.endpoint_id,
        "url": endpoint.url,
        "patterns": endpoint.patterns,
        "state": state,
        "reason": endpoint.disabled_reason,
        "filter": endpoint.filter,
        "ordering_key": endpoint.ordering_key,
        "rate_per_s": endpoint.rate_per_s,
        "extras": endpoint.has_extras,
        "cursor": endpoint.cursor,
        "pending": endpoint.pending,
        "failed": endpoint.failed_attempts,
        "next": time(endpoint.next_attempt_at_ms),
        "recovers_through": endpoint.recovery_through_seq,
        "recovered": endpoint.recovery_cursor,
        "circuit_open_until": time(endpoint.circuit_open_until_ms),
        "failing_since": time(endpoint.failing_since_ms),
        "old_secret_until": time(endpoint.old_secret_until_ms),
        "delivered": endpoint.delivered_total,
        "failed_attempts": endpoint.failed_attempts_total,
        "dead": endpoint.dead_total,
        "last_success": time(endpoint.last_success_at_ms),
        "last_failure": time(endpoint.last_failure_at_ms),
    })
}

pub(super) fn test(told: &webhooks::TestEndpointResponse) -> Value {
    json!({
        "succeeded": told.succeeded,
        "status": told.status,
        "latency_ms": told.latency_ms,
        "error": told.error,
        "response": told.response,
    })
}

pub(super) fn delivery(delivery: &webhooks::Delivery) -> Value {
    let result = match delivery.result() {
        webhooks::AttemptResult::Succeeded => "succeeded",
        webhooks::AttemptResult::Failed => "failed",
        webhooks::AttemptResult::Dead => "dead",
        webhooks::AttemptResult::Unspecified => "",
    };
    json!({
        "seq": delivery.seq,
        "event": delivery.event_seq,
        "attempt": delivery.attempt,
        "result": result,
        "status": delivery.status,
        "latency_ms": delivery.latency_ms,
        "at": time(delivery.at_ms),
        "retry_at": time(delivery.retry_at_ms),
        "error": delivery.error,
        "response": delivery.response,
    })
}

pub(super) fn job(job: &jobs::Job) -> Value {
    let mut value = job_row(job);
    value["input"] = parsed(&job.input_json);
    value["tasks"] = job.tasks.iter().map(task).collect();
    value
}

/// A job without what is long.
pub(super) fn job_row(job: &jobs::Job) -> Value {
    let mut value = json!({
        "job": job.job_id,
        "kind": job.kind,
        "state": job_state(job.state()),
        "created": time(job.created_at_ms),
        "ended": time(job.ended_at_ms),
        "cause_seq": job.cause_seq,
        "priority": job.priority,
        "start_at": time(job.start_at_ms),
        "deadline_at": time(job.deadline_at_ms),
    });
    if job.paused {
        value["state"] = json!("paused");
    }
    if !job.error_code.is_empty() {
        value["error"] = json!(format!("{}: {}", job.error_code, job.error_message));
    }
    value
}

pub(super) fn job_state(state: jobs::JobState) -> &'static str {
    match state {
        jobs::JobState::Running => "running",
        jobs::JobState::Succeeded => "succeeded",
        jobs::JobState::Failed => "failed",
        jobs::JobState::Cancelled => "cancelled",
        jobs::JobState::Unspecified => "",
    }
}

pub(super) fn task(task: &jobs::Task) -> Value {
    let state = match task.state() {
        jobs::TaskState::Blocked => "blocked",
        jobs::TaskState::Delayed => "delayed",
        jobs::TaskState::Ready => "ready",
        jobs::TaskState::Running => "running",
        jobs::TaskState::BackingOff => "backing_off",
        jobs::TaskState::Succeeded => "succeeded",
        jobs::TaskState::Failed => "failed",
        jobs::TaskState::Unspecified => "",
    };
    let mut value = json!({"task": task.kind, "state": state, "attempt": task.attempt, "progress": task.progress});
    for (name, text) in [("note", &task.note), ("error_code", &task.error_code), ("error_message", &task.error_message)]
    {
        if !text.is_empty() {
            value[name] = json!(text);
        }
    }
    if !task.result_json.is_empty() {
        value["result"] = parsed(&task.result_json);
    }
    value
}

pub(super) fn event(event: &events::Event) -> Value {
    json!({
        "account": event.account_id,
        "seq": event.seq,
        "type": event.r#type,
        "time": time(event.time_ms),
        "actor": event.actor,
        "correlation_id": event.correlation_id,
        "causation_seq": event.causation_seq,
        "shard": event.shard,
        "index": event.index,
        "data": parsed(&event.data_json),
    })
}

/// JSON within JSON as what it is; as text when it is none.
pub(super) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

/// A time, or nothing for "never".
pub(super) fn time(ms: u64) -> Value {
    if ms == 0 { Value::Null } else { json!(rfc3339(Timestamp(ms))) }
}

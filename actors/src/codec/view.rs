//! An event as clients see it: its type and its data, without secrets.
//!
//! The gateway, the delivery sender and the playbooks' authors read this form; it only ever gains fields.

use serde_json::{Value, json};
use steward_cluster::ids::ShardId;
use steward_proto::event::v1 as wire;

use super::{budget, job, schedule, upload};
use crate::domain::account::{
    AiCalled, ApiKeyCreated, EndpointChange, EndpointSettings, Event, JobChange, ReleaseReason, SourceChange,
};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::Split;
use crate::domain::task::TaskId;
use crate::shard::FeedEntry;

/// The type subscribers filter by, such as `job.requested`.
#[must_use]
pub fn event_type(event: &Event) -> String {
    let name = match event {
        Event::WebhookAccepted(webhook) => return webhook.type_on_feed(),
        Event::AccountCreated { .. } => "account.created",
        Event::ApiKeyCreated(_) => "key.created",
        Event::ApiKeyRevoked { .. } => "key.revoked",
        Event::PlaybookPut { .. } => "playbook.put",
        Event::PlaybookDeleted { .. } => "playbook.deleted",
        Event::PlaybookFailed { .. } => "playbook.failed",
        Event::SourceCreated(_) => "source.created",
        Event::SourceDeleted { .. } => "source.deleted",
        Event::SourceChanged { change, .. } => source_change_type(change),
        Event::EndpointCreated(_) => "endpoint.created",
        Event::EndpointDeleted { .. } => "endpoint.deleted",
        Event::EndpointDisabled { .. } => "endpoint.disabled",
        Event::EndpointChanged { change, .. } => endpoint_change_type(change),
        Event::DeliverySucceeded { .. } => "delivery.succeeded",
        Event::DeliveryFailed { .. } => "delivery.failed",
        Event::JobRequested { .. } => "job.requested",
        Event::JobSucceeded { .. } => "job.succeeded",
        Event::JobFailed { .. } => "job.failed",
        Event::JobCancelled { .. } => "job.cancelled",
        Event::JobChanged { change, .. } => job::change_type(*change),
        Event::BlobUploaded(_) => "blob.uploaded",
        Event::TaskLimitsSet { .. } => "account.task_limits_set",
        Event::BudgetChanged(change) => budget::change_type(change),
        Event::ScheduleChanged { change, .. } => schedule::change_type(change),
        Event::TaskStarted { .. } => "task.started",
        Event::TaskProgressed { .. } => "task.progressed",
        Event::TaskCheckpointed { .. } => "task.checkpointed",
        Event::TaskSucceeded { .. } => "task.succeeded",
        Event::TaskFailed { .. } => "task.failed",
        Event::TaskReleased { .. } => "task.released",
        Event::AiCalled { .. } => "ai.called",
        Event::DocumentIndexed { .. } => "document.indexed",
    };
    name.to_owned()
}

/// The event's data. Secrets, hashes and wrapped keys are never in it.
#[must_use]
pub fn data_json(event: &Event) -> Value {
    match event {
        Event::WebhookAccepted(webhook) => webhook.data(),
        Event::AccountCreated { display_name, wrapped_key: _ } => json!({"display_name": display_name}),
        Event::ApiKeyCreated(created) => api_key(created),
        Event::ApiKeyRevoked { key } => json!({"key": key}),
        Event::PlaybookPut { playbook, rule } => {
            json!({"playbook": playbook, "on": rule.on, "job": rule.job, "input": rule.input})
        }
        Event::PlaybookDeleted { playbook } => json!({"playbook": playbook}),
        Event::PlaybookFailed { playbook, reason } => json!({"playbook": playbook, "reason": reason}),
        // Whoever knows the token of a source may send to it, so it stays out like its secrets.
        Event::SourceCreated(created) => json!({"source": created.source, "scheme": created.scheme}),
        Event::SourceDeleted { source } => json!({"source": source}),
        Event::SourceChanged { source, change } => with(json!({"source": source}), source_change(change)),
        Event::EndpointCreated(created) => {
            json!({"endpoint": created.endpoint, "url": created.url, "patterns": created.patterns})
        }
        Event::EndpointDeleted { endpoint } => json!({"endpoint": endpoint}),
        Event::EndpointDisabled { endpoint, reason } => json!({"endpoint": endpoint, "reason": reason}),
        Event::EndpointChanged { endpoint, change } => with(json!({"endpoint": endpoint}), endpoint_change(change)),
        Event::DeliverySucceeded { endpoint, event_seq, attempt, status, latency_ms, response } => {
            let of = json!({"endpoint": endpoint, "event_seq": event_seq, "attempt": attempt});
            with(of, json!({"status": status, "latency_ms": latency_ms, "response": response}))
        }
        Event::DeliveryFailed { endpoint, event_seq, attempt, status, error, retry_at, latency_ms, response } => {
            let of = json!({"endpoint": endpoint, "event_seq": event_seq, "attempt": attempt});
            let how = json!({"status": status, "error": error, "retry_at_ms": retry_at});
            with(with(of, how), json!({"latency_ms": latency_ms, "response": response}))
        }
        Event::JobRequested { job, kind, input, playbook, options } => {
            with(json!({"job": job, "kind": kind, "input": input, "playbook": playbook}), job::options_json(*options))
        }
        Event::JobSucceeded { job } | Event::JobCancelled { job } => json!({"job": job}),
        Event::JobChanged { job, change: JobChange::Restarted { from } } => json!({"job": job, "from_task": from}),
        Event::JobChanged { job, change: JobChange::Paused | JobChange::Resumed } => json!({"job": job}),
        Event::JobChanged { job, change: JobChange::Split(Split { chunks, has_sound }) } => {
            json!({"job": job, "chunks": chunks, "has_sound": has_sound})
        }
        Event::JobFailed { job, task, failure } => json!({"job": job, "task": task, "failure": failure}),
        Event::TaskLimitsSet { limits } => json!(limits),
        Event::BlobUploaded(uploaded) => upload::shown(uploaded),
        Event::BudgetChanged(change) => budget::change_json(change),
        Event::ScheduleChanged { schedule: changed, change } => schedule::change_json(changed, change),
        Event::TaskStarted { job, task, attempt, worker, reserved } => {
            let reserved = (!reserved.is_none()).then(|| json!({"reserved": reserved}));
            attempt_of(job, *task, *attempt, with(json!({"worker": worker}), reserved.unwrap_or_default()))
        }
        Event::TaskProgressed { job, task, attempt, permille, note } => {
            attempt_of(job, *task, *attempt, json!({"permille": permille, "note": note}))
        }
        Event::TaskCheckpointed { job, task, attempt, state } => {
            attempt_of(job, *task, *attempt, json!({"state": state}))
        }
        Event::TaskSucceeded { job, task, attempt, result, blobs } => {
            attempt_of(job, *task, *attempt, json!({"result": result, "blobs": blobs}))
        }
        Event::TaskFailed { job, task, attempt, failure, retry_at } => {
            attempt_of(job, *task, *attempt, json!({"failure": failure, "retry_at_ms": retry_at}))
        }
        Event::TaskReleased { job, task, attempt, reason } => {
            attempt_of(job, *task, *attempt, json!({"reason": release_reason(*reason)}))
        }
        Event::AiCalled { job, task, call } => ai_call(job, *task, call),
        Event::DocumentIndexed { document, title, blob, chunks } => {
            json!({"document": document, "title": title, "blob": blob, "chunks": chunks})
        }
    }
}

/// The event as it goes over the wire.
#[must_use]
pub fn public_event(account: &AccountId, shard: ShardId, entry: &FeedEntry) -> wire::Event {
    wire::Event {
        account_id: account.to_string(),
        seq: entry.seq,
        shard: u32::from(shard.0),
        index: entry.index.0,
        r#type: event_type(&entry.event),
        time_ms: entry.at.0,
        actor: entry.actor.clone(),
        correlation_id: entry.correlation_id.clone(),
        causation_seq: entry.causation_seq,
        data_json: data_json(&entry.event).to_string(),
    }
}

fn source_change_type(change: &SourceChange) -> &'static str {
    match change {
        SourceChange::Updated { .. } => "source.updated",
        SourceChange::SecretsChanged { .. } => "source.secrets_changed",
        SourceChange::Paused => "source.paused",
        SourceChange::Resumed => "source.resumed",
    }
}

fn source_change(change: &SourceChange) -> Value {
    match change {
        SourceChange::Updated { tolerance_s, public_url, settings } => with(
            json!({"tolerance_s": tolerance_s, "public_url": public_url, "rate_per_s": settings.rate_per_s}),
            json!({"allow": settings.allow, "response": settings.response}),
        ),
        SourceChange::SecretsChanged { sealed_secrets, awaits_secret } => {
            json!({"secrets": sealed_secrets.len(), "awaits_secret": awaits_secret})
        }
        SourceChange::Paused | SourceChange::Resumed => json!({}),
    }
}

fn endpoint_change_type(change: &EndpointChange) -> &'static str {
    match change {
        EndpointChange::Updated { .. } => "endpoint.updated",
        EndpointChange::SecretRotated { .. } => "endpoint.secret_rotated",
        EndpointChange::Paused => "endpoint.paused",
        EndpointChange::Resumed => "endpoint.resumed",
        EndpointChange::Failing { .. } => "endpoint.failing",
        EndpointChange::CircuitOpened { .. } => "endpoint.circuit_opened",
        EndpointChange::CircuitClosed => "endpoint.circuit_closed",
        EndpointChange::Recovering { .. } => "endpoint.recovering",
        EndpointChange::Requeued { .. } => "endpoint.requeued",
    }
}

fn endpoint_change(change: &EndpointChange) -> Value {
    match change {
        EndpointChange::Updated { url, patterns, settings } => {
            let EndpointSettings { filter, ordering_key, rate_per_s, sealed_extras: _ } = settings;
            let of = json!({"url": url, "patterns": patterns, "filter": filter});
            with(of, json!({"ordering_key": ordering_key, "rate_per_s": rate_per_s}))
        }
        EndpointChange::SecretRotated { sealed_secret: _, old } => {
            json!({"old_until_ms": old.as_ref().map(|old| old.until)})
        }
        EndpointChange::Paused | EndpointChange::Resumed | EndpointChange::CircuitClosed => json!({}),
        EndpointChange::Failing { percent, since, disabled_at } => {
            json!({"percent": percent, "since_ms": since, "disabled_at_ms": disabled_at})
        }
        EndpointChange::CircuitOpened { until, trials } => json!({"until_ms": until, "trials": trials}),
        EndpointChange::Recovering { after_seq, through_seq } => {
            json!({"after_seq": after_seq, "through_seq": through_seq})
        }
        EndpointChange::Requeued { seqs } => json!({"event_seqs": seqs}),
    }
}

fn api_key(created: &ApiKeyCreated) -> Value {
    let ApiKeyCreated { key, role, label, hash: _, expires_at } = created;
    json!({"key": key, "role": role, "label": label, "expires_at_ms": expires_at})
}

fn ai_call(job: &JobId, task: TaskId, call: &AiCalled) -> Value {
    json!({
        "job": job, "task": task, "operation": call.operation, "provider": call.provider, "model": call.model,
        "input_tokens": call.input_tokens, "output_tokens": call.output_tokens, "latency_ms": call.latency_ms,
        "cost_micros": call.cost_micros,
    })
}

fn attempt_of(job: &JobId, task: TaskId, attempt: u32, more: Value) -> Value {
    with(json!({"job": job, "task": task, "attempt": attempt}), more)
}

/// Both objects' fields in one.
fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut object, more) {
        fields.extend(more);
    }
    object
}

fn release_reason(reason: ReleaseReason) -> &'static str {
    match reason {
        ReleaseReason::LeaseLost => "lease_lost",
        ReleaseReason::BackOffOver => "back_off_over",
        ReleaseReason::Drained => "drained",
        ReleaseReason::DelayOver => "delay_over",
    }
}

//! Domain events and marks into their stored form. Total: whatever can happen can be written down.

use bytes::Bytes;
use serde_json::Value;
use steward_cluster::clock::Timestamp;
use steward_proto::record::v1 as wire;
use steward_proto::record::v1::event::Kind;
use steward_proto::record::v1::mark::Kind as MarkKind;
use steward_proto::record::v1::webhook_accepted::Kept;

use super::{budget, endpoint, job, schedule, source, upload};
use crate::domain::account::{
    AiCalled, ApiKeyCreated, EndpointCreated, Event, KeptRequest, Mark, Playbook, ReleaseReason, Role, SourceCreated,
    Trust, WebhookAccepted,
};
use crate::domain::budget::Amounts;
use crate::domain::ids::{EndpointId, Id, JobId, PlaybookId};
use crate::domain::job::Failure;
use crate::domain::task::TaskId;

/// An event as it is stored.
pub(crate) fn event(event: &Event) -> wire::Event {
    wire::Event { kind: Some(kind(event)) }
}

/// A mark as it is stored.
pub(crate) fn mark(mark: &Mark) -> wire::Mark {
    let kind = match mark {
        Mark::ConsumerAcked { consumer, seq } => {
            MarkKind::ConsumerAcked(wire::ConsumerAcked { consumer: id(consumer), seq: *seq })
        }
        Mark::EndpointSkipped { endpoint, through_seq } => {
            MarkKind::EndpointSkipped(wire::EndpointSkipped { endpoint: id(endpoint), through_seq: *through_seq })
        }
        Mark::EndpointMoved { endpoint, is_recovery, through_seq, pending } => {
            MarkKind::EndpointMoved(wire::EndpointMoved {
                endpoint: id(endpoint),
                is_recovery: *is_recovery,
                through_seq: *through_seq,
                pending: pending.clone(),
            })
        }
        Mark::FeedTrimmed { first_seq } => MarkKind::FeedTrimmed(wire::FeedTrimmed { first_seq: *first_seq }),
        Mark::RequestRefused(refused) => MarkKind::RequestRefused(wire::RequestRefused {
            source: id(&refused.source),
            number: refused.number,
            places: refused.places,
            refusal: refused.refused_for.number().into(),
            at_ms: refused.at.0,
            sealed_request: refused.sealed_request.clone(),
        }),
        Mark::RefusedForgotten { source, numbers } => {
            MarkKind::RefusedForgotten(wire::RefusedForgotten { source: id(source), numbers: numbers.clone() })
        }
        Mark::BudgetSpent(ledger) => MarkKind::BudgetSpent(budget::encode_ledger(ledger)),
    };
    wire::Mark { kind: Some(kind) }
}

fn kind(event: &Event) -> Kind {
    match event {
        Event::AccountCreated { display_name, wrapped_key } => account_created(display_name, wrapped_key),
        Event::ApiKeyCreated(created) => api_key_created(created),
        Event::ApiKeyRevoked { key } => Kind::ApiKeyRevoked(wire::ApiKeyRevoked { key: id(key) }),
        Event::PlaybookPut { playbook, rule } => playbook_put(playbook, rule),
        Event::PlaybookDeleted { playbook } => Kind::PlaybookDeleted(wire::PlaybookDeleted { playbook: id(playbook) }),
        Event::PlaybookFailed { playbook, reason } => playbook_failed(playbook, reason),
        Event::SourceCreated(created) => source_created(created),
        Event::SourceDeleted { source } => Kind::SourceDeleted(wire::SourceDeleted { source: id(source) }),
        Event::SourceChanged { source: changed, change } => {
            Kind::SourceChanged(wire::SourceChanged { source: id(changed), change: Some(source::encode(change)) })
        }
        Event::WebhookAccepted(webhook) => webhook_accepted(webhook),
        Event::EndpointCreated(created) => endpoint_created(created),
        Event::EndpointDeleted { endpoint } => Kind::EndpointDeleted(wire::EndpointDeleted { endpoint: id(endpoint) }),
        Event::EndpointDisabled { endpoint, reason } => endpoint_disabled(endpoint, reason),
        Event::EndpointChanged { endpoint: changed, change } => Kind::EndpointChanged(wire::EndpointChanged {
            endpoint: id(changed),
            change: Some(endpoint::encode(change)),
        }),
        Event::DeliverySucceeded { endpoint, event_seq, attempt, status, latency_ms, response } => {
            Kind::DeliverySucceeded(wire::DeliverySucceeded {
                endpoint: id(endpoint),
                event_seq: *event_seq,
                attempt: *attempt,
                status: u32::from(*status),
                latency_ms: *latency_ms,
                response: response.clone(),
            })
        }
        Event::DeliveryFailed { endpoint, event_seq, attempt, status, error, retry_at, latency_ms, response } => {
            Kind::DeliveryFailed(wire::DeliveryFailed {
                endpoint: id(endpoint),
                event_seq: *event_seq,
                attempt: *attempt,
                status: u32::from(status.unwrap_or_default()),
                error: error.clone(),
                retry_at_ms: ms(*retry_at),
                latency_ms: *latency_ms,
                response: response.clone(),
            })
        }
        Event::JobRequested { job, kind, input, playbook, options } => {
            Kind::JobRequested(job::encode_requested(job, *kind, input, playbook.as_ref(), *options))
        }
        Event::JobSucceeded { job } => Kind::JobSucceeded(wire::JobSucceeded { job: id(job) }),
        Event::JobFailed { job, task, failure } => job_failed(job, *task, failure),
        Event::JobCancelled { job } => Kind::JobCancelled(wire::JobCancelled { job: id(job) }),
        Event::JobChanged { job, change } => Kind::JobChanged(job::encode_changed(job, *change)),
        Event::BlobUploaded(uploaded) => Kind::BlobUploaded(upload::encode(uploaded)),
        Event::TaskLimitsSet { limits } => Kind::TaskLimitsSet(job::encode_limits(limits)),
        Event::BudgetChanged(change) => Kind::BudgetChanged(budget::encode(change)),
        Event::ScheduleChanged { schedule: of, change } => Kind::ScheduleChanged(schedule::encode(of, change)),
        Event::TaskStarted { job, task, attempt, worker, reserved } => {
            task_started(job, *task, *attempt, worker, *reserved)
        }
        Event::TaskProgressed { job, task, attempt, permille, note } => {
            task_progressed(job, *task, *attempt, *permille, note)
        }
        Event::TaskCheckpointed { job, task, attempt, state } => task_checkpointed(job, *task, *attempt, state),
        Event::TaskSucceeded { job, task, attempt, result, blobs } => {
            task_succeeded(job, *task, *attempt, result, blobs)
        }
        Event::TaskFailed { job, task, attempt, failure, retry_at } => {
            task_failed(job, *task, *attempt, failure, *retry_at)
        }
        Event::TaskReleased { job, task, attempt, reason } => task_released(job, *task, *attempt, *reason),
        Event::AiCalled { job, task, call } => ai_called(job, *task, call),
        Event::DocumentIndexed { document, title, blob, chunks } => document_indexed(document, title, blob, *chunks),
    }
}

fn account_created(display_name: &str, wrapped_key: &[u8]) -> Kind {
    let wrapped_key = Bytes::copy_from_slice(wrapped_key);
    Kind::AccountCreated(wire::AccountCreated { display_name: display_name.to_owned(), wrapped_key })
}

fn api_key_created(created: &ApiKeyCreated) -> Kind {
    Kind::ApiKeyCreated(wire::ApiKeyCreated {
        key: id(&created.key),
        role: match created.role {
            Role::Admin => 1,
            Role::Writer => 2,
            Role::Reader => 3,
        },
        label: created.label.clone(),
        hash: Bytes::copy_from_slice(&created.hash),
        expires_at_ms: ms(created.expires_at),
    })
}

fn playbook_put(playbook: &PlaybookId, rule: &Playbook) -> Kind {
    Kind::PlaybookPut(wire::PlaybookPut {
        playbook: id(playbook),
        on: rule.on.as_str().to_owned(),
        job_kind: rule.job.as_str().to_owned(),
        input_json: rule.input.to_string(),
    })
}

fn playbook_failed(playbook: &PlaybookId, reason: &str) -> Kind {
    Kind::PlaybookFailed(wire::PlaybookFailed { playbook: id(playbook), reason: reason.to_owned() })
}

fn source_created(created: &SourceCreated) -> Kind {
    Kind::SourceCreated(wire::SourceCreated {
        source: id(&created.source),
        scheme: created.scheme.clone(),
        token: created.token.clone(),
        sealed_secrets: created.sealed_secrets.iter().map(|secret| Bytes::copy_from_slice(secret)).collect(),
        tolerance_s: created.tolerance_s,
        public_url: created.public_url.clone(),
    })
}

fn webhook_accepted(webhook: &WebhookAccepted) -> Kind {
    Kind::WebhookAccepted(wire::WebhookAccepted {
        source: id(&webhook.source),
        provider: webhook.provider.clone(),
        event_type: webhook.event_type.clone(),
        delivery_ids: webhook.delivery_ids.clone(),
        tenant: webhook.tenant.clone().unwrap_or_default(),
        trust: match webhook.trust {
            Trust::Full => 1,
            Trust::BodyNotCovered => 2,
            Trust::TokenOnly => 3,
        },
        content_type: webhook.content_type.clone(),
        body: webhook.body.clone(),
        kept: match &webhook.kept {
            KeptRequest::Nowhere => None,
            KeptRequest::Here(sealed) => Some(Kept::SealedRequest(sealed.clone())),
            KeptRequest::At(seq) => Some(Kept::RequestSeq(*seq)),
            KeptRequest::Beside => Some(Kept::RequestBeside(wire::RequestBeside {})),
        },
    })
}

fn endpoint_created(created: &EndpointCreated) -> Kind {
    Kind::EndpointCreated(wire::EndpointCreated {
        endpoint: id(&created.endpoint),
        url: created.url.clone(),
        patterns: created.patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        sealed_secret: Bytes::copy_from_slice(&created.sealed_secret),
    })
}

fn endpoint_disabled(endpoint: &EndpointId, reason: &str) -> Kind {
    Kind::EndpointDisabled(wire::EndpointDisabled { endpoint: id(endpoint), reason: reason.to_owned() })
}

fn job_failed(job: &JobId, task: TaskId, failure: &Failure) -> Kind {
    let Failure { code, message } = failure.clone();
    Kind::JobFailed(wire::JobFailed { job: id(job), task: name(task), code, message })
}

fn task_started(job: &JobId, task: TaskId, attempt: u32, worker: &str, reserved: Amounts) -> Kind {
    let (job, task, worker) = (id(job), name(task), worker.to_owned());
    Kind::TaskStarted(wire::TaskStarted { job, task, attempt, worker, reserved: budget::encode_amounts(reserved) })
}

fn task_progressed(job: &JobId, task: TaskId, attempt: u32, permille: u32, note: &str) -> Kind {
    let (job, task, note) = (id(job), name(task), note.to_owned());
    Kind::TaskProgressed(wire::TaskProgressed { job, task, attempt, permille, note })
}

fn task_checkpointed(job: &JobId, task: TaskId, attempt: u32, state: &Value) -> Kind {
    let (job, task, state_json) = (id(job), name(task), state.to_string());
    Kind::TaskCheckpointed(wire::TaskCheckpointed { job, task, attempt, state_json })
}

fn task_succeeded(job: &JobId, task: TaskId, attempt: u32, result: &Value, blobs: &[String]) -> Kind {
    let (job, task, result_json, blobs) = (id(job), name(task), result.to_string(), blobs.to_vec());
    Kind::TaskSucceeded(wire::TaskSucceeded { job, task, attempt, result_json, blobs })
}

fn task_failed(job: &JobId, task: TaskId, attempt: u32, failure: &Failure, retry_at: Option<Timestamp>) -> Kind {
    let Failure { code, message } = failure.clone();
    let (job, task, retry_at_ms) = (id(job), name(task), ms(retry_at));
    Kind::TaskFailed(wire::TaskFailed { job, task, attempt, code, message, retry_at_ms })
}

fn task_released(job: &JobId, task: TaskId, attempt: u32, reason: ReleaseReason) -> Kind {
    let reason = match reason {
        ReleaseReason::LeaseLost => 1,
        ReleaseReason::BackOffOver => 2,
        ReleaseReason::Drained => 3,
        ReleaseReason::DelayOver => 4,
    };
    Kind::TaskReleased(wire::TaskReleased { job: id(job), task: name(task), attempt, reason })
}

fn ai_called(job: &JobId, task: TaskId, call: &AiCalled) -> Kind {
    let AiCalled { operation, provider, model, input_tokens, output_tokens, latency_ms, cost_micros, number } =
        call.clone();
    Kind::AiCalled(wire::AiCalled {
        job: id(job),
        task: name(task),
        operation,
        provider,
        model,
        input_tokens,
        output_tokens,
        latency_ms,
        cost_micros,
        number,
    })
}

fn document_indexed(document: &str, title: &str, blob: &str, chunks: u32) -> Kind {
    let (document, title, blob) = (document.to_owned(), title.to_owned(), blob.to_owned());
    Kind::DocumentIndexed(wire::DocumentIndexed { document, title, blob, chunks })
}

fn id<Of>(id: &Id<Of>) -> String {
    id.as_str().to_owned()
}

fn name(task: TaskId) -> String {
    task.to_string()
}

/// Zero stands for no time.
pub(super) fn ms(time: Option<Timestamp>) -> u64 {
    time.map_or(0, |time| time.0)
}

//! The stored form back into domain events and marks. Refuses what no encoder wrote.

use serde_json::Value;
use steward_cluster::clock::Timestamp;
use steward_proto::record::v1 as wire;
use steward_proto::record::v1::event::Kind;
use steward_proto::record::v1::mark::Kind as MarkKind;
use steward_proto::record::v1::webhook_accepted::Kept;

use super::{budget, endpoint, job, schedule, source, upload};
use crate::domain::account::{
    AiCalled, ApiKeyCreated, EndpointCreated, Event, KeptRequest, Mark, Playbook, RefusedFor, RefusedRequest,
    ReleaseReason, Role, SourceCreated, Trust, WebhookAccepted,
};
use crate::domain::ids::Id;
use crate::domain::job::{Failure, JobKind};
use crate::domain::pattern::Pattern;
use crate::domain::task::{TaskId, TaskKind};

/// Why stored bytes are no record this binary knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("these bytes are no record")]
    Bytes(#[from] prost::DecodeError),
    #[error("the record has a kind this version does not know")]
    UnknownKind,
    #[error("{field} of the record holds {value:?}")]
    Field { field: &'static str, value: String },
}

/// An event from its stored form.
pub(crate) fn event(stored: wire::Event) -> Result<Event, DecodeError> {
    kind(stored.kind.ok_or(DecodeError::UnknownKind)?)
}

/// A mark from its stored form.
pub(crate) fn mark(stored: wire::Mark) -> Result<Mark, DecodeError> {
    Ok(match stored.kind.ok_or(DecodeError::UnknownKind)? {
        MarkKind::ConsumerAcked(acked) => {
            Mark::ConsumerAcked { consumer: id("consumer", &acked.consumer)?, seq: acked.seq }
        }
        MarkKind::EndpointSkipped(skipped) => {
            Mark::EndpointSkipped { endpoint: id("endpoint", &skipped.endpoint)?, through_seq: skipped.through_seq }
        }
        MarkKind::EndpointMoved(moved) => Mark::EndpointMoved {
            endpoint: id("endpoint", &moved.endpoint)?,
            is_recovery: moved.is_recovery,
            through_seq: moved.through_seq,
            pending: moved.pending,
        },
        MarkKind::FeedTrimmed(trimmed) => Mark::FeedTrimmed { first_seq: trimmed.first_seq },
        MarkKind::RequestRefused(refused) => Mark::RequestRefused(request_refused(refused)?),
        MarkKind::RefusedForgotten(forgotten) => {
            Mark::RefusedForgotten { source: id("source", &forgotten.source)?, numbers: forgotten.numbers }
        }
        MarkKind::BudgetSpent(spent) => Mark::BudgetSpent(budget::decode_ledger(&spent)),
    })
}

fn kind(kind: Kind) -> Result<Event, DecodeError> {
    Ok(match kind {
        Kind::AccountCreated(e) => {
            Event::AccountCreated { display_name: e.display_name, wrapped_key: e.wrapped_key.to_vec() }
        }
        Kind::ApiKeyCreated(e) => Event::ApiKeyCreated(api_key_created(e)?),
        Kind::ApiKeyRevoked(e) => Event::ApiKeyRevoked { key: id("key", &e.key)? },
        Kind::PlaybookPut(e) => Event::PlaybookPut { playbook: id("playbook", &e.playbook)?, rule: playbook(&e)? },
        Kind::PlaybookDeleted(e) => Event::PlaybookDeleted { playbook: id("playbook", &e.playbook)? },
        Kind::PlaybookFailed(e) => Event::PlaybookFailed { playbook: id("playbook", &e.playbook)?, reason: e.reason },
        Kind::SourceCreated(e) => Event::SourceCreated(source_created(e)?),
        Kind::SourceDeleted(e) => Event::SourceDeleted { source: id("source", &e.source)? },
        Kind::SourceChanged(e) => Event::SourceChanged {
            source: id("source", &e.source)?,
            change: source::decode(e.change.ok_or(DecodeError::UnknownKind)?)?,
        },
        Kind::WebhookAccepted(e) => Event::WebhookAccepted(webhook_accepted(e)?),
        Kind::EndpointCreated(e) => Event::EndpointCreated(endpoint_created(e)?),
        Kind::EndpointDeleted(e) => Event::EndpointDeleted { endpoint: id("endpoint", &e.endpoint)? },
        Kind::EndpointDisabled(e) => {
            Event::EndpointDisabled { endpoint: id("endpoint", &e.endpoint)?, reason: e.reason }
        }
        Kind::EndpointChanged(e) => Event::EndpointChanged {
            endpoint: id("endpoint", &e.endpoint)?,
            change: endpoint::decode(e.change.ok_or(DecodeError::UnknownKind)?)?,
        },
        Kind::DeliverySucceeded(e) => delivery_succeeded(e)?,
        Kind::DeliveryFailed(e) => delivery_failed(e)?,
        Kind::JobRequested(e) => job::decode_requested(&e)?,
        Kind::JobSucceeded(e) => Event::JobSucceeded { job: id("job", &e.job)? },
        Kind::JobFailed(e) => {
            let failure = Failure { code: e.code, message: e.message };
            Event::JobFailed { job: id("job", &e.job)?, task: task(&e.task)?, failure }
        }
        Kind::JobCancelled(e) => Event::JobCancelled { job: id("job", &e.job)? },
        Kind::JobChanged(e) => Event::JobChanged {
            job: id("job", &e.job)?,
            change: job::decode_change(&e.change.ok_or(DecodeError::UnknownKind)?)?,
        },
        Kind::BlobUploaded(e) => Event::BlobUploaded(upload::decode(e)),
        Kind::TaskLimitsSet(e) => Event::TaskLimitsSet { limits: job::decode_limits(&e)? },
        Kind::ScheduleChanged(e) => Event::ScheduleChanged {
            schedule: id("schedule", &e.schedule)?,
            change: schedule::decode(e.change.ok_or(DecodeError::UnknownKind)?)?,
        },
        Kind::BudgetChanged(e) => Event::BudgetChanged(budget::decode(e.change.ok_or(DecodeError::UnknownKind)?)?),
        Kind::TaskStarted(e) => Event::TaskStarted {
            job: id("job", &e.job)?,
            task: task(&e.task)?,
            attempt: e.attempt,
            worker: e.worker,
            reserved: budget::decode_amounts(e.reserved),
        },
        Kind::TaskProgressed(e) => task_progressed(e)?,
        Kind::TaskCheckpointed(e) => {
            let state = json("state_json", &e.state_json)?;
            Event::TaskCheckpointed { job: id("job", &e.job)?, task: task(&e.task)?, attempt: e.attempt, state }
        }
        Kind::TaskSucceeded(e) => task_succeeded(e)?,
        Kind::TaskFailed(e) => task_failed(e)?,
        Kind::TaskReleased(e) => {
            let reason = release_reason(e.reason)?;
            Event::TaskReleased { job: id("job", &e.job)?, task: task(&e.task)?, attempt: e.attempt, reason }
        }
        Kind::AiCalled(e) => ai_called(e)?,
        Kind::DocumentIndexed(e) => {
            Event::DocumentIndexed { document: e.document, title: e.title, blob: e.blob, chunks: e.chunks }
        }
    })
}

fn api_key_created(e: wire::ApiKeyCreated) -> Result<ApiKeyCreated, DecodeError> {
    let role = match e.role {
        1 => Role::Admin,
        2 => Role::Writer,
        3 => Role::Reader,
        other => return Err(field("role", &other.to_string())),
    };
    let hash = <[u8; 32]>::try_from(&*e.hash).map_err(|_| field("hash", &format!("{} bytes", e.hash.len())))?;
    Ok(ApiKeyCreated { key: id("key", &e.key)?, role, label: e.label, hash, expires_at: time(e.expires_at_ms) })
}

fn playbook(e: &wire::PlaybookPut) -> Result<Playbook, DecodeError> {
    let on = Pattern::parse(&e.on).map_err(|_| field("on", &e.on))?;
    Ok(Playbook { on, job: job_kind(&e.job_kind)?, input: json("input_json", &e.input_json)? })
}

fn source_created(e: wire::SourceCreated) -> Result<SourceCreated, DecodeError> {
    Ok(SourceCreated {
        source: id("source", &e.source)?,
        scheme: e.scheme,
        token: e.token,
        sealed_secrets: e.sealed_secrets.iter().map(|secret| secret.to_vec()).collect(),
        tolerance_s: e.tolerance_s,
        public_url: e.public_url,
    })
}

fn request_refused(refused: wire::RequestRefused) -> Result<RefusedRequest, DecodeError> {
    let refused_for = u8::try_from(refused.refusal).ok().and_then(RefusedFor::of_number);
    Ok(RefusedRequest {
        source: id("source", &refused.source)?,
        number: refused.number,
        places: refused.places,
        refused_for: refused_for.ok_or_else(|| field("refusal", &refused.refusal.to_string()))?,
        at: Timestamp(refused.at_ms),
        sealed_request: refused.sealed_request,
    })
}

fn webhook_accepted(e: wire::WebhookAccepted) -> Result<WebhookAccepted, DecodeError> {
    let trust = match e.trust {
        1 => Trust::Full,
        2 => Trust::BodyNotCovered,
        3 => Trust::TokenOnly,
        other => return Err(field("trust", &other.to_string())),
    };
    Ok(WebhookAccepted {
        source: id("source", &e.source)?,
        provider: e.provider,
        event_type: e.event_type,
        delivery_ids: e.delivery_ids,
        tenant: Some(e.tenant).filter(|tenant| !tenant.is_empty()),
        trust,
        content_type: e.content_type,
        body: e.body,
        kept: match e.kept {
            None => KeptRequest::Nowhere,
            Some(Kept::SealedRequest(sealed)) => KeptRequest::Here(sealed),
            Some(Kept::RequestSeq(seq)) => KeptRequest::At(seq),
            Some(Kept::RequestBeside(_)) => KeptRequest::Beside,
        },
    })
}

fn endpoint_created(e: wire::EndpointCreated) -> Result<EndpointCreated, DecodeError> {
    let pattern = |text: &String| Pattern::parse(text).map_err(|_| field("patterns", text));
    Ok(EndpointCreated {
        endpoint: id("endpoint", &e.endpoint)?,
        url: e.url,
        patterns: e.patterns.iter().map(pattern).collect::<Result<_, _>>()?,
        sealed_secret: e.sealed_secret.to_vec(),
    })
}

fn delivery_succeeded(e: wire::DeliverySucceeded) -> Result<Event, DecodeError> {
    let endpoint = id("endpoint", &e.endpoint)?;
    let (event_seq, attempt, status) = (e.event_seq, e.attempt, status(e.status)?);
    let (latency_ms, response) = (e.latency_ms, e.response);
    Ok(Event::DeliverySucceeded { endpoint, event_seq, attempt, status, latency_ms, response })
}

fn delivery_failed(e: wire::DeliveryFailed) -> Result<Event, DecodeError> {
    Ok(Event::DeliveryFailed {
        endpoint: id("endpoint", &e.endpoint)?,
        event_seq: e.event_seq,
        attempt: e.attempt,
        status: Some(status(e.status)?).filter(|status| *status != 0),
        error: e.error,
        retry_at: time(e.retry_at_ms),
        latency_ms: e.latency_ms,
        response: e.response,
    })
}

fn task_progressed(e: wire::TaskProgressed) -> Result<Event, DecodeError> {
    let (job, task) = (id("job", &e.job)?, task(&e.task)?);
    Ok(Event::TaskProgressed { job, task, attempt: e.attempt, permille: e.permille, note: e.note })
}

fn task_succeeded(e: wire::TaskSucceeded) -> Result<Event, DecodeError> {
    let result = json("result_json", &e.result_json)?;
    let (job, task) = (id("job", &e.job)?, task(&e.task)?);
    Ok(Event::TaskSucceeded { job, task, attempt: e.attempt, result, blobs: e.blobs })
}

fn task_failed(e: wire::TaskFailed) -> Result<Event, DecodeError> {
    let failure = Failure { code: e.code, message: e.message };
    let (job, task) = (id("job", &e.job)?, task(&e.task)?);
    Ok(Event::TaskFailed { job, task, attempt: e.attempt, failure, retry_at: time(e.retry_at_ms) })
}

fn release_reason(number: u32) -> Result<ReleaseReason, DecodeError> {
    match number {
        1 => Ok(ReleaseReason::LeaseLost),
        2 => Ok(ReleaseReason::BackOffOver),
        3 => Ok(ReleaseReason::Drained),
        4 => Ok(ReleaseReason::DelayOver),
        other => Err(field("reason", &other.to_string())),
    }
}

fn ai_called(e: wire::AiCalled) -> Result<Event, DecodeError> {
    let call = AiCalled {
        operation: e.operation,
        provider: e.provider,
        model: e.model,
        input_tokens: e.input_tokens,
        output_tokens: e.output_tokens,
        latency_ms: e.latency_ms,
        cost_micros: e.cost_micros,
        number: e.number,
    };
    Ok(Event::AiCalled { job: id("job", &e.job)?, task: task(&e.task)?, call })
}

pub(super) fn id<Of>(name: &'static str, text: &str) -> Result<Id<Of>, DecodeError> {
    Id::parse(text).map_err(|_| field(name, text))
}

pub(super) fn task(text: &str) -> Result<TaskId, DecodeError> {
    TaskId::parse(text).ok_or_else(|| field("task", text))
}

pub(super) fn task_kind(text: &str) -> Result<TaskKind, DecodeError> {
    TaskKind::parse(text).ok_or_else(|| field("kind", text))
}

pub(super) fn job_kind(text: &str) -> Result<JobKind, DecodeError> {
    JobKind::parse(text).ok_or_else(|| field("kind", text))
}

pub(super) fn json(name: &'static str, text: &str) -> Result<Value, DecodeError> {
    serde_json::from_str(text).map_err(|_| field(name, text))
}

fn status(number: u32) -> Result<u16, DecodeError> {
    u16::try_from(number).map_err(|_| field("status", &number.to_string()))
}

pub(super) fn time(ms: u64) -> Option<Timestamp> {
    Some(Timestamp(ms)).filter(|_| ms != 0)
}

pub(super) fn field(field: &'static str, value: &str) -> DecodeError {
    DecodeError::Field { field, value: value.to_owned() }
}

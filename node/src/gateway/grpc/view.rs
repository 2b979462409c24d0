//! Domain to wire: accounts, keys, sources, endpoints, playbooks and jobs as clients see them. Never a secret.

use steward_actors::domain::account::{Account, ApiKey, Endpoint, Event, Health, Playbook, Role, Source};
use steward_actors::domain::ids::{EndpointId, JobId, KeyId, PlaybookId, SourceId};
use steward_actors::domain::job::{Job, JobState, Task, TaskState};
use steward_actors::domain::task::{TaskId, TaskKind, TaskLimits};
use steward_actors::shard::FeedEntry;
use steward_cluster::clock::Timestamp;
use steward_proto::account::v1 as accounts;
use steward_proto::job::v1 as jobs;
use steward_proto::webhook::v1 as webhooks;

use crate::gateway::http::HOOKS_PATH;

pub(crate) fn account(account: &Account, quarantine_reason: Option<String>) -> accounts::Account {
    accounts::Account {
        account_id: account.id.to_string(),
        display_name: account.display_name.clone(),
        created_at_ms: account.created_at.unwrap_or_default().0,
        last_seq: account.last_seq,
        first_seq: account.first_seq,
        quarantine_reason: quarantine_reason.unwrap_or_default(),
        task_limits: (!account.task_limits.is_usual()).then(|| task_limits(&account.task_limits)),
        budgets: vec![],
    }
}

fn task_limits(limits: &TaskLimits) -> accounts::TaskLimits {
    let limit =
        |(kind, max): (&TaskKind, &u32)| accounts::KindLimit { kind: kind.as_str().to_owned(), running_max: *max };
    accounts::TaskLimits {
        weight: limits.weight,
        running_max: limits.running_max.unwrap_or_default(),
        running_max_by_kind: limits.running_max_by_kind.iter().map(limit).collect(),
        open_jobs_max: limits.open_jobs_max.unwrap_or_default(),
    }
}

pub(super) fn api_key(id: &KeyId, key: &ApiKey) -> accounts::ApiKey {
    accounts::ApiKey {
        key_id: id.to_string(),
        role: role(key.role).into(),
        label: key.label.clone(),
        created_at_ms: key.created_at.0,
        expires_at_ms: or_zero(key.expires_at),
    }
}

fn role(role: Role) -> accounts::Role {
    match role {
        Role::Admin => accounts::Role::Admin,
        Role::Writer => accounts::Role::Writer,
        Role::Reader => accounts::Role::Reader,
    }
}

pub(super) fn playbook(id: &PlaybookId, playbook: &Playbook) -> accounts::Playbook {
    accounts::Playbook {
        playbook_id: id.to_string(),
        on: playbook.on.as_str().to_owned(),
        job_kind: playbook.job.as_str().to_owned(),
        input_json: playbook.input.to_string(),
    }
}

pub(super) fn source(id: &SourceId, source: &Source) -> webhooks::Source {
    webhooks::Source {
        source_id: id.to_string(),
        scheme: source.scheme.clone(),
        path: format!("{HOOKS_PATH}{}", source.token),
        tolerance_s: source.tolerance_s,
        created_at_ms: source.created_at.0,
        public_url: source.public_url.clone(),
        rate_per_s: source.settings.rate_per_s,
        allow: source.settings.allow.clone(),
        response: source.settings.response.as_ref().map(|response| webhooks::SourceResponse {
            status: response.status.into(),
            content_type: response.content_type.clone(),
            body: response.body.clone(),
        }),
        is_paused: source.is_paused,
        awaits_secret: source.takes_secret(),
        secrets: vec![],
        counts: vec![],
    }
}

pub(super) fn endpoint(id: &EndpointId, endpoint: &Endpoint) -> webhooks::Endpoint {
    let state = match endpoint {
        Endpoint { disabled: Some(_), .. } => webhooks::EndpointState::Disabled,
        Endpoint { is_paused: true, .. } => webhooks::EndpointState::Paused,
        Endpoint { health: Health { circuit: Some(_), .. }, .. } => webhooks::EndpointState::CircuitOpen,
        _ => webhooks::EndpointState::Active,
    };
    // What waits for its next attempt: a row of its own, or the event behind the cursor.
    let tried = endpoint.pending.values().filter(|pending| pending.failed_attempts > 0);
    let next = tried.min_by_key(|pending| pending.retry_at);
    let (failed_attempts, retry_at) = next.map_or((endpoint.failed_attempts, endpoint.retry_at), |pending| {
        (pending.failed_attempts, Some(pending.retry_at))
    });
    let (settings, counts) = (&endpoint.settings, &endpoint.counts);
    webhooks::Endpoint {
        endpoint_id: id.to_string(),
        url: endpoint.url.clone(),
        patterns: endpoint.patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        state: state.into(),
        disabled_reason: endpoint.disabled.clone().unwrap_or_default(),
        cursor: endpoint.cursor,
        failed_attempts,
        next_attempt_at_ms: or_zero(retry_at),
        filter: settings.filter.clone(),
        ordering_key: settings.ordering_key.clone(),
        rate_per_s: settings.rate_per_s,
        has_extras: !settings.sealed_extras.is_empty(),
        pending: u64::try_from(endpoint.pending.len()).unwrap_or(u64::MAX),
        recovery_through_seq: endpoint.recovery.map_or(0, |recovery| recovery.through_seq),
        recovery_cursor: endpoint.recovery.map_or(0, |recovery| recovery.cursor),
        circuit_open_until_ms: or_zero(endpoint.health.circuit.map(|circuit| circuit.until)),
        failing_since_ms: or_zero(endpoint.health.failing_since),
        old_secret_until_ms: or_zero(endpoint.old_secret.as_ref().map(|old| old.until)),
        delivered_total: counts.delivered,
        failed_attempts_total: counts.failed_attempts,
        dead_total: counts.dead,
        last_success_at_ms: or_zero(counts.last_success_at),
        last_failure_at_ms: or_zero(counts.last_failure_at),
    }
}

/// One attempt at a delivery; none for other events.
pub(super) fn delivery(entry: &FeedEntry) -> Option<webhooks::Delivery> {
    let (seq, at_ms) = (entry.seq, entry.at.0);
    if let Event::DeliverySucceeded { event_seq, attempt, status, latency_ms, response, .. } = &entry.event {
        return Some(webhooks::Delivery {
            seq,
            event_seq: *event_seq,
            attempt: *attempt,
            result: webhooks::AttemptResult::Succeeded.into(),
            status: u32::from(*status),
            latency_ms: *latency_ms,
            error: String::new(),
            response: response.clone(),
            at_ms,
            retry_at_ms: 0,
        });
    }
    let Event::DeliveryFailed { event_seq, attempt, status, error, retry_at, latency_ms, response, .. } = &entry.event
    else {
        return None;
    };
    let is_dead = retry_at.is_none();
    let result = if is_dead { webhooks::AttemptResult::Dead } else { webhooks::AttemptResult::Failed };
    Some(webhooks::Delivery {
        seq,
        event_seq: *event_seq,
        attempt: *attempt,
        result: result.into(),
        status: u32::from(status.unwrap_or_default()),
        latency_ms: *latency_ms,
        error: error.clone(),
        response: response.clone(),
        at_ms,
        retry_at_ms: or_zero(*retry_at),
    })
}

pub(super) fn job(id: &JobId, job: &Job) -> jobs::Job {
    let state = match job.state {
        JobState::Running => jobs::JobState::Running,
        JobState::Succeeded => jobs::JobState::Succeeded,
        JobState::Failed => jobs::JobState::Failed,
        JobState::Cancelled => jobs::JobState::Cancelled,
    };
    let (error_code, error_message) = failure(job.failure.as_ref());
    jobs::Job {
        job_id: id.to_string(),
        kind: job.kind.as_str().to_owned(),
        state: state.into(),
        input_json: job.input.to_string(),
        tasks: job.tasks.iter().map(|(id, found)| task(*id, found)).collect(),
        created_at_ms: job.created_at.0,
        ended_at_ms: or_zero(job.ended_at),
        cause_seq: job.cause_seq,
        error_code,
        error_message,
        priority: job.options.priority.number(),
        start_at_ms: or_zero(job.options.start_at),
        deadline_at_ms: or_zero(job.options.deadline_at),
        paused: job.is_paused,
    }
}

/// A job in a list: without the results of its pieces, which may be hundreds.
pub(super) fn listed(id: &JobId, job: &Job) -> jobs::Job {
    let mut shown = self::job(id, job);
    for (task, shown) in job.tasks.keys().zip(&mut shown.tasks).filter(|(task, _)| task.part > 0) {
        debug_assert_eq!(task.to_string(), shown.kind, "both are in the same order");
        shown.result_json.clear();
    }
    shown
}

fn task(id: TaskId, task: &Task) -> jobs::Task {
    let state = match task.state {
        TaskState::Blocked => jobs::TaskState::Blocked,
        TaskState::Delayed => jobs::TaskState::Delayed,
        TaskState::Ready => jobs::TaskState::Ready,
        TaskState::Running => jobs::TaskState::Running,
        TaskState::BackingOff => jobs::TaskState::BackingOff,
        TaskState::Succeeded => jobs::TaskState::Succeeded,
        TaskState::Failed => jobs::TaskState::Failed,
    };
    let (error_code, error_message) = failure(task.failure.as_ref());
    let permille = u16::try_from(task.permille.min(1000)).expect("at most 1000");
    jobs::Task {
        kind: id.to_string(),
        state: state.into(),
        attempt: task.attempt,
        progress: f32::from(permille) / 1000.0,
        note: task.note.clone(),
        result_json: task.result.as_ref().map(ToString::to_string).unwrap_or_default(),
        error_code,
        error_message,
        retry_at_ms: or_zero(task.retry_at),
        has_checkpoint: task.checkpoint.is_some(),
    }
}

fn failure(failure: Option<&steward_actors::domain::job::Failure>) -> (String, String) {
    failure.map(|failure| (failure.code.clone(), failure.message.clone())).unwrap_or_default()
}

pub(super) fn or_zero(at: Option<Timestamp>) -> u64 {
    at.unwrap_or_default().0
}

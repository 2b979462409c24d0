//! One event of every kind, made of given parts: fixed ones for the golden bytes, random ones for the round trip.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use steward_cluster::clock::Timestamp;

use crate::domain::account::{
    AiCalled, ApiKeyCreated, BlobUploaded, EndpointChange, EndpointCreated, EndpointSettings, Event, JobChange,
    KeptRequest, Mark, OldSecret, Playbook, RefusedFor, RefusedRequest, ReleaseReason, Role, SourceChange,
    SourceCreated, SourceResponse, SourceSettings, Trust, WebhookAccepted,
};
use crate::domain::budget::{Amounts, Budget, BudgetChange, Budgets, Ledger, Line, PERIODS, Reached, UNITS};
use crate::domain::ids::Id;
use crate::domain::job::{Failure, JobKind, JobOptions, PRIORITIES, Split};
use crate::domain::pattern::Pattern;
use crate::domain::schedule::{
    Missed, Overlap, Planned, SKIP_REASONS, ScheduleChange, ScheduleSettings, Skipped, Taken, Ticked,
};
use crate::domain::task::{TASK_KINDS, TaskId, TaskKind, TaskLimits};

/// How many kinds of event and mark there are.
pub(crate) const EVENT_KINDS: u32 = 33;
pub(crate) const MARK_KINDS: u32 = 7;

/// What events are made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) number: u64,
    pub(crate) small: u32,
    pub(crate) status: u16,
    pub(crate) pick: usize,
    /// Whether what may be left out is there.
    pub(crate) full: bool,
}

impl Parts {
    pub(crate) fn fixed() -> Self {
        let (id, text) = ("id-1".to_owned(), "Ünïcode \"text\"".to_owned());
        Self { id, text, bytes: vec![0, 1, 255], number: 300, small: 7, status: 503, pick: 1, full: true }
    }

    fn id<Of>(&self) -> Id<Of> {
        Id::parse(&self.id).unwrap()
    }

    fn task(&self) -> TaskId {
        let kind = TASK_KINDS[self.pick % TASK_KINDS.len()];
        if self.pick % 5 == 4 { TaskKind::Encode.part(3) } else { kind.whole() }
    }

    fn kind(&self) -> JobKind {
        [JobKind::Call, JobKind::Media(TaskKind::Probe), JobKind::Single(TaskKind::Chat)][self.pick % 3]
    }

    fn json(&self) -> Value {
        json!({"text": self.text, "list": [self.number, null, true]})
    }

    fn time(&self) -> Option<Timestamp> {
        self.full.then_some(Timestamp(self.number.max(1)))
    }

    fn failure(&self) -> Failure {
        Failure { code: self.id.clone(), message: self.text.clone() }
    }

    fn pattern(&self) -> Pattern {
        Pattern::parse(["webhook.**", "job.*", "a.b"][self.pick % 3]).unwrap()
    }
}

/// The event with this number in record.proto.
pub(crate) fn event(kind: u32, p: &Parts) -> Event {
    settings(kind, p).or_else(|| traffic(kind, p)).or_else(|| work(kind, p)).expect("a kind there is")
}

/// The mark with this number in record.proto.
pub(crate) fn mark(kind: u32, p: &Parts) -> Mark {
    match kind {
        1 => Mark::ConsumerAcked { consumer: p.id(), seq: p.number },
        2 => Mark::EndpointSkipped { endpoint: p.id(), through_seq: p.number },
        3 => Mark::FeedTrimmed { first_seq: p.number },
        5 => Mark::RequestRefused(RefusedRequest {
            source: p.id(),
            number: p.number,
            places: p.small,
            refused_for: [RefusedFor::MissingHeader, RefusedFor::BadSignature, RefusedFor::Expired][p.pick % 3],
            at: Timestamp(p.number),
            sealed_request: p.bytes.clone().into(),
        }),
        6 => Mark::RefusedForgotten { source: p.id(), numbers: vec![p.number, 1] },
        7 => {
            let line = |told_percent| Line { start: Timestamp(p.number), spent: 9, told_percent };
            let tokens = if p.full { line(80) } else { Line::default() };
            Mark::BudgetSpent(Ledger { money: line(0), tokens, video: line(100) })
        }
        _ => Mark::EndpointMoved {
            endpoint: p.id(),
            is_recovery: p.full,
            through_seq: p.number,
            pending: vec![p.number, 1],
        },
    }
}

/// The golden line is of a webhook whose request was not kept.
fn kept(p: &Parts) -> KeptRequest {
    match p.pick % 4 {
        0 => KeptRequest::Here(p.bytes.clone().into()),
        1 => KeptRequest::Nowhere,
        2 => KeptRequest::At(p.number),
        _ => KeptRequest::Beside,
    }
}

fn settings(kind: u32, p: &Parts) -> Option<Event> {
    Some(match kind {
        1 => Event::AccountCreated { display_name: p.text.clone(), wrapped_key: p.bytes.clone() },
        2 => Event::ApiKeyCreated(ApiKeyCreated {
            key: p.id(),
            role: [Role::Admin, Role::Writer, Role::Reader][p.pick % 3],
            label: p.text.clone(),
            hash: *blake3::hash(&p.bytes).as_bytes(),
            expires_at: p.time(),
        }),
        3 => Event::ApiKeyRevoked { key: p.id() },
        4 => {
            Event::PlaybookPut { playbook: p.id(), rule: Playbook { on: p.pattern(), job: p.kind(), input: p.json() } }
        }
        5 => Event::PlaybookDeleted { playbook: p.id() },
        6 => Event::PlaybookFailed { playbook: p.id(), reason: p.text.clone() },
        7 => Event::SourceCreated(SourceCreated {
            source: p.id(),
            scheme: p.id.clone(),
            token: p.text.clone(),
            sealed_secrets: vec![p.bytes.clone(), vec![]],
            tolerance_s: p.small,
            public_url: p.text.clone(),
        }),
        8 => Event::SourceDeleted { source: p.id() },
        28 => Event::SourceChanged { source: p.id(), change: source_change(p) },
        _ => return None,
    })
}

fn traffic(kind: u32, p: &Parts) -> Option<Event> {
    let (endpoint, event_seq, attempt) = (p.id(), p.number, p.small);
    Some(match kind {
        9 => Event::WebhookAccepted(WebhookAccepted {
            source: p.id(),
            provider: p.id.clone(),
            event_type: p.text.clone(),
            delivery_ids: vec![p.text.clone(), p.id.clone()],
            tenant: p.full.then(|| p.id.clone()),
            trust: [Trust::Full, Trust::BodyNotCovered, Trust::TokenOnly][p.pick % 3],
            content_type: p.text.clone(),
            body: Bytes::from(p.bytes.clone()),
            kept: kept(p),
        }),
        10 => Event::EndpointCreated(EndpointCreated {
            endpoint,
            url: p.text.clone(),
            patterns: vec![p.pattern()],
            sealed_secret: p.bytes.clone(),
        }),
        11 => Event::EndpointDeleted { endpoint },
        12 => Event::EndpointDisabled { endpoint, reason: p.text.clone() },
        13 => Event::DeliverySucceeded {
            endpoint,
            event_seq,
            attempt,
            status: p.status,
            latency_ms: p.number,
            response: String::new(),
        },
        14 => Event::DeliveryFailed {
            endpoint,
            event_seq,
            attempt,
            status: p.full.then_some(p.status.max(1)),
            error: p.text.clone(),
            retry_at: p.time(),
            latency_ms: 0,
            response: String::new(),
        },
        27 => Event::EndpointChanged { endpoint, change: endpoint_change(p) },
        _ => return None,
    })
}

fn work(kind: u32, p: &Parts) -> Option<Event> {
    let (job, task, attempt) = (p.id(), p.task(), p.small);
    Some(match kind {
        15 => Event::JobRequested {
            job,
            kind: p.kind(),
            input: p.json(),
            playbook: p.full.then(|| p.id()),
            options: options(p),
        },
        16 => Event::JobSucceeded { job },
        17 => Event::JobFailed { job, task, failure: p.failure() },
        18 => Event::JobCancelled { job },
        30 => Event::TaskLimitsSet {
            limits: TaskLimits {
                weight: p.small,
                running_max: p.full.then_some(p.small.max(1)),
                running_max_by_kind: BTreeMap::from([(task.kind, p.small)]),
                open_jobs_max: Some(p.small).filter(|max| *max > 10), // Not in the bytes of before there was one.
            },
        },
        31 => Event::BlobUploaded(BlobUploaded {
            hash: p.id.clone(),
            bytes: p.number,
            content_type: if p.full { p.id.clone() } else { String::new() },
            name: p.text.clone(),
        }),
        32 => Event::ScheduleChanged { schedule: p.id(), change: schedule_change(p) },
        29 => Event::JobChanged {
            job,
            change: [
                JobChange::Paused,
                JobChange::Restarted { from: p.full.then_some(task) },
                JobChange::Resumed,
                JobChange::Split(Split { chunks: u16::try_from(p.small % 256 + 1).unwrap(), has_sound: p.full }),
            ][p.pick % 4],
        },
        33 => Event::BudgetChanged(budget_change(p)),
        19 => Event::TaskStarted { job, task, attempt, worker: p.text.clone(), reserved: reserved(p) },
        20 => Event::TaskProgressed { job, task, attempt, permille: p.small, note: p.text.clone() },
        21 => Event::TaskCheckpointed { job, task, attempt, state: p.json() },
        22 => Event::TaskSucceeded { job, task, attempt, result: p.json(), blobs: vec![p.text.clone()] },
        23 => Event::TaskFailed { job, task, attempt, failure: p.failure(), retry_at: p.time() },
        24 => {
            let [lost, over] = [ReleaseReason::LeaseLost, ReleaseReason::BackOffOver];
            let reasons = [lost, over, ReleaseReason::Drained, ReleaseReason::DelayOver];
            Event::TaskReleased { job, task, attempt, reason: reasons[p.pick % 4] }
        }
        25 => {
            let (operation, provider, model) = (p.id.clone(), p.id.clone(), p.text.clone());
            let (input_tokens, output_tokens, latency_ms) = (p.number, p.number, p.number);
            let Amounts { money_micros: cost_micros, .. } = reserved(p);
            let number = if cost_micros == 0 { 0 } else { p.small };
            let call =
                AiCalled { operation, provider, model, input_tokens, output_tokens, latency_ms, cost_micros, number };
            Event::AiCalled { job, task, call }
        }
        26 => {
            let (document, title, blob) = (p.id.clone(), p.text.clone(), p.text.clone());
            Event::DocumentIndexed { document, title, blob, chunks: p.small }
        }
        _ => return None,
    })
}

/// The golden line is of a request that says nothing of when.
fn options(p: &Parts) -> JobOptions {
    if p.pick % 3 == 1 {
        return JobOptions::default();
    }
    let priority = PRIORITIES[p.pick % PRIORITIES.len()];
    JobOptions { priority, start_at: p.time(), deadline_at: p.time() }
}

/// The golden lines are of work that no budget is reserved for.
fn reserved(p: &Parts) -> Amounts {
    if p.pick % 3 == 1 {
        return Amounts::NONE;
    }
    Amounts { money_micros: p.number, tokens: u64::from(p.small), video_ms: 1 }
}

fn budget_change(p: &Parts) -> BudgetChange {
    let budget = |place: usize| p.full.then_some(Budget { max: p.number, period: PERIODS[(p.pick + place) % 3] });
    let (unit, until) = (UNITS[p.pick % 3], p.time());
    match p.pick % 2 {
        0 => BudgetChange::Reached(Reached { unit, percent: p.small, spent: p.number, max: 1, until }),
        _ => {
            BudgetChange::Set(Budgets { currency: p.id.clone(), money: budget(0), tokens: budget(1), video: budget(2) })
        }
    }
}

fn schedule_change(p: &Parts) -> ScheduleChange {
    let next = p.time().map(|tick| Planned { tick, due: Timestamp(p.number.saturating_add(1)) });
    let settings = || ScheduleSettings {
        expression: p.text.clone(),
        time_zone: p.text.clone(),
        job: p.kind(),
        input: p.json(),
        priority: PRIORITIES[p.pick % PRIORITIES.len()],
        within_ms: p.number,
        missed: [Missed::All, Missed::Latest, Missed::None][p.pick % 3],
        overlap: [Overlap::Allow, Overlap::Skip][p.pick % 2],
        smoothing_ms: u64::from(p.small),
    };
    match p.pick % 6 {
        0 => ScheduleChange::Ticked(Ticked {
            taken: vec![Taken { tick: Timestamp(p.number), job: p.id() }],
            skipped: SKIP_REASONS
                .map(|reason| Skipped { reason, count: p.number, first: Timestamp(1), last: Timestamp(p.number) })
                .to_vec(),
            next,
        }),
        1 => ScheduleChange::Created { settings: settings(), next },
        2 => ScheduleChange::Updated { settings: settings(), next },
        3 => ScheduleChange::Paused,
        4 => ScheduleChange::Resumed { next },
        _ => ScheduleChange::Deleted,
    }
}

fn source_change(p: &Parts) -> SourceChange {
    let response = SourceResponse { status: p.status, content_type: p.id.clone(), body: p.text.clone() };
    match p.pick % 4 {
        0 => SourceChange::SecretsChanged { sealed_secrets: vec![p.bytes.clone(), vec![]], awaits_secret: p.full },
        1 => SourceChange::Updated {
            tolerance_s: p.small,
            public_url: p.text.clone(),
            settings: SourceSettings {
                rate_per_s: p.small,
                allow: vec![p.text.clone()],
                response: p.full.then_some(response),
            },
        },
        2 => SourceChange::Paused,
        _ => SourceChange::Resumed,
    }
}

fn endpoint_change(p: &Parts) -> EndpointChange {
    let old = p.time().map(|until| OldSecret { sealed: vec![1], until });
    match p.pick % 9 {
        0 => EndpointChange::SecretRotated { sealed_secret: p.bytes.clone(), old },
        1 => EndpointChange::Updated {
            url: p.text.clone(),
            patterns: vec![p.pattern()],
            settings: EndpointSettings {
                filter: p.text.clone(),
                ordering_key: p.id.clone(),
                rate_per_s: p.small,
                sealed_extras: p.bytes.clone(),
            },
        },
        2 => EndpointChange::Paused,
        3 => EndpointChange::Resumed,
        4 => EndpointChange::Failing { percent: p.small, since: Timestamp(1), disabled_at: Timestamp(p.number) },
        5 => EndpointChange::CircuitOpened { until: Timestamp(p.number), trials: p.small },
        6 => EndpointChange::CircuitClosed,
        7 => EndpointChange::Recovering { after_seq: 1, through_seq: p.number },
        _ => EndpointChange::Requeued { seqs: vec![1, p.number] },
    }
}

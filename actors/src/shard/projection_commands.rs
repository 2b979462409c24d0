//! Commands of all kinds, made of random numbers for what an account has.

use serde_json::json;
use steward_cluster::clock::Timestamp;

use super::projection_model::Model;
use crate::domain::account::limits::{REFUSED_PLACE_BYTES, REQUEST_INLINE_BYTES_MAX};
use crate::domain::account::{
    AiCalled, ApiKeyCreated, BlobUploaded, Command, DeliveryOutcome, EndpointCreated, EndpointSettings, KeptRequest,
    Moved, Playbook, RefusedFor, ReleaseReason, Reported, RetryAsked, Role, SourceAsked, SourceCreated, SourceSettings,
    TaskRef, Trust, WebhookAccepted,
};
use crate::domain::budget::{Budget, Budgets, Period};
use crate::domain::ids::{Id, JobId, ScheduleId};
use crate::domain::job::{Failure, JobKind, JobOptions, Priority};
use crate::domain::pattern::Pattern;
use crate::domain::schedule::{Missed, Overlap, ScheduleSettings};
use crate::domain::task::{TaskKind, TaskLimits};

const COMMANDS: u8 = 40;

pub(super) fn id<Of>(name: &str, pick: u8) -> Id<Of> {
    Id::parse(&format!("{name}-{}", pick % 3)).unwrap()
}

fn uploaded(a: u8, b: u8) -> BlobUploaded {
    let (content_type, name) = (String::new(), String::new());
    BlobUploaded { hash: hex::encode([a; 32]), bytes: b.into(), content_type, name }
}

pub(super) fn outcome(pick: u8) -> DeliveryOutcome {
    match pick % 5 {
        4 => DeliveryOutcome::Forgotten,
        0 | 1 => DeliveryOutcome::Delivered { status: 200, latency_ms: 1, response: "ok".to_owned() },
        2 => DeliveryOutcome::Failed {
            status: None,
            error: "no".to_owned(),
            retry_after_ms: None,
            latency_ms: 0,
            response: String::new(),
        },
        _ => DeliveryOutcome::Gone,
    }
}

/// Some jobs start later, and some have a deadline.
fn options(b: u8) -> JobOptions {
    let at = |far: bool| far.then_some(Timestamp(1_000_000_000 + u64::from(b)));
    let priority = Priority::of_number(u32::from(b % 5) + 1).unwrap();
    JobOptions { priority, start_at: at(b.is_multiple_of(3)), deadline_at: at(b % 4 == 1) }
}

/// A change of a source.
fn source_command(op: u8, a: u8, b: u8) -> Command {
    let settings = SourceSettings { rate_per_s: u32::from(b % 3), ..SourceSettings::default() };
    let asked = match (op % COMMANDS, b % 2) {
        (27, 0) => SourceAsked::Pause,
        (27, _) => SourceAsked::Resume,
        (28, 0) => SourceAsked::AddSecret { sealed_secret: vec![b] },
        (28, _) => SourceAsked::RetireSecret { position: usize::from(b % 3) },
        _ => SourceAsked::Update { tolerance_s: u32::from(b), public_url: String::new(), settings },
    };
    Command::ChangeSource { source: id("source", a), asked }
}

/// Some requests are too large for the feed.
fn kept(b: u8) -> KeptRequest {
    match b % 8 {
        0 => KeptRequest::Nowhere,
        1 => KeptRequest::Here(vec![b; REQUEST_INLINE_BYTES_MAX + 1].into()),
        _ => KeptRequest::Here(vec![b].into()),
    }
}

fn limits(a: u8, b: u8) -> TaskLimits {
    let running_max = b.is_multiple_of(2).then_some(u32::from(b % 4) + 1);
    let open_jobs_max = a.is_multiple_of(2).then_some(u32::from(a) + 1_000);
    TaskLimits { weight: u32::from(a % 3) + 1, running_max, open_jobs_max, ..TaskLimits::default() }
}

/// Sometimes small ones, so that tasks wait for them.
fn budgets(a: u8, b: u8) -> Budgets {
    let of = |max: u64| Some(Budget { max, period: Period::Total });
    Budgets { tokens: of(u64::from(b) + 1).filter(|_| !a.is_multiple_of(4)), video: of(1 << 40), ..Budgets::default() }
}

impl Model {
    /// The command that an operation stands for.
    pub(super) fn command(&self, op: u8, a: u8, b: u8) -> Command {
        match op % COMMANDS {
            0 => Command::CreateApiKey(ApiKeyCreated {
                key: id("key", a),
                role: Role::Writer,
                label: String::new(),
                hash: [a; 32],
                expires_at: None,
            }),
            1 => Command::RevokeApiKey { key: id("key", a) },
            2 => {
                let on = Pattern::parse("webhook.**").unwrap();
                let rule = Playbook { on, job: JobKind::Single(TaskKind::Summarize), input: json!({"text": "x"}) };
                Command::PutPlaybook { playbook: id("playbook", a), rule }
            }
            3 => Command::DeletePlaybook { playbook: id("playbook", a) },
            4 => Command::CreateSource(SourceCreated {
                source: id("source", a),
                scheme: "zoom".to_owned(),
                token: "t".to_owned(),
                sealed_secrets: vec![vec![b]],
                tolerance_s: 1,
                public_url: String::new(),
            }),
            5 => Command::DeleteSource { source: id("source", a) },
            6 | 7 => Command::AcceptWebhooks(vec![WebhookAccepted {
                source: id("source", a),
                provider: "zoom".to_owned(),
                event_type: "e".to_owned(),
                delivery_ids: vec![format!("{b}")],
                tenant: None,
                trust: Trust::Full,
                content_type: String::new(),
                body: "{}".into(),
                kept: kept(b),
            }]),
            8 => {
                let url = "https://a".to_owned();
                let new =
                    EndpointCreated { endpoint: id("endpoint", a), url, patterns: vec![], sealed_secret: vec![b] };
                let settings = EndpointSettings { rate_per_s: u32::from(b % 2), ..EndpointSettings::default() };
                Command::CreateEndpoint(new, settings)
            }
            9 => Command::DeleteEndpoint { endpoint: id("endpoint", a) },
            10 => Command::SkipDeliveries { endpoint: id("endpoint", a), through_seq: u64::from(b) },
            11 | 12 => {
                let reported = Reported { event_seq: self.account.last_seq, outcome: outcome(b) };
                Command::ReportDelivery { endpoint: id("endpoint", a), reported }
            }
            21..27 => self.endpoint_command(op, a, b),
            27..30 => source_command(op, a, b),
            30 | 31 => Command::KeepRefused {
                source: id("source", a),
                refused_for: RefusedFor::Expired,
                sealed_request: vec![b; if b < 8 { REFUSED_PLACE_BYTES + 1 } else { 3 }].into(),
            },
            32 => Command::ForgetRefused { source: id("source", a), numbers: vec![u64::from(b % 4)] },
            13 => Command::CreateJob { kind: JobKind::Call, input: json!({"url": "https://a"}), options: options(b) },
            33 => self.job_command(a, b),
            34 => Command::SetTaskLimits { limits: limits(a, b) },
            35 => Command::RecordUpload(uploaded(a, b)),
            36 | 37 => self.schedule_command(a, b),
            38 => Command::SetBudgets { budgets: budgets(a, b) },
            14 => Command::AckConsumer { consumer: id("consumer", a), seq: self.account.last_seq },
            15 => Command::TrimFeed { first_seq: self.account.first_seq + u64::from(b % 8) },
            _ => self.task_command(op, a, b),
        }
    }

    /// A command about an endpoint whose deliveries overtake each other.
    fn endpoint_command(&self, op: u8, a: u8, b: u8) -> Command {
        let (endpoint, last) = (id("endpoint", a), self.account.last_seq);
        let back = |by: u8| last.saturating_sub(u64::from(by)).max(1);
        match op % COMMANDS {
            21 => Command::RequeueDeliveries { endpoint, event_seqs: vec![back(b % 8), back(b % 5)] },
            22 => Command::RecoverDeliveries { endpoint, after_seq: back(b), through_seq: back(b % 4) },
            23 if b.is_multiple_of(2) => Command::PauseEndpoint { endpoint },
            23 => Command::ResumeEndpoint { endpoint },
            24 => Command::RotateEndpointSecret { endpoint, sealed_secret: vec![b], grace_ms: u64::from(b % 2) },
            _ => {
                let seqs = [back(b % 3), back(b % 7)];
                let moved =
                    Moved { is_recovery: b.is_multiple_of(5), through_seq: back(b % 2), pending: seqs[1..].to_vec() };
                let outcomes = seqs.map(|event_seq| Reported { event_seq, outcome: outcome(b.wrapping_add(op)) });
                Command::ReportDeliveries { endpoint, moved: vec![moved], outcomes: outcomes.to_vec() }
            }
        }
    }

    /// A command about a job, open or ended.
    fn job_command(&self, a: u8, b: u8) -> Command {
        let jobs: Vec<_> = self.jobs.iter().collect();
        let Some((job, state)) = jobs.get(usize::from(a) % jobs.len().max(1)) else {
            return Command::PauseJob { job: JobId::parse("call-1").unwrap() };
        };
        let (job, tasks) = ((*job).clone(), state.tasks.keys().collect::<Vec<_>>());
        match b % 8 {
            0 => Command::PauseJob { job },
            1 => Command::ResumeJob { job },
            2 => Command::ExpireJob { job },
            3 | 4 => Command::RestartJob { job, from: Some(*tasks[usize::from(b / 8) % tasks.len()]) },
            _ => Command::RestartJob { job, from: None },
        }
    }

    /// A command about a schedule; most often a tick that is due.
    fn schedule_command(&self, a: u8, b: u8) -> Command {
        let schedule: ScheduleId = id("schedule", a);
        let settings = || ScheduleSettings {
            expression: format!("*/{} * * * *", b % 3 + 1),
            time_zone: String::new(),
            job: JobKind::Single(TaskKind::Search),
            input: json!({"query": b.to_string()}),
            priority: Priority::USUAL,
            within_ms: 0,
            missed: [Missed::All, Missed::Latest, Missed::None][usize::from(b % 3)],
            overlap: [Overlap::Allow, Overlap::Skip][usize::from(b % 2)],
            smoothing_ms: u64::from(b),
        };
        match (self.account.schedules.get(&schedule).map(|state| state.next), b % 8) {
            (None, _) => Command::CreateSchedule { schedule, settings: settings() },
            (Some(_), 0) => Command::UpdateSchedule { schedule, settings: settings() },
            (Some(_), 1) => Command::PauseSchedule { schedule },
            (Some(_), 2) => Command::ResumeSchedule { schedule },
            (Some(_), 3) => Command::DeleteSchedule { schedule },
            (Some(next), _) => Command::FireSchedule { schedule, tick: next.unwrap().tick },
        }
    }

    /// A command about a task of an open job, if there is one.
    fn task_command(&self, op: u8, a: u8, b: u8) -> Command {
        let jobs: Vec<_> = self.account.jobs.iter().collect();
        let Some((job, state)) = jobs.get(usize::from(a) % jobs.len().max(1)) else {
            return Command::CreateJob {
                kind: JobKind::Single(TaskKind::Search),
                input: json!({"query": "q"}),
                options: JobOptions::default(),
            };
        };
        let tasks: Vec<_> = state.tasks.iter().collect();
        let (kind, task) = tasks[usize::from(b) % tasks.len()];
        let at = TaskRef { job: (*job).clone(), task: *kind, attempt: task.attempt };
        match op % COMMANDS {
            16 => Command::StartTask { job: at.job, task: at.task, worker: "w".to_owned() },
            17 => Command::ReportSuccess { task: at, result: json!({"blob": "ab".repeat(32)}) },
            18 => {
                let failure = Failure { code: "c".to_owned(), message: String::new() };
                let retry = [RetryAsked::Never, RetryAsked::BackOff][usize::from(a % 2)];
                Command::ReportFailure { task: at, failure, retry }
            }
            19 => Command::ReleaseTask {
                task: at,
                reason: [ReleaseReason::LeaseLost, ReleaseReason::BackOffOver, ReleaseReason::DelayOver]
                    [usize::from(a % 3)],
            },
            20 if a.is_multiple_of(5) => Command::CancelJob { job: at.job },
            39 => {
                let (operation, provider, model) = ("embeddings".to_owned(), "p".to_owned(), "m".to_owned());
                let (input_tokens, output_tokens, latency_ms) = (b.into(), 1, 1);
                let (cost_micros, number) = (0, task.calls + u32::from(a % 2));
                let call = AiCalled {
                    operation,
                    provider,
                    model,
                    input_tokens,
                    output_tokens,
                    latency_ms,
                    cost_micros,
                    number,
                };
                Command::ReportAiCall { task: at, call }
            }
            _ => Command::ReportCheckpoint { task: at, state: json!({"at": b}) },
        }
    }
}

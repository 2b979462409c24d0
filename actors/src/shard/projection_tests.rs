//! Rows hold what a plain fold holds, for random histories cut into random batches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::LogIndex;
use steward_cluster::store::{Direction, Engine, StateStore, WriteBatch, open};

use super::digest::Digest;
use super::projection::Projection;
use super::rows::{Family, Place, family_range};
use super::{Reads, shard_of, wake};
use crate::blob::BlobHash;
use crate::codec::Decision;
use crate::domain::account::limits::{REFUSED_MAX, REFUSED_PLACE_BYTES, REQUEST_INLINE_BYTES_MAX};
use crate::domain::account::{
    Account, AiCalled, ApiKeyCreated, Asked, BlobUploaded, Command, Decided, DeliveryOutcome, EndpointChange,
    EndpointCreated, EndpointSettings, Event, Facts, JobChange, KeptRequest, Mark, Moved, Playbook, RefusedFor,
    RefusedRequest, ReleaseReason, Reported, RetryAsked, Role, SourceAsked, SourceCreated, SourceSettings, TaskRef,
    Trust, WebhookAccepted, decide,
};
use crate::domain::budget::{Budget, Budgets, Period};
use crate::domain::ids::{AccountId, EndpointId, Id, JobId, ScheduleId, SourceId};
use crate::domain::job::{Failure, Job, JobKind, JobOptions, Priority};
use crate::domain::pattern::Pattern;
use crate::domain::schedule::{Missed, Overlap, ScheduleSettings};
use crate::domain::task::{TaskKind, TaskLimits};

const SHARDS: u16 = 64;
const COMMANDS: u8 = 40;

/// What a plain fold of the events holds.
struct Model {
    account: Account,
    jobs: BTreeMap<JobId, Job>,
    /// Events given up at endpoints.
    dead: BTreeSet<(EndpointId, u64)>,
    /// Requests refused by sources, and those that were forgotten since.
    refused: BTreeMap<SourceId, BTreeMap<u64, RefusedRequest>>,
    events: Vec<Event>,
}

fn id<Of>(name: &str, pick: u8) -> Id<Of> {
    Id::parse(&format!("{name}-{}", pick % 3)).unwrap()
}

fn uploaded(a: u8, b: u8) -> BlobUploaded {
    let (content_type, name) = (String::new(), String::new());
    BlobUploaded { hash: hex::encode([a; 32]), bytes: b.into(), content_type, name }
}

fn outcome(pick: u8) -> DeliveryOutcome {
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

/// An event as it is to stand there.
fn on_feed(event: &Event) -> Event {
    if let Event::WebhookAccepted(webhook) = event
        && let KeptRequest::Here(sealed) = &webhook.kept
        && sealed.len() > REQUEST_INLINE_BYTES_MAX
    {
        return Event::WebhookAccepted(WebhookAccepted { kept: KeptRequest::Beside, ..webhook.clone() });
    }
    event.clone()
}

fn limits(a: u8, b: u8) -> TaskLimits {
    let running_max = b.is_multiple_of(2).then_some(u32::from(b % 4) + 1);
    TaskLimits { weight: u32::from(a % 3) + 1, running_max, ..TaskLimits::default() }
}

/// Sometimes small ones, so that tasks wait for them.
fn budgets(a: u8, b: u8) -> Budgets {
    let of = |max: u64| Some(Budget { max, period: Period::Total });
    Budgets { tokens: of(u64::from(b) + 1).filter(|_| !a.is_multiple_of(4)), video: of(1 << 40), ..Budgets::default() }
}

impl Model {
    fn new(name: AccountId) -> Self {
        Self {
            account: Account::absent(name),
            jobs: BTreeMap::new(),
            dead: BTreeSet::new(),
            refused: BTreeMap::new(),
            events: vec![],
        }
    }

    /// The command that an operation stands for.
    fn command(&self, op: u8, a: u8, b: u8) -> Command {
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

    fn decide(&self, command: Command, at: Timestamp) -> Option<Decision> {
        let asked = Asked {
            command,
            actor: "test".to_owned(),
            correlation_id: String::new(),
            causation_seq: 0,
            idempotency: None,
        };
        let mut ended_job = None;
        if let Command::RestartJob { job, .. } = &asked.command
            && !self.account.jobs.contains_key(job)
        {
            ended_job = self.jobs.get(job).cloned();
        }
        let facts = Facts { ended_job, ..Facts::default() };
        let Decided { events, marks, .. } = decide(&self.account, &facts, &asked, at).ok()?;
        Some(Decision {
            account: self.account.id.clone(),
            first_seq: self.account.last_seq + 1,
            at,
            actor: asked.actor,
            correlation_id: asked.correlation_id,
            causation_seq: 0,
            events,
            marks,
            answered: None,
        })
    }

    fn fold(&mut self, decision: &Decision) {
        for mark in &decision.marks {
            self.account.mark(mark);
            self.note_refused(mark);
        }
        for (seq, cause_seq, event) in decision.numbered() {
            self.note_dead(event);
            if let Event::SourceDeleted { source } = event {
                self.refused.remove(source);
            }
            if let Event::JobChanged { job, change: JobChange::Restarted { .. } } = event {
                self.account.jobs.insert(job.clone(), self.jobs[job].clone());
            }
            self.account.evolve(seq, decision.at, cause_seq, event);
            for (job, state) in &self.account.jobs {
                self.jobs.insert(job.clone(), state.clone());
            }
            if let Event::JobSucceeded { job } | Event::JobFailed { job, .. } | Event::JobCancelled { job } = event {
                self.jobs.get_mut(job).unwrap().evolve(decision.at, event);
            }
            self.events.push(on_feed(event));
        }
    }

    fn note_refused(&mut self, mark: &Mark) {
        if let Mark::RequestRefused(refused) = mark {
            let of_source = self.refused.entry(refused.source.clone()).or_default();
            of_source.insert(refused.number, refused.clone());
            let next = refused.number + u64::from(refused.places);
            of_source.retain(|number, _| *number + REFUSED_MAX >= next);
        } else if let Mark::RefusedForgotten { source, numbers } = mark {
            let of_source = self.refused.entry(source.clone()).or_default();
            of_source.retain(|number, _| !numbers.contains(number));
        }
    }

    fn note_dead(&mut self, event: &Event) {
        let in_order = |endpoint: &EndpointId, seq: u64| self.account.endpoints[endpoint].cursor < seq;
        if let Event::DeliveryFailed { endpoint, event_seq, retry_at: None, .. } = event
            && !in_order(endpoint, *event_seq)
        {
            self.dead.insert((endpoint.clone(), *event_seq));
        } else if let Event::DeliverySucceeded { endpoint, event_seq, .. } = event {
            self.dead.remove(&(endpoint.clone(), *event_seq));
        } else if let Event::EndpointDeleted { endpoint } = event {
            self.dead.retain(|(of, _)| of != endpoint);
        } else if let Event::EndpointChanged { endpoint, change: EndpointChange::Requeued { seqs } } = event {
            self.dead.retain(|(of, seq)| of != endpoint || !seqs.contains(seq));
        }
    }

    #[track_caller]
    fn check(&self, store: &Arc<dyn StateStore>) {
        let name = &self.account.id;
        let place = Place { shard: shard_of(name, SHARDS), account: name };
        let (account, _) = wake(&**store, place).unwrap();
        assert_eq!(account, self.account);
        let reads = Reads::new(Arc::clone(store), SHARDS);
        for endpoint in self.account.endpoints.keys() {
            let from = self.account.first_seq; // Rows before it go with a later trim.
            let stored = reads.dead(name, endpoint, from, u64::MAX - 1, usize::MAX).unwrap();
            let known = self.dead.iter().filter(|(of, seq)| of == endpoint && *seq >= from).map(|(_, seq)| *seq);
            assert_eq!(stored, known.collect::<Vec<_>>(), "what {endpoint} was not given");
        }
        for (source, state) in &self.account.sources {
            let stored = reads.refused(name, (source, state), 0, usize::MAX, Timestamp(0)).unwrap();
            let known = self.refused.get(source).into_iter().flat_map(BTreeMap::values);
            let stored: Vec<_> = stored.into_iter().map(|one| (one.number, one.at, one.sealed_request)).collect();
            let known: Vec<_> = known.map(|one| (one.number, one.at, one.sealed_request.clone())).collect();
            assert_eq!(stored, known, "what {source} refused");
        }
        for (seq, event) in (1..).zip(&self.events) {
            let is_beside = matches!(event, Event::WebhookAccepted(WebhookAccepted { kept: KeptRequest::Beside, .. }));
            let is_kept = is_beside && seq >= self.account.first_seq;
            assert_eq!(reads.request_beside(name, seq).unwrap().is_some(), is_kept, "beside {seq}");
        }
        for event in &self.events {
            if let Event::BlobUploaded(uploaded) = event {
                assert!(reads.owns_blob(name, &BlobHash::parse(&uploaded.hash).unwrap()).unwrap(), "{uploaded:?}");
            }
        }
        for (job, state) in &self.jobs {
            match reads.job(name, job).unwrap() {
                Some(stored) => assert_eq!(&stored, state, "{job}"),
                None => assert!(state.seq < self.account.first_seq && !self.account.jobs.contains_key(job)),
            }
        }
        let kept: Vec<Event> = reads.events(name, 0, usize::MAX).unwrap().into_iter().map(|e| e.event).collect();
        let forgotten = usize::try_from(self.account.first_seq - 1).unwrap();
        assert_eq!(kept, self.events[forgotten..]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_hold_what_a_fold_holds(ops in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), 0..4_u8), 1..120)) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(Engine::Memory, folder.path(), 8 << 20).unwrap();
        let name = AccountId::parse("acme").unwrap();
        let shard = shard_of(&name, SHARDS);
        let mut model = Model::new(name);
        let create = Command::CreateAccount { display_name: "A".to_owned(), wrapped_key: vec![1] };
        let first = model.decide(create, Timestamp(1)).unwrap();
        let mut projection = Projection::new(&*store);
        model.fold(&first);
        projection.add(shard, LogIndex(1), &first).unwrap();
        for ((op, a, b, cut), index) in ops.into_iter().zip(2..) {
            if let Some(decision) = model.decide(model.command(op, a, b), Timestamp(index * 1000)) {
                model.fold(&decision);
                projection.add(shard, LogIndex(index), &decision).unwrap();
            }
            if cut == 0 {
                store.write(projection.finish()).unwrap();
                model.check(&store);
                projection = Projection::new(&*store);
            }
        }
        store.write(projection.finish()).unwrap();
        model.check(&store);
    }
}

#[test]
fn a_source_keeps_the_last_requests_it_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(Engine::Memory, folder.path(), 8 << 20).unwrap();
    let name = AccountId::parse("acme").unwrap();
    let shard = shard_of(&name, SHARDS);
    let mut model = Model::new(name);
    let create = Command::CreateAccount { display_name: "A".to_owned(), wrapped_key: vec![1] };
    let keep = |bytes: usize| Command::KeepRefused {
        source: id("source", 0),
        refused_for: RefusedFor::BadSignature,
        sealed_request: vec![1; bytes].into(),
    };
    let many = usize::try_from(REFUSED_MAX).unwrap() + 3;
    let commands = [create, model.command(4, 0, 0)].into_iter().chain((0..many).map(|_| keep(1)));
    // The last one takes three places.
    let commands = commands.chain([keep(2 * REFUSED_PLACE_BYTES + 1)]);
    let mut counts = vec![];
    for (command, index) in commands.zip(1..) {
        let decision = model.decide(command, Timestamp(index * 1000)).unwrap();
        model.fold(&decision);
        let mut projection = Projection::new(&*store);
        projection.add(shard, LogIndex(index), &decision).unwrap();
        store.write(projection.finish()).unwrap();
        counts.push(model.refused.values().map(BTreeMap::len).sum::<usize>());
    }
    model.check(&store);
    assert_eq!(counts[many..], [256, 256, 254]);
    let rows = store.scan(&family_range(shard, Family::Refused), Direction::Forward, usize::MAX).unwrap();
    assert_eq!(rows.len(), 254, "those that are too far behind are gone");
    // The sweep was not there, and those that came within the last seven days count all the same.
    let (reads, name) = (Reads::new(Arc::clone(&store), SHARDS), &model.account.id);
    let source = (&id("source", 0), &model.account.sources[&id("source", 0)]);
    let left = |now| reads.refused(name, source, 0, usize::MAX, now).unwrap().len();
    let last_at = u64::try_from(many + 3).unwrap() * 1000;
    let after = |at: u64| Timestamp(at + 7 * 24 * 3_600 * 1000);
    assert_eq!([left(after(last_at)), left(after(last_at - 1)), left(after(last_at - 2001))], [0, 1, 3]);
}

#[test]
fn what_was_given_up_and_sent_again_is_no_longer_dead() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(Engine::Memory, folder.path(), 8 << 20).unwrap();
    let name = AccountId::parse("acme").unwrap();
    let shard = shard_of(&name, SHARDS);
    let mut model = Model::new(name);
    let endpoint = || id("endpoint", 0);
    let (url, patterns, sealed_secret) = ("https://a".to_owned(), vec![], vec![1]);
    let new = EndpointCreated { endpoint: endpoint(), url, patterns, sealed_secret };
    let report = |is_recovery, outcome| Command::ReportDeliveries {
        endpoint: endpoint(),
        moved: vec![Moved { is_recovery, through_seq: 4, pending: vec![] }],
        outcomes: vec![Reported { event_seq: 3, outcome }],
    };
    let commands = [
        Command::CreateAccount { display_name: "A".to_owned(), wrapped_key: vec![1] },
        Command::CreateEndpoint(new, EndpointSettings::default()),
        Command::CreateJob { kind: JobKind::Call, input: json!({"url": "https://a"}), options: JobOptions::default() },
        Command::CreateJob { kind: JobKind::Call, input: json!({"url": "https://b"}), options: JobOptions::default() },
        report(false, DeliveryOutcome::Forgotten),
        Command::RecoverDeliveries { endpoint: endpoint(), after_seq: 2, through_seq: 4 },
        report(true, outcome(0)),
    ];
    let mut deaths = vec![];
    for (command, index) in commands.into_iter().zip(1..) {
        let decision = model.decide(command, Timestamp(index * 1000)).unwrap();
        model.fold(&decision);
        let mut projection = Projection::new(&*store);
        projection.add(shard, LogIndex(index), &decision).unwrap();
        store.write(projection.finish()).unwrap();
        model.check(&store);
        deaths.push(model.dead.len());
    }
    assert_eq!(deaths, [0, 0, 0, 0, 1, 1, 0]);
}

/// Applies the decisions in batches that end where `cuts` says, and gives what the shard comes to.
fn digest_of(
    decisions: &[Decision],
    cuts: &[bool],
    meddle: impl Fn(usize, &dyn StateStore, &mut Projection<'_>),
) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let store = open(Engine::Memory, folder.path(), 8 << 20).unwrap();
    let mut projection = Projection::new(&*store);
    for ((at, decision), index) in decisions.iter().enumerate().zip(1..) {
        let shard = shard_of(&decision.account, SHARDS);
        projection.add(shard, LogIndex(index), decision).unwrap();
        projection.applied(shard, LogIndex(index), index % 5 == 0).unwrap();
        if cuts[at % cuts.len()] {
            store.write(projection.finish()).unwrap();
            projection = Projection::new(&*store);
            meddle(at, &*store, &mut projection);
        }
    }
    store.write(projection.finish()).unwrap();
    Digest::read(&*store, shard_of(&decisions[0].account, SHARDS)).unwrap().hash
}

/// An account, and what the operations lead to.
fn history(ops: &[(u8, u8, u8)]) -> Vec<Decision> {
    let name = AccountId::parse("acme").unwrap();
    let mut model = Model::new(name);
    let create = Command::CreateAccount { display_name: "A".to_owned(), wrapped_key: vec![1] };
    let commands = std::iter::once((0, None)).chain((1..).zip(ops).map(|(at, op)| (at, Some(op))));
    let mut decisions = vec![];
    for (at, op) in commands {
        let command = op.map_or_else(|| create.clone(), |(op, a, b)| model.command(*op, *a, *b));
        if let Some(decision) = model.decide(command, Timestamp(1000 + at)) {
            model.fold(&decision);
            decisions.push(decision);
        }
    }
    decisions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn grouping_does_not_change_the_digest(
        ops in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..120),
        cuts in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let decisions = history(&ops);
        let one_by_one = digest_of(&decisions, &[true], |_, _, _| {});
        prop_assert_eq!(digest_of(&decisions, &[false], |_, _, _| {}), one_by_one);
        prop_assert_eq!(digest_of(&decisions, &cuts, |_, _, _| {}), one_by_one);
    }
}

/// Requests a job, makes its source, takes a webhook, and then starts a task of the job.
const JOB_THEN_TASK: [(u8, u8, u8); 4] = [(13, 0, 2), (4, 0, 0), (6, 0, 0), (16, 0, 0)];

#[test]
fn a_stored_row_that_is_wrong_changes_the_digest_once_an_event_reads_it() {
    let decisions = history(&JOB_THEN_TASK);
    assert_eq!(decisions.len(), 5);
    let meddle = |after: usize| {
        move |at: usize, store: &dyn StateStore, _: &mut Projection<'_>| {
            let name = AccountId::parse("acme").unwrap();
            let place = Place { shard: shard_of(&name, SHARDS), account: &name };
            if at == after {
                let (id, mut job): (JobId, _) = place.read_all::<_, Job>(store, Family::Job, 1).unwrap().remove(0);
                job.input = json!({"url": "https://b"});
                let mut batch = WriteBatch::default();
                batch.put(place.key(Family::Job, id.as_str().as_bytes()), serde_json::to_vec(&job).unwrap());
                store.write(batch).unwrap();
            }
        }
    };
    let right = digest_of(&decisions, &[true], |_, _, _| {});
    assert_ne!(digest_of(&decisions, &[true], meddle(2)), right);
    // After the last event nobody has read it.
    assert_eq!(digest_of(&decisions, &[true], meddle(4)), right);
}

#[test]
fn forgetting_does_not_change_the_digest() {
    let decisions = history(&JOB_THEN_TASK);
    // As the applier does it: at the beginning of a batch, before its entries.
    let forget = |at: usize, store: &dyn StateStore, projection: &mut Projection<'_>| {
        let name = AccountId::parse("acme").unwrap();
        let delivery = Place { shard: shard_of(&name, SHARDS), account: &name }.delivery_key("source-0", "0");
        if at == 3 {
            assert!(store.get(&delivery).unwrap().is_some());
            projection.forget(delivery);
        }
    };
    assert_eq!(digest_of(&decisions, &[true], forget), digest_of(&decisions, &[true], |_, _, _| {}));
}

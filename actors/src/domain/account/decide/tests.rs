//! Tables: given events, when a command, then events or a rejection.

use bytes::Bytes;
use serde_json::{Value, json};
use steward_cluster::clock::Timestamp;

use super::*;
use crate::domain::account::command::{Idempotency, RetryAsked, TaskRef};
use crate::domain::account::event::{KeptRequest, ReleaseReason, SourceCreated, WebhookAccepted};
use crate::domain::account::limits::{BATCH_ITEMS_MAX, TASK_FAILURES_MAX};
use crate::domain::account::state::Trust;
use crate::domain::budget::Amounts;
use crate::domain::ids::{AccountId, ConsumerId, JobId, SourceId};
use crate::domain::job::{Failure, Job, JobKind, JobOptions, TaskState};
use crate::domain::task::{TaskId, TaskKind};

pub(super) const NOW: Timestamp = Timestamp(1_000_000);

pub(super) fn account(given: &[Event]) -> Account {
    let mut account = Account::absent(AccountId::parse("acme").unwrap());
    for (seq, event) in (1..).zip(given) {
        account.evolve(seq, NOW, 0, event);
    }
    account
}

pub(super) fn asked(command: Command) -> Asked {
    let (actor, correlation_id) = ("key:k1".to_owned(), "c1".to_owned());
    Asked { command, actor, correlation_id, causation_seq: 0, idempotency: None }
}

#[track_caller]
pub(super) fn check(given: &[Event], when: Command, then: &Result<Vec<Event>, Rejection>) {
    let decided = decide(&account(given), &Facts::default(), &asked(when), NOW);
    assert_eq!(&decided.map(|decided| decided.events), then);
}

pub(super) fn created() -> Event {
    Event::AccountCreated { display_name: "Acme".to_owned(), wrapped_key: vec![1] }
}

pub(super) fn source() -> Event {
    Event::SourceCreated(SourceCreated {
        source: SourceId::parse("zoom").unwrap(),
        scheme: "zoom-v0".to_owned(),
        token: "acme.t".to_owned(),
        sealed_secrets: vec![vec![1]],
        tolerance_s: 0,
        public_url: String::new(),
    })
}

pub(super) fn webhook(body: &str) -> WebhookAccepted {
    WebhookAccepted {
        source: SourceId::parse("zoom").unwrap(),
        provider: "zoom".to_owned(),
        event_type: "recording.completed".to_owned(),
        delivery_ids: vec!["d1".to_owned()],
        tenant: None,
        trust: Trust::Full,
        content_type: "application/json".to_owned(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        kept: KeptRequest::Nowhere,
    }
}

pub(super) fn accept(webhook: WebhookAccepted) -> Command {
    Command::AcceptWebhooks(vec![webhook])
}

pub(super) fn requested(id: &str, kind: &str) -> Event {
    let kind = JobKind::parse(kind).unwrap();
    Event::JobRequested {
        job: job(id),
        kind,
        input: json!({"text": "t"}),
        playbook: None,
        options: JobOptions::default(),
    }
}

pub(super) fn job(id: &str) -> JobId {
    JobId::parse(id).unwrap()
}

fn at(id: &str, task: TaskKind, attempt: u32) -> TaskRef {
    TaskRef { job: job(id), task: task.whole(), attempt }
}

pub(super) fn started(id: &str, task: TaskKind, attempt: u32) -> Event {
    Event::TaskStarted {
        job: job(id),
        task: task.whole(),
        attempt,
        worker: "node-1/a".to_owned(),
        reserved: Amounts::NONE,
    }
}

pub(super) fn succeeded(id: &str, task: TaskKind, result: Value) -> Event {
    Event::TaskSucceeded { job: job(id), task: task.whole(), attempt: 1, result, blobs: vec![] }
}

pub(super) fn failure() -> Failure {
    Failure { code: "upstream".to_owned(), message: "no answer".to_owned() }
}

#[test]
fn nothing_happens_to_an_account_that_does_not_exist() {
    let missing = Rejection::NotFound { what: "account", id: "acme".to_owned() };
    check(&[], accept(webhook("{}")), &Err(missing));
    let create = Command::CreateAccount { display_name: "Acme".to_owned(), wrapped_key: vec![1] };
    check(&[], create.clone(), &Ok(vec![created()]));
    check(&[created()], create, &Err(Rejection::AlreadyExists { what: "account", id: "acme".to_owned() }));
    let control = Command::CreateAccount { display_name: "a\nb".to_owned(), wrapped_key: vec![] };
    let rejection = decide(&account(&[]), &Facts::default(), &asked(control), NOW);
    assert!(matches!(rejection, Err(Rejection::Invalid { field: "display_name", .. })));
}

#[test]
fn accepts_each_delivery_once() {
    let given = [created(), source()];
    let accepted = Event::WebhookAccepted(webhook("{}"));
    check(&given, accept(webhook("{}")), &Ok(vec![accepted]));
    let facts = Facts { delivered: vec![Some(3)], ..Facts::default() };
    let again = decide(&account(&given), &facts, &asked(accept(webhook("{}"))), NOW).unwrap();
    assert_eq!((again.events, again.answer.seq, again.answer.repeated), (vec![], 3, true));
    let gone = Event::SourceDeleted { source: SourceId::parse("zoom").unwrap() };
    let missing = Rejection::NotFound { what: "source", id: "zoom".to_owned() };
    check(&[created(), source(), gone], accept(webhook("{}")), &Err(missing));
}

#[test]
fn of_a_batch_only_what_is_new_is_accepted() {
    let given = [created(), source()];
    let of = |id: &str| WebhookAccepted { delivery_ids: vec![id.to_owned()], ..webhook("{}") };
    let batch = || Command::AcceptWebhooks(vec![of("d1"), of("d2"), of("d3"), of("d2")]);
    let accepted = |ids: &[&str]| ids.iter().map(|id| Event::WebhookAccepted(of(id))).collect::<Vec<_>>();
    // The second d2 is the first one again.
    check(&given, batch(), &Ok(accepted(&["d1", "d2", "d3"])));
    let decided = |delivered: Vec<Option<u64>>| {
        let facts = Facts { delivered, ..Facts::default() };
        decide(&account(&given), &facts, &asked(batch()), NOW).unwrap()
    };
    let some = decided(vec![Some(9), None, Some(7)]);
    assert_eq!((some.events, some.answer.seq, some.answer.repeated), (accepted(&["d2"]), 3, false));
    let none = decided(vec![Some(9), Some(8), Some(7), Some(8)]);
    assert_eq!((none.events, none.answer.seq, none.answer.repeated), (vec![], 9, true));
    for count in [0, BATCH_ITEMS_MAX + 1] {
        let refused =
            decide(&account(&given), &Facts::default(), &asked(Command::AcceptWebhooks(vec![of("d"); count])), NOW);
        assert!(matches!(refused, Err(Rejection::Invalid { field: "body", .. })), "{count}");
    }
}

#[test]
fn the_first_new_event_of_a_batch_keeps_its_request() {
    let given = [created(), source()];
    let here = || KeptRequest::Here("sealed".into());
    let of = |id: &str, kept| WebhookAccepted { delivery_ids: vec![id.to_owned()], kept, ..webhook("{}") };
    let plain = |id: &str| of(id, KeptRequest::Nowhere);
    let batch = || Command::AcceptWebhooks(vec![of("d1", here()), plain("d2"), plain("d3")]);
    let kept_of = |delivered: Vec<Option<u64>>| {
        let facts = Facts { delivered, ..Facts::default() };
        let events = decide(&account(&given), &facts, &asked(batch()), NOW).unwrap().events;
        let kept = |event| if let Event::WebhookAccepted(webhook) = event { webhook.kept } else { panic!("{event:?}") };
        events.into_iter().map(kept).collect::<Vec<_>>()
    };
    assert_eq!(kept_of(vec![]), [here(), KeptRequest::At(3), KeptRequest::At(3)]);
    assert_eq!(kept_of(vec![Some(1)]), [here(), KeptRequest::At(3)]);
    let unkept = Command::AcceptWebhooks(vec![plain("d1"), plain("d2")]);
    let accepted = |id: &str| Event::WebhookAccepted(plain(id));
    check(&given, unkept, &Ok(vec![accepted("d1"), accepted("d2")]));
}

#[test]
fn an_idempotency_key_gets_the_first_answer_and_no_other_request() {
    let command = Command::CreateJob {
        kind: JobKind::parse("summarize").unwrap(),
        input: json!({"text": "t"}),
        options: JobOptions::default(),
    };
    let with_key = |fingerprint| {
        let idempotency = Some(Idempotency { key: "k".to_owned(), fingerprint });
        Asked { idempotency, ..asked(command.clone()) }
    };
    let first = Answer { id: "summarize-2".to_owned(), seq: 2, repeated: false };
    let facts =
        Facts { answered: Some((Idempotency { key: "k".to_owned(), fingerprint: 7 }, first)), ..Facts::default() };
    let account = account(&[created()]);
    let again = decide(&account, &facts, &with_key(7), NOW).unwrap();
    assert_eq!((again.answer.id.as_str(), again.answer.seq, again.events.len()), ("summarize-2", 2, 0));
    assert_eq!(decide(&account, &facts, &with_key(8), NOW), Err(Rejection::KeyReused));
}

#[test]
fn a_job_needs_its_input() {
    let create = |kind: &str, input: Value| Command::CreateJob {
        kind: JobKind::parse(kind).unwrap(),
        input,
        options: JobOptions::default(),
    };
    let decided = |command| decide(&account(&[created()]), &Facts::default(), &asked(command), NOW);
    let table = [
        ("call", json!({}), "input_json.url"),
        ("chat", json!({"messages": "hi"}), "input_json.messages"),
        ("answer", json!({"question": " "}), "input_json.question"),
        ("embed", json!({"texts": "x"}), "input_json.input"),
        ("index", json!({"segments": "x"}), "input_json.text"),
        ("probe", json!([]), "input_json"),
    ];
    for (kind, input, want) in table {
        match decided(create(kind, input)) {
            Err(Rejection::Invalid { field, .. }) => assert_eq!(field, want, "{kind}"),
            other => panic!("{kind}: {other:?}"),
        }
    }
}

#[test]
fn a_lease_is_given_once_and_fences_its_attempt() {
    let given = [created(), requested("summarize-2", "summarize")];
    let summarize = TaskKind::Summarize;
    let start = Command::StartTask { job: job("summarize-2"), task: summarize.whole(), worker: "node-1/a".to_owned() };
    check(&given, start.clone(), &Ok(vec![started("summarize-2", summarize, 1)]));

    let leased = [given.as_slice(), &[started("summarize-2", summarize, 1)]].concat();
    let taken = Rejection::TaskState { job: "summarize-2".to_owned(), task: "summarize".to_owned(), wanted: "ready" };
    check(&leased, start, &Err(taken));

    // The worker is lost, another takes over: what the first one reports late is refused.
    let reason = ReleaseReason::LeaseLost;
    let lost = Event::TaskReleased { job: job("summarize-2"), task: summarize.whole(), attempt: 1, reason };
    let second = [leased.as_slice(), &[lost, started("summarize-2", summarize, 2)]].concat();
    let late = Command::ReportSuccess { task: at("summarize-2", summarize, 1), result: json!({}) };
    let stale = Rejection::StaleAttempt { job: "summarize-2".to_owned(), task: "summarize".to_owned(), attempt: 1 };
    check(&second, late, &Err(stale));
    let result = Command::ReportSuccess { task: at("summarize-2", summarize, 2), result: json!({}) };
    let done = Event::TaskSucceeded {
        job: job("summarize-2"),
        task: summarize.whole(),
        attempt: 2,
        result: json!({}),
        blobs: vec![],
    };
    check(&second, result, &Ok(vec![done, Event::JobSucceeded { job: job("summarize-2") }]));
}

#[test]
fn tasks_become_ready_when_all_before_them_are_done() {
    let mut account = account(&[created(), requested("call-2", "call")]);
    let states = |account: &Account| -> Vec<(TaskKind, TaskState)> {
        let job = &account.jobs[&job("call-2")];
        job.tasks
            .iter()
            .map(|(id, task)| (id.kind, task.state))
            .filter(|(_, state)| *state == TaskState::Ready)
            .collect()
    };
    let mut ready = vec![states(&account)];
    for task in [TaskKind::Fetch, TaskKind::Probe, TaskKind::Transcript] {
        account.evolve(account.last_seq + 1, NOW, 0, &started("call-2", task, 1));
        account.evolve(account.last_seq + 1, NOW, 0, &succeeded("call-2", task, json!({})));
        ready.push(states(&account));
    }
    let kinds: Vec<Vec<TaskKind>> =
        ready.into_iter().map(|set| set.into_iter().map(|(kind, _)| kind).collect()).collect();
    let (normalize, thumbnail) = (TaskKind::Normalize, TaskKind::Thumbnail);
    assert_eq!(
        kinds,
        [
            vec![TaskKind::Fetch],
            vec![TaskKind::Probe],
            vec![normalize, thumbnail, TaskKind::Transcript],
            vec![normalize, thumbnail, TaskKind::Summarize],
        ]
    );
}

#[test]
#[expect(clippy::wildcard_enum_match_arm, reason = "any other event is the failure")]
fn a_task_is_tried_again_later_and_in_the_end_fails_its_job() {
    let summarize = TaskKind::Summarize;
    let mut account = account(&[created(), requested("summarize-2", "summarize")]);
    let mut waits = vec![];
    for attempt in 1..=TASK_FAILURES_MAX {
        account.evolve(account.last_seq + 1, NOW, 0, &started("summarize-2", summarize, attempt));
        let task = at("summarize-2", summarize, attempt);
        let report = Command::ReportFailure { task: task.clone(), failure: failure(), retry: RetryAsked::BackOff };
        let decided = decide(&account, &Facts::default(), &asked(report), NOW).unwrap();
        for event in &decided.events {
            account.evolve(account.last_seq + 1, NOW, 0, event);
        }
        match &decided.events[0] {
            Event::TaskFailed { retry_at: Some(at), .. } => {
                waits.push(at.0 - NOW.0);
                let release = Command::ReleaseTask { task, reason: ReleaseReason::BackOffOver };
                let released = decide(&account, &Facts::default(), &asked(release), *at).unwrap();
                account.evolve(account.last_seq + 1, *at, 0, &released.events[0]);
            }
            Event::TaskFailed { retry_at: None, .. } => {
                assert_eq!(decided.events.len(), 2, "the job fails with it");
                assert!(matches!(
                    &decided.events[1],
                    Event::JobFailed { task: TaskId { kind: TaskKind::Summarize, .. }, .. }
                ));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(account.jobs.is_empty());
    for (wait, least) in waits.iter().zip([1_000, 2_000, 4_000, 8_000]) {
        assert!((least..=least + least / 5).contains(wait), "{waits:?}");
    }
    assert_eq!(waits.len(), 4);
}

#[test]
fn a_permanent_failure_is_not_tried_again() {
    let given = [created(), requested("summarize-2", "summarize"), started("summarize-2", TaskKind::Summarize, 1)];
    let task = at("summarize-2", TaskKind::Summarize, 1);
    let report = Command::ReportFailure { task, failure: failure(), retry: RetryAsked::Never };
    let (job, task) = (job("summarize-2"), TaskKind::Summarize);
    let failed =
        Event::TaskFailed { job: job.clone(), task: task.whole(), attempt: 1, failure: failure(), retry_at: None };
    check(&given, report, &Ok(vec![failed, Event::JobFailed { job, task: task.whole(), failure: failure() }]));
}

#[test]
fn an_index_result_becomes_a_document_and_names_its_blobs() {
    let given = [created(), requested("index-2", "index"), started("index-2", TaskKind::Index, 1)];
    let blob = "a".repeat(64);
    let result =
        json!({"document": "index-2", "title": "T", "blob": blob, "chunks": 3, "not": {"hash": "b".repeat(64)}});
    let report = Command::ReportSuccess { task: at("index-2", TaskKind::Index, 1), result: result.clone() };
    let done = Event::TaskSucceeded {
        job: job("index-2"),
        task: TaskKind::Index.whole(),
        attempt: 1,
        result,
        blobs: vec![blob.clone()],
    };
    let indexed = Event::DocumentIndexed { document: "index-2".to_owned(), title: "T".to_owned(), blob, chunks: 3 };
    check(&given, report, &Ok(vec![done, indexed, Event::JobSucceeded { job: job("index-2") }]));
}

#[test]
fn cancelling_ends_an_open_job_and_changes_no_ended_one() {
    let given = [created(), requested("call-2", "call")];
    let cancel = Command::CancelJob { job: job("call-2") };
    check(&given, cancel.clone(), &Ok(vec![Event::JobCancelled { job: job("call-2") }]));
    let ended = account(&[created(), requested("call-2", "call"), Event::JobCancelled { job: job("call-2") }]);
    let facts = Facts { ended_job: Some(Job::requested(JobKind::Call, json!({}), 2, 0, NOW)), ..Facts::default() };
    assert_eq!(decide(&ended, &facts, &asked(cancel.clone()), NOW).unwrap().events, []);
    let unknown = decide(&ended, &Facts::default(), &asked(cancel), NOW);
    assert_eq!(unknown, Err(Rejection::NotFound { what: "job", id: "call-2".to_owned() }));
}

#[test]
fn consumers_and_trimming_leave_marks_and_no_news() {
    let account = account(&[created(), source()]);
    let consumer = ConsumerId::parse("crm").unwrap();
    let marks = |command| {
        decide(&account, &Facts::default(), &asked(command), NOW).map(|decided| (decided.events, decided.marks))
    };
    let ack = |seq| Command::AckConsumer { consumer: consumer.clone(), seq };
    assert_eq!(marks(ack(2)), Ok((vec![], vec![Mark::ConsumerAcked { consumer: consumer.clone(), seq: 2 }])));
    assert!(matches!(marks(ack(3)), Err(Rejection::Invalid { field: "seq", .. })), "the future cannot be acknowledged");
    let trim = |first_seq| marks(Command::TrimFeed { first_seq }).unwrap().1;
    assert_eq!(trim(9), [Mark::FeedTrimmed { first_seq: 2 }], "the newest event stays");
    assert_eq!(trim(1), []);
}

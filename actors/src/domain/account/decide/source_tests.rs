//! Tables: given a source, when it is asked to change, then what it becomes or why not.

use steward_cluster::clock::Timestamp;

use super::*;
use crate::domain::account::command::SourceAsked;
use crate::domain::account::event::{Mark, RefusedFor, SourceChange, SourceCreated};
use crate::domain::account::limits::{
    ALLOWED_NETWORKS_MAX, REFUSED_FORGOTTEN_MAX, REFUSED_MAX, REFUSED_PLACE_BYTES, SOURCE_RESPONSE_BYTES_MAX,
};
use crate::domain::account::state::{Source, SourceResponse, SourceSettings};
use crate::domain::ids::{AccountId, SourceId};

const NOW: Timestamp = Timestamp(1_000_000);

fn id() -> SourceId {
    SourceId::parse("in").unwrap()
}

fn asked(command: Command) -> Asked {
    let (actor, correlation_id) = ("key:k1".to_owned(), "c1".to_owned());
    Asked { command, actor, correlation_id, causation_seq: 0, idempotency: None }
}

/// An account with a source of this scheme and these secrets.
fn account(scheme: &str, secrets: &[u8]) -> Account {
    let mut account = Account::absent(AccountId::parse("acme").unwrap());
    let created = Event::AccountCreated { display_name: "Acme".to_owned(), wrapped_key: vec![1] };
    account.evolve(1, NOW, 0, &created);
    let created = SourceCreated {
        source: id(),
        scheme: scheme.to_owned(),
        token: "acme.t".to_owned(),
        sealed_secrets: secrets.iter().map(|secret| vec![*secret]).collect(),
        tolerance_s: 0,
        public_url: String::new(),
    };
    let command = asked(Command::CreateSource(created));
    for event in decide(&account, &Facts::default(), &command, NOW).into_iter().flat_map(|decided| decided.events) {
        account.evolve(2, NOW, 0, &event);
    }
    account
}

/// Asks, and applies what comes of it.
fn ask(account: &mut Account, change: SourceAsked) -> Result<Vec<SourceChange>, Rejection> {
    let command = asked(Command::ChangeSource { source: id(), asked: change });
    let events = decide(account, &Facts::default(), &command, NOW)?.events;
    let change = |event| {
        let Event::SourceChanged { change, .. } = event else { panic!("{event:?} is no change of a source") };
        change
    };
    for event in &events {
        account.evolve(account.last_seq + 1, NOW, 0, event);
    }
    Ok(events.into_iter().map(change).collect())
}

fn source(account: &Account) -> &Source {
    &account.sources[&id()]
}

#[track_caller]
fn refused(account: &mut Account, change: SourceAsked, field: &str) {
    let rejection = ask(account, change).unwrap_err();
    assert!(matches!(&rejection, Rejection::Invalid { field: named, .. } if *named == field), "{rejection}");
}

#[test]
fn secrets_come_and_go_one_by_one() {
    let mut account = account("zoom-v0", &[1]);
    let add = |secret| SourceAsked::AddSecret { sealed_secret: vec![secret] };
    refused(&mut account, SourceAsked::RetireSecret { position: 0 }, "position");
    for secret in 2..=4 {
        ask(&mut account, add(secret)).unwrap();
    }
    refused(&mut account, add(5), "secret");
    refused(&mut account, SourceAsked::RetireSecret { position: 4 }, "position");
    let changed = ask(&mut account, SourceAsked::RetireSecret { position: 1 }).unwrap();
    let left = vec![vec![1], vec![3], vec![4]];
    assert_eq!(changed, [SourceChange::SecretsChanged { sealed_secrets: left.clone(), awaits_secret: false }]);
    assert_eq!(source(&account).sealed_secrets, left);
    let missing = Command::ChangeSource { source: SourceId::parse("other").unwrap(), asked: add(1) };
    let missing = decide(&account, &Facts::default(), &asked(missing), NOW);
    assert_eq!(missing, Err(Rejection::NotFound { what: "source", id: "other".to_owned() }));
}

#[test]
fn a_platform_brings_its_secret_once_unless_it_is_asked_again() {
    let take = |secret| SourceAsked::TakeSecret { sealed_secret: vec![secret] };
    let mut account = account("asana-hook", &[]);
    assert!(source(&account).takes_secret());
    ask(&mut account, take(1)).unwrap();
    let taken = Rejection::AlreadyExists { what: "secret of source", id: "in".to_owned() };
    assert_eq!(ask(&mut account, take(2)), Err(taken.clone()));
    ask(&mut account, SourceAsked::AwaitSecret).unwrap();
    assert!(source(&account).takes_secret());
    ask(&mut account, take(2)).unwrap();
    assert_eq!(source(&account).sealed_secrets, [vec![1], vec![2]]);
    assert_eq!(ask(&mut account, take(3)), Err(taken));
}

#[test]
fn only_platforms_that_bring_secrets_are_waited_for() {
    assert!(account("zoom-v0", &[]).sources.is_empty(), "a source of another scheme needs a secret");
    let mut account = account("zoom-v0", &[1]);
    refused(&mut account, SourceAsked::AwaitSecret, "secret");
    let taken = ask(&mut account, SourceAsked::TakeSecret { sealed_secret: vec![2] });
    assert!(matches!(taken, Err(Rejection::AlreadyExists { .. })));
}

#[test]
fn a_pause_begins_and_ends_once() {
    let mut account = account("zoom-v0", &[1]);
    assert_eq!(ask(&mut account, SourceAsked::Resume), Ok(vec![]));
    assert_eq!(ask(&mut account, SourceAsked::Pause), Ok(vec![SourceChange::Paused]));
    assert!(source(&account).is_paused);
    assert_eq!(ask(&mut account, SourceAsked::Pause), Ok(vec![]));
    assert_eq!(ask(&mut account, SourceAsked::Resume), Ok(vec![SourceChange::Resumed]));
    assert!(!source(&account).is_paused);
}

#[test]
fn settings_have_limits_and_leave_no_trace_while_they_are_the_usual_ones() {
    let mut account = account("zoom-v0", &[1]);
    let update = |settings| SourceAsked::Update { tolerance_s: 9, public_url: "https://a/".to_owned(), settings };
    let row = serde_json::to_value(source(&account)).unwrap();
    let fields: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["created_at", "public_url", "scheme", "sealed_secrets", "token", "tolerance_s"]);

    let response = |status, bytes| {
        let response = SourceResponse { status, content_type: "text/plain".to_owned(), body: "x".repeat(bytes) };
        SourceSettings { response: Some(response), ..SourceSettings::default() }
    };
    refused(&mut account, update(response(302, 0)), "response.status");
    refused(&mut account, update(response(199, 0)), "response.status");
    refused(&mut account, update(response(200, SOURCE_RESPONSE_BYTES_MAX + 1)), "response.body");
    let allow = vec!["10.0.0.0/8".to_owned(); ALLOWED_NETWORKS_MAX + 1];
    refused(&mut account, update(SourceSettings { allow, ..SourceSettings::default() }), "allow");
    let fits = response(299, SOURCE_RESPONSE_BYTES_MAX);
    ask(&mut account, update(fits.clone())).unwrap();
    let state = source(&account);
    assert_eq!((&state.settings, state.tolerance_s, state.public_url.as_str()), (&fits, 9, "https://a/"));
}

#[test]
fn refused_requests_take_places_by_their_size_and_only_known_ones_are_forgotten() {
    let mut account = account("github-hub256", &[1]);
    let keep = |bytes: usize| Command::KeepRefused {
        source: id(),
        refused_for: RefusedFor::BadSignature,
        sealed_request: vec![7; bytes].into(),
    };
    let forget = |numbers: Vec<u64>| Command::ForgetRefused { source: id(), numbers };
    let most = usize::try_from(REFUSED_MAX).unwrap() * REFUSED_PLACE_BYTES;
    let mut numbers = vec![];
    for bytes in [1, REFUSED_PLACE_BYTES, REFUSED_PLACE_BYTES + 1, 1, most] {
        let marks = decide(&account, &Facts::default(), &asked(keep(bytes)), NOW).unwrap().marks;
        let [Mark::RequestRefused(refused)] = &marks[..] else { panic!("{marks:?}") };
        numbers.push((refused.number, refused.places, refused.at));
        account.mark(&marks[0]);
    }
    assert_eq!(numbers, [(0, 1, NOW), (1, 1, NOW), (2, 2, NOW), (4, 1, NOW), (5, 256, NOW)]);
    let asks = |command| decide(&account, &Facts::default(), &asked(command), NOW);
    assert!(matches!(asks(keep(most + 1)), Err(Rejection::Invalid { field: "request", .. })));
    assert_eq!(asks(forget(vec![])).unwrap(), Decided::default());
    assert_eq!(asks(forget(vec![0, 260])).unwrap().marks.len(), 1);
    for bad in [vec![261], vec![0; REFUSED_FORGOTTEN_MAX + 1]] {
        assert!(matches!(asks(forget(bad)), Err(Rejection::Invalid { field: "numbers", .. })));
    }
    let other = SourceId::parse("other").unwrap();
    let absent = Command::ForgetRefused { source: other, numbers: vec![0] };
    assert!(matches!(asks(absent), Err(Rejection::NotFound { what: "source", .. })));
}

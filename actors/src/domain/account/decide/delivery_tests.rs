//! What reports of deliveries become: retries, the circuit, the end of an endpoint.

use steward_cluster::clock::Timestamp;

use super::{Decided, Rejection, decide};
use crate::domain::account::command::{Asked, Command, DeliveryOutcome, Facts, Moved, Reported};
use crate::domain::account::event::{EndpointChange, EndpointCreated, Event, Mark};
use crate::domain::account::limits::{CIRCUIT_FAILURES, CIRCUIT_WAIT_MS_MIN, FAILING_MS_MAX};
use crate::domain::account::state::{Account, Endpoint, EndpointSettings, Health};
use crate::domain::ids::{AccountId, EndpointId, JobId};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// An account with one endpoint, and the time.
struct World {
    account: Account,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let mut world =
            Self { account: Account::absent(AccountId::parse("acme").unwrap()), now: Timestamp(1_790_000_000_000) };
        let created = Event::AccountCreated { display_name: "Acme".to_owned(), wrapped_key: vec![1] };
        world.account.evolve(1, world.now, 0, &created);
        let (url, patterns, sealed_secret) = ("https://a".to_owned(), vec![], vec![1]);
        let new = EndpointCreated { endpoint: crm(), url, patterns, sealed_secret };
        world.ask(Command::CreateEndpoint(new, EndpointSettings::default())).unwrap();
        for _ in 0..100 {
            let seq = world.account.last_seq + 1;
            world.account.evolve(seq, world.now, 0, &Event::JobCancelled { job: JobId::parse("call-1").unwrap() });
        }
        world
    }

    fn ask(&mut self, command: Command) -> Result<Decided, Rejection> {
        let (actor, correlation_id) = ("test".to_owned(), "c".to_owned());
        let asked = Asked { command, actor, correlation_id, causation_seq: 0, idempotency: None };
        let decided = decide(&self.account, &Facts::default(), &asked, self.now)?;
        decided.marks.iter().for_each(|mark| self.account.mark(mark));
        for event in &decided.events {
            self.account.evolve(self.account.last_seq + 1, self.now, 0, event);
        }
        Ok(decided)
    }

    fn report(&mut self, through_seq: u64, pending: &[u64], outcomes: &[(u64, DeliveryOutcome)]) -> Decided {
        let moved = vec![Moved { is_recovery: false, through_seq, pending: pending.to_vec() }];
        let reported = |(event_seq, outcome): &(u64, DeliveryOutcome)| Reported {
            event_seq: *event_seq,
            outcome: outcome.clone(),
        };
        let outcomes = outcomes.iter().map(reported).collect();
        self.ask(Command::ReportDeliveries { endpoint: crm(), moved, outcomes }).unwrap()
    }

    fn endpoint(&self) -> &Endpoint {
        &self.account.endpoints[&crm()]
    }
}

fn crm() -> EndpointId {
    EndpointId::parse("crm").unwrap()
}

fn delivered() -> DeliveryOutcome {
    DeliveryOutcome::Delivered { status: 204, latency_ms: 1, response: "ok".to_owned() }
}

fn failed() -> DeliveryOutcome {
    DeliveryOutcome::Failed {
        status: Some(500),
        error: "no".to_owned(),
        retry_after_ms: None,
        latency_ms: 1,
        response: String::new(),
    }
}

fn changes(decided: &Decided) -> Vec<&EndpointChange> {
    fn change(event: &Event) -> Option<&EndpointChange> {
        if let Event::EndpointChanged { change, .. } = event { Some(change) } else { None }
    }
    decided.events.iter().filter_map(change).collect()
}

#[test]
fn in_order_a_delivery_is_retried_on_schedule_and_moves_on_when_done() {
    let mut world = World::new();
    let mut report = |outcome: DeliveryOutcome| {
        let reported = Reported { event_seq: 3, outcome };
        let decided = world.ask(Command::ReportDelivery { endpoint: crm(), reported }).unwrap();
        let endpoint = world.endpoint();
        (decided.events, (endpoint.cursor, endpoint.failed_attempts), world.now)
    };
    let (events, stands, now) = report(failed());
    let Event::DeliveryFailed { attempt: 1, retry_at: Some(retry_at), .. } = &events[0] else { panic!("{events:?}") };
    assert!((5_000..=6_001).contains(&(retry_at.0 - now.0)), "{retry_at:?}");
    assert_eq!(stands, (2, 1), "the event is still to be delivered");

    let (status, error, response) = (Some(503), "no".to_owned(), String::new());
    let later = DeliveryOutcome::Failed { status, error, retry_after_ms: Some(3_600_000), latency_ms: 0, response };
    let (events, _, now) = report(later);
    let Event::DeliveryFailed { attempt: 2, retry_at: Some(retry_at), .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(retry_at.0 - now.0, 3_600_000, "Retry-After is longer than the schedule");

    assert_eq!(report(delivered()).1, (3, 0));
    assert_eq!(report(failed()).0, [], "a report about what is done with changes nothing");
}

#[test]
fn in_order_a_gone_receiver_disables_its_endpoint() {
    let reported = Reported { event_seq: 3, outcome: DeliveryOutcome::Gone };
    let decided = World::new().ask(Command::ReportDelivery { endpoint: crm(), reported }).unwrap();
    let reason = "the receiver answered 410 Gone".to_owned();
    assert_eq!(decided.events, [Event::EndpointDisabled { endpoint: crm(), reason }]);
}

#[test]
fn what_fails_is_pending_until_it_is_delivered_or_given_up() {
    let mut world = World::new();
    world.report(5, &[3], &[(4, delivered()), (5, failed())]);
    let pending: Vec<_> =
        world.endpoint().pending.iter().map(|(seq, pending)| (*seq, pending.failed_attempts)).collect();
    assert_eq!((world.endpoint().cursor, pending), (5, vec![(3, 0), (5, 1)]));
    let again = world.report(5, &[], &[(4, failed()), (9, delivered())]);
    assert_eq!((again.events, again.marks), (vec![], vec![]), "done, and not reached: both are nobody's");
    world.report(5, &[], &[(3, delivered())]);
    for attempt in 2..=8 {
        let decided = world.report(5, &[], &[(5, failed())]);
        let Event::DeliveryFailed { attempt: told, retry_at, .. } = &decided.events[0] else { panic!("{decided:?}") };
        assert_eq!((*told, retry_at.is_none()), (attempt, attempt == 8));
    }
    assert_eq!((world.endpoint().pending.len(), world.endpoint().counts.dead), (0, 1));
    world.ask(Command::RequeueDeliveries { endpoint: crm(), event_seqs: vec![5] }).unwrap();
    assert_eq!(world.endpoint().pending[&5].failed_attempts, 0, "a redrive begins anew");
}

#[test]
fn failures_in_a_row_open_the_circuit_and_one_success_closes_it() {
    let mut world = World::new();
    let outcomes: Vec<_> = (3..3 + u64::from(CIRCUIT_FAILURES) + 5).map(|seq| (seq, failed())).collect();
    let decided = world.report(30, &[], &outcomes);
    let opened = changes(&decided);
    let [EndpointChange::CircuitOpened { until, trials: 0 }] = opened[..] else { panic!("{opened:?}") };
    let wait_ms = until.0 - world.now.0;
    assert!((CIRCUIT_WAIT_MS_MIN..=CIRCUIT_WAIT_MS_MIN * 6 / 5 + 1).contains(&wait_ms), "{wait_ms}");
    assert!(changes(&world.report(31, &[], &[(31, failed())])).is_empty(), "it was under way when the circuit opened");
    world.now = *until;
    let tried = world.report(32, &[], &[(32, failed())]);
    let tried = changes(&tried);
    let [EndpointChange::CircuitOpened { until: next, trials: 1 }] = tried[..] else { panic!("{tried:?}") };
    assert!(next.0 - until.0 >= 2 * CIRCUIT_WAIT_MS_MIN);
    let closed = world.report(33, &[], &[(33, delivered())]);
    assert_eq!(changes(&closed), [&EndpointChange::CircuitClosed]);
    assert_eq!(world.endpoint().health, Health::default());
}

#[test]
fn an_endpoint_that_fails_for_days_is_warned_about_and_disabled() {
    let mut world = World::new();
    world.report(3, &[], &[(3, failed())]);
    let since = world.now;
    let mut told = vec![];
    let mut seq = 3;
    while world.endpoint().disabled.is_none() {
        world.now = Timestamp(world.now.0 + DAY_MS / 4);
        seq += 1;
        let decided = world.report(seq, &[], &[(seq, failed())]);
        told.extend(changes(&decided).into_iter().filter_map(|change| {
            let EndpointChange::Failing { percent, since: from, disabled_at } = change else { return None };
            assert_eq!((*from, disabled_at.0), (since, since.0 + FAILING_MS_MAX));
            Some(*percent)
        }));
        assert!(seq < 50, "it is never disabled");
    }
    assert_eq!(told, [50, 70, 90]);
    assert_eq!(world.now.0 - since.0, FAILING_MS_MAX);
    world.ask(Command::ResumeEndpoint { endpoint: crm() }).unwrap();
    assert_eq!((&world.endpoint().disabled, world.endpoint().health.failing_since), (&None, None));
}

#[test]
fn what_is_no_longer_kept_is_given_up_and_blames_nobody() {
    let mut world = World::new();
    let outcomes: Vec<_> = (3..30).map(|seq| (seq, DeliveryOutcome::Forgotten)).collect();
    let decided = world.report(30, &[], &outcomes);
    assert_eq!(decided.events.len(), outcomes.len(), "nothing but what was given up: {decided:?}");
    let Event::DeliveryFailed { attempt: 0, retry_at: None, .. } = &decided.events[0] else { panic!("{decided:?}") };
    assert_eq!((&world.endpoint().health, world.endpoint().counts.dead), (&Health::default(), 27));
}

#[test]
fn what_a_gone_receiver_was_not_given_waits_for_it() {
    let mut world = World::new();
    let decided = world.report(6, &[6], &[(3, delivered()), (4, DeliveryOutcome::Gone), (5, delivered())]);
    let Mark::EndpointMoved { pending, .. } = &decided.marks[0] else { panic!("{decided:?}") };
    assert_eq!(pending, &[4, 5, 6]);
    assert!(matches!(decided.events[..], [Event::DeliverySucceeded { .. }, Event::EndpointDisabled { .. }]));
    assert_eq!(world.report(9, &[], &[(5, delivered())]).events, [], "a disabled endpoint takes no reports");
}

#[test]
fn a_window_is_recovered_once_and_no_further_than_it_was_sent() {
    let mut world = World::new();
    world.report(40, &[], &[(40, delivered())]);
    world.ask(Command::RecoverDeliveries { endpoint: crm(), after_seq: 10, through_seq: 99 }).unwrap();
    assert_eq!(world.endpoint().recovery.map(|recovery| (recovery.cursor, recovery.through_seq)), Some((10, 40)));
    let second = world.ask(Command::RecoverDeliveries { endpoint: crm(), after_seq: 0, through_seq: 9 });
    assert!(matches!(second, Err(Rejection::AlreadyExists { .. })), "{second:?}");
    let moved = |through_seq| vec![Moved { is_recovery: true, through_seq, pending: vec![] }];
    let report = |through_seq, event_seq| Command::ReportDeliveries {
        endpoint: crm(),
        moved: moved(through_seq),
        outcomes: vec![Reported { event_seq, outcome: delivered() }],
    };
    let decided = world.ask(report(12, 12)).unwrap();
    assert!(matches!(decided.events[..], [Event::DeliverySucceeded { event_seq: 12, attempt: 1, .. }]), "{decided:?}");
    world.ask(report(40, 20)).unwrap();
    assert_eq!((world.endpoint().recovery, world.endpoint().cursor), (None, 40));
}

//! Budgets through decide and evolve: tables, and a property over random histories.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{NOW, account, asked, created, failure, job, requested, started, succeeded};
use super::*;
use crate::domain::account::event::ReleaseReason;
use crate::domain::account::{AiCalled, RetryAsked, TaskRef};
use crate::domain::budget::{Amounts, Budget, BudgetChange, Budgets, Period, Price, Tariff, UNITS, Unit};
use crate::domain::job::{Job, JobKind, JobOptions, TaskState};
use crate::domain::task::{TaskId, TaskKind};

const DAY_MS: u64 = 24 * 3_600 * 1_000;
const CHAT: TaskId = TaskKind::Chat.whole();

fn facts() -> Facts {
    let prices = BTreeMap::from([("p/m".to_owned(), Price { input_micros: 1_000_000, output_micros: 2_000_000 })]);
    let tariff = Tariff { currency: "EUR".to_owned(), default_chat: "p/m".to_owned(), prices, ..Tariff::default() };
    Facts { tariff: Arc::new(tariff), ..Facts::default() }
}

fn of_tokens(max: u64, period: Period) -> Budgets {
    Budgets { tokens: Some(Budget { max, period }), ..Budgets::default() }
}

fn of_money(max: u64) -> Budgets {
    let money = Some(Budget { max, period: Period::Day });
    Budgets { currency: "EUR".to_owned(), money, ..Budgets::default() }
}

/// Decides, and lets the account have what was decided as its actor does.
fn execute(account: &mut Account, command: Command, now: Timestamp) -> Result<Decided, Rejection> {
    let decided = decide(account, &facts(), &asked(command), now)?;
    decided.marks.iter().for_each(|mark| account.mark(mark));
    for event in &decided.events {
        account.evolve(account.last_seq + 1, now, 0, event);
    }
    Ok(decided)
}

fn with_budgets(given: &[Event], budgets: Budgets) -> Account {
    let mut account = account(given);
    execute(&mut account, Command::SetBudgets { budgets }, NOW).unwrap();
    account
}

/// A chat whose answer is about 100 tokens, with 12 of the question.
fn chat(id: &str) -> Event {
    let input = json!({"messages": [{"role": "user", "content": "one two"}], "max_tokens": 100});
    let kind = JobKind::Single(TaskKind::Chat);
    Event::JobRequested { job: job(id), kind, input, playbook: None, options: JobOptions::default() }
}

const CHAT_TOKENS: u64 = 112;

fn start(id: &str, task: TaskId) -> Command {
    Command::StartTask { job: job(id), task, worker: "w".to_owned() }
}

fn at(id: &str, task: TaskId, attempt: u32) -> TaskRef {
    TaskRef { job: job(id), task, attempt }
}

fn call(at: TaskRef, number: u32, tokens: u64) -> Command {
    let (operation, provider, model) = ("chat".to_owned(), "p".to_owned(), "m".to_owned());
    let call = AiCalled {
        operation,
        provider,
        model,
        input_tokens: tokens,
        output_tokens: 0,
        latency_ms: 1,
        cost_micros: 77,
        number,
    };
    Command::ReportAiCall { task: at, call }
}

fn spent(account: &Account, unit: Unit, now: Timestamp) -> u64 {
    account.purse.line(unit, now).map_or(0, |(_, line)| line.spent)
}

#[test]
fn what_is_reserved_is_settled_by_what_was_used_and_the_rest_is_free_again() {
    let mut given = with_budgets(&[created(), chat("chat-2"), chat("chat-3")], of_tokens(150, Period::Day));
    let decided = execute(&mut given, start("chat-2", CHAT), NOW).unwrap();
    let want = Amounts { tokens: CHAT_TOKENS, ..Amounts::NONE };
    assert!(matches!(&decided.events[..], [Event::TaskStarted { reserved, .. }] if *reserved == want), "{decided:?}");
    let short = match execute(&mut given, start("chat-3", CHAT), NOW) {
        Err(Rejection::Budget(short)) => short,
        other => panic!("{other:?}"),
    };
    assert_eq!((short.unit, short.max, short.spent, short.reserved, short.needs), (Unit::Tokens, 150, 0, 112, 112));
    assert_eq!(short.opens_at, Some(Timestamp(DAY_MS)));
    let decided = execute(&mut given, call(at("chat-2", CHAT, 1), 1, 30), NOW).unwrap();
    let Event::AiCalled { call: counted, .. } = &decided.events[0] else { panic!("{decided:?}") };
    assert_eq!(counted.cost_micros, 30, "the account says what it cost, not the worker");
    assert_eq!((spent(&given, Unit::Tokens, NOW), given.reserved().tokens), (30, 82));
    let again = execute(&mut given, call(at("chat-2", CHAT, 1), 1, 30), NOW).unwrap();
    assert_eq!((again.events.len(), again.marks.len(), spent(&given, Unit::Tokens, NOW)), (0, 0, 30), "counted once");
    let done = Command::ReportSuccess { task: at("chat-2", CHAT, 1), result: json!({}) };
    execute(&mut given, done, NOW).unwrap();
    assert_eq!((spent(&given, Unit::Tokens, NOW), given.reserved()), (30, Amounts::NONE));
    execute(&mut given, start("chat-3", CHAT), NOW).unwrap();
    let late = execute(&mut given, call(at("chat-2", CHAT, 1), 2, 30), NOW);
    assert!(matches!(late, Err(Rejection::StaleAttempt { .. })), "{late:?}");
}

#[test]
fn the_owner_is_told_at_eighty_and_a_hundred_percent_and_a_new_day_opens() {
    let mut given = with_budgets(&[created(), chat("chat-2"), chat("chat-3")], of_money(300));
    execute(&mut given, start("chat-2", CHAT), NOW).unwrap();
    assert_eq!(given.reserved(), Amounts { money_micros: 212, ..Amounts::NONE }, "12 in, 100 out for twice as much");
    let mut told = |number, tokens| {
        let decided = execute(&mut given, call(at("chat-2", CHAT, 1), number, tokens), NOW).unwrap();
        let reached = |event: &Event| {
            let Event::BudgetChanged(BudgetChange::Reached(reached)) = event else { return None };
            Some((reached.percent, reached.spent))
        };
        decided.events.iter().filter_map(reached).collect::<Vec<_>>()
    };
    assert_eq!([told(1, 239), told(2, 1), told(3, 59)], [vec![], vec![(80, 240)], vec![]]);
    assert_eq!([told(4, 5), told(5, 5)], [vec![(100, 304)], vec![]]);
    let done = Command::ReportSuccess { task: at("chat-2", CHAT, 1), result: json!({}) };
    execute(&mut given, done, NOW).unwrap();
    assert!(matches!(execute(&mut given, start("chat-3", CHAT), NOW), Err(Rejection::Budget(_))));
    execute(&mut given, start("chat-3", CHAT), Timestamp(DAY_MS)).unwrap();
}

#[test]
fn what_can_never_fit_is_refused_or_fails_as_soon_as_that_is_known() {
    let given = with_budgets(&[created()], of_tokens(111, Period::Month));
    let Event::JobRequested { kind, input, options, .. } = chat("chat-3") else { unreachable!("it asks for a job") };
    let refused = decide(&given, &facts(), &asked(Command::CreateJob { kind, input, options }), NOW).unwrap_err();
    let rule = "input_json must need less: about 112 tokens is more than the account's whole budget of 111";
    assert_eq!(refused.to_string(), rule);
    // Of a recording that is known with its probe.
    let video = Budgets { video: Some(Budget { max: 59_999, period: Period::Day }), ..Budgets::default() };
    let probe = TaskKind::Probe;
    let events = [
        created(),
        requested("audio-2", "audio"),
        started("audio-2", TaskKind::Fetch, 1),
        succeeded("audio-2", TaskKind::Fetch, json!({})),
        started("audio-2", probe, 1),
    ];
    let given = with_budgets(&events, video);
    let done =
        |ms: u64| Command::ReportSuccess { task: at("audio-2", probe.whole(), 1), result: json!({"duration_ms": ms}) };
    let decided = execute(&mut given.clone(), done(60_000), NOW).unwrap();
    let [Event::TaskSucceeded { .. }, Event::JobFailed { task, failure, .. }] = &decided.events[..] else {
        panic!("{decided:?}")
    };
    assert_eq!((task.to_string().as_str(), failure.code.as_str()), ("audio", "budget_too_small"));
    let mut fits = given;
    execute(&mut fits, done(59_999), NOW).unwrap();
    let audio = TaskKind::Audio.whole();
    execute(&mut fits, start("audio-2", audio), NOW).unwrap();
    let result = json!({"duration_ms": 50_000});
    execute(&mut fits, Command::ReportSuccess { task: at("audio-2", audio, 1), result }, NOW).unwrap();
    assert_eq!(spent(&fits, Unit::Video, NOW), 50_000, "what the attempt says it worked through");
}

#[test]
fn budgets_are_checked_and_set_once() {
    let mut given = account(&[created()]);
    for (budgets, field) in [
        (of_tokens(0, Period::Day), "budgets.max"),
        (of_tokens(u64::MAX, Period::Day), "budgets.max"),
        (Budgets { currency: "USD".to_owned(), ..of_money(1) }, "currency"),
        (Budgets { currency: "x".repeat(17), ..of_tokens(1, Period::Day) }, "currency"),
    ] {
        let refused = execute(&mut given, Command::SetBudgets { budgets }, NOW).unwrap_err();
        assert!(matches!(&refused, Rejection::Invalid { field: named, .. } if *named == field), "{refused}");
    }
    let set = || Command::SetBudgets { budgets: of_money(5) };
    assert_eq!(execute(&mut given, set(), NOW).unwrap().events.len(), 1);
    assert!(execute(&mut given, set(), NOW).unwrap().answer.repeated);
}

/// What the account should have come to.
#[derive(Clone, Default)]
struct Model {
    /// Of each running attempt, what is left of its reserve.
    open: BTreeMap<usize, Amounts>,
    spent: Amounts,
    /// What reports used beyond their reserves, in this period.
    over: Amounts,
    day: u64,
}

impl Model {
    fn check(&self, account: &Account, max: Amounts, now: Timestamp) {
        let reserved = Amounts::sum(self.open.values().copied());
        assert_eq!(account.reserved(), reserved, "no reservation leaks");
        for unit in UNITS {
            assert_eq!(spent(account, unit, now), self.spent.of(unit), "each use is counted once");
            let taken = self.spent.of(unit) + reserved.of(unit);
            assert!(taken <= max.of(unit) + self.over.of(unit), "{unit:?}: {taken} of {max:?}, over {:?}", self.over);
        }
    }

    fn uses(&mut self, n: usize, used: Amounts) {
        let left = self.open.get_mut(&n).unwrap();
        self.over = self.over.plus(used.minus(*left));
        *left = left.minus(used);
        self.spent = self.spent.plus(used);
    }

    fn comes_to(&mut self, now: Timestamp) {
        if now.0 / DAY_MS > self.day {
            (self.day, self.spent, self.over) = (now.0 / DAY_MS, Amounts::NONE, Amounts::NONE);
        }
    }
}

/// Jobs 0 to 3 talk, 4 and 5 take the sound of a recording.
fn ready_jobs() -> (Account, Vec<String>) {
    let mut given = vec![created()];
    let ids: Vec<String> = (0..6).map(|n| format!("{}-{n}", if n < 4 { "chat" } else { "audio" })).collect();
    for id in &ids {
        if id.starts_with("chat") {
            given.push(chat(id));
            continue;
        }
        given.push(requested(id, "audio"));
        for (kind, result) in [(TaskKind::Fetch, json!({})), (TaskKind::Probe, json!({"duration_ms": 40}))] {
            given.extend([started(id, kind, 1), succeeded(id, kind, result)]);
        }
    }
    (account(&given), ids)
}

fn step(n: usize, ids: &[String], job: &Job, what: u8, size: u64) -> (TaskId, Command) {
    let task = if n < 4 { CHAT } else { TaskKind::Audio.whole() };
    let state = &job.tasks[&task];
    let report = at(&ids[n], task, state.attempt);
    let command = match what {
        0..4 => start(&ids[n], task),
        4..7 => call(report, state.calls + 1, size),
        7 => call(report, state.calls.max(1), size), // Once more.
        8 => call(at(&ids[n], task, state.attempt.saturating_sub(1)), 9, size), // Too late.
        9 => Command::ReportFailure { task: report, failure: failure(), retry: RetryAsked::BackOff },
        10 => Command::ReleaseTask { task: report, reason: ReleaseReason::LeaseLost },
        11 => Command::ReleaseTask { task: report, reason: ReleaseReason::BackOffOver },
        12 => Command::PauseJob { job: report.job },
        13 => Command::ResumeJob { job: report.job },
        14 => Command::CancelJob { job: report.job },
        _ => Command::ReportSuccess {
            task: report,
            result: if size > 100 { Value::Null } else { json!({"duration_ms": size}) },
        },
    };
    (task, command)
}

proptest! {
    /// Whatever attempts come to, however often leases are lost and reports come twice or too late, and however clocks go.
    #[test]
    fn no_history_spends_more_than_was_reserved_or_leaks_a_reservation(
        steps in prop::collection::vec((0..6_usize, 0..17_u8, 0..200_u64, 0..8_u64), 1..150),
        max in (100..500_u64, 200..900_u64, 40..120_u64),
    ) {
        let (mut given, ids) = ready_jobs();
        let of = |max| Some(Budget { max, period: Period::Day });
        let budgets = Budgets { currency: "EUR".to_owned(), money: of(max.1), tokens: of(max.0), video: of(max.2) };
        execute(&mut given, Command::SetBudgets { budgets }, NOW).unwrap();
        let max = Amounts { money_micros: max.1, tokens: max.0, video_ms: max.2 };
        let mut kept = Model::default();
        let (mut clock, mut last_at) = (NOW, NOW);
        for (n, what, size, hours) in steps {
            // Clocks go on, and sometimes back; the account's actor never behind its newest event.
            clock = Timestamp(if hours == 7 { clock.0.saturating_sub(DAY_MS / 3) } else { clock.0 + hours * DAY_MS / 24 });
            let now = clock.max(last_at);
            let mut model = kept.clone();
            model.comes_to(now);
            let Some(job) = given.jobs.get(&job(&ids[n])) else { continue };
            let (task, command) = step(n, &ids, job, what, size);
            let before = job.tasks[&task].clone();
            let decided = execute(&mut given, command.clone(), now);
            let happened = decided.as_ref().is_ok_and(|decided| !decided.events.is_empty());
            let after = given.jobs.get(&super::tests::job(&ids[n])).map(|job| job.tasks[&task].clone());
            match (&command, decided) {
                (Command::StartTask { .. }, Ok(_)) => {
                    model.open.insert(n, after.as_ref().unwrap().reserved);
                    for unit in UNITS {
                        let reserved = Amounts::sum(model.open.values().copied()).of(unit);
                        // An earlier over-run may fill one unit while another has room.
                        let needs = model.open[&n].of(unit);
                        prop_assert!(needs == 0 || model.spent.of(unit) + reserved <= max.of(unit), "B1: {unit:?}");
                    }
                    prop_assert_eq!(before.state, TaskState::Ready);
                }
                (Command::ReportAiCall { call, .. }, Ok(decided)) => {
                    let is_new = call.number > before.calls;
                    prop_assert_eq!(!decided.events.is_empty(), is_new, "B3: number {} after {}", call.number, before.calls);
                    if is_new {
                        let (money_micros, tokens) = (call.input_tokens, call.input_tokens);
                        model.uses(n, Amounts { money_micros, tokens, video_ms: 0 });
                    }
                }
                (Command::ReportSuccess { result, .. }, Ok(_)) => {
                    let said = result.get("duration_ms").and_then(Value::as_u64);
                    let video_ms = if n < 4 { 0 } else { said.unwrap_or(before.reserved.video_ms) };
                    model.uses(n, Amounts { video_ms, ..Amounts::NONE });
                }
                (_, _) => {}
            }
            if after.is_none_or(|task| task.state != TaskState::Running) {
                model.open.remove(&n);
            }
            model.check(&given, max, now);
            if happened {
                (kept, last_at) = (model, now);
            }
            // What a node reads that starts anew.
            let stored = serde_json::to_vec(&given).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Account>(&stored).unwrap(), &given);
        }
    }
}

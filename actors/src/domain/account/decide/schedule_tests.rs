//! Schedules: what they are refused for, and what becomes of their ticks over gaps, restarts and clocks that jump.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::account::limits::{
    CATCH_UP_TICKS_MAX, SCHEDULES_MAX, SKIPPED_COUNTED_MAX, SMOOTHING_MS_MAX, TICK_LATE_MS_MAX, TICKS_AT_ONCE_MAX,
};
use crate::domain::ids::{AccountId, JobId, ScheduleId};
use crate::domain::job::{JobKind, JobOptions, Priority};
use crate::domain::schedule::{
    Missed, Overlap, Rhythm, Schedule, ScheduleChange, ScheduleSettings, SkipReason, Ticked,
};
use crate::domain::task::{OPEN_JOBS_MAX, TaskKind, TaskLimits};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// A full hour.
const START: Timestamp = Timestamp(500_000 * HOUR);

fn hourly() -> ScheduleSettings {
    ScheduleSettings {
        expression: "0 * * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        job: JobKind::Single(TaskKind::Search),
        input: json!({"query": "q"}),
        priority: Priority::USUAL,
        within_ms: 0,
        missed: Missed::Latest,
        overlap: Overlap::Allow,
        smoothing_ms: 0,
    }
}

/// During an upgrade a node may lead that does not know the zone yet.
#[test]
fn a_schedule_that_this_release_cannot_read_waits_for_one_that_can() {
    let mut world = World::with(hourly());
    let settings = ScheduleSettings { time_zone: "Mars/Base".to_owned(), ..hourly() };
    let of = |world: &mut World, settings: &ScheduleSettings| {
        world.account.schedules.get_mut(&id()).unwrap().settings = settings.clone();
    };
    of(&mut world, &settings);
    let first = world.next();
    let (ticked, jobs) = world.at(HOUR).fire();
    assert_eq!((ticked.skipped[0].reason, ticked.skipped[0].count, jobs), (SkipReason::Unreadable, 0, vec![]));
    assert_eq!(world.next(), first, "nothing is decided");
    of(&mut world, &hourly());
    assert_eq!(world.at(HOUR + 1).fire().1.len(), 1);
    assert!(world.next() > first);
}

fn id() -> ScheduleId {
    ScheduleId::parse("report").unwrap()
}

/// Hours since the start: those that made a job, and why others did not, with their count, the first and the last.
type Hours = (Vec<u64>, Vec<(SkipReason, u64, u64, u64)>);

/// An account that lives through what is decided.
struct World {
    account: Account,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let mut account = Account::absent(AccountId::parse("acme").unwrap());
        let created = Event::AccountCreated { display_name: String::new(), wrapped_key: vec![] };
        account.evolve(1, START, 0, &created);
        Self { account, now: START }
    }

    fn with(settings: ScheduleSettings) -> Self {
        let mut world = Self::new();
        world.ask(Command::CreateSchedule { schedule: id(), settings }).unwrap();
        world
    }

    fn ask(&mut self, command: Command) -> Result<Vec<Event>, Rejection> {
        let asked =
            Asked { command, actor: String::new(), correlation_id: String::new(), causation_seq: 0, idempotency: None };
        let decided = decide(&self.account, &Facts::default(), &asked, self.now)?;
        for event in &decided.events {
            self.account.evolve(self.account.last_seq + 1, self.now, 0, event);
        }
        Ok(decided.events)
    }

    fn next(&self) -> Option<Timestamp> {
        self.account.schedules[&id()].next.map(|next| next.tick)
    }

    /// Lets the timer of the schedule fire once; what became of its ticks, and the jobs.
    fn fire(&mut self) -> (Ticked, Vec<JobId>) {
        let tick = self.next().expect("there is a next tick");
        let mut events = self.ask(Command::FireSchedule { schedule: id(), tick }).unwrap();
        if events.is_empty() {
            return (Ticked::default(), vec![]);
        }
        let Event::ScheduleChanged { change: ScheduleChange::Ticked(ticked), .. } = events.remove(0) else {
            panic!("the event about the ticks comes first")
        };
        let job = |event: Event| {
            let Event::JobRequested { job, .. } = event else { panic!("only jobs follow: {event:?}") };
            job
        };
        let jobs: Vec<JobId> = events.into_iter().map(job).collect();
        assert_eq!(jobs, ticked.taken.iter().map(|taken| taken.job.clone()).collect::<Vec<_>>());
        assert!(jobs.iter().all(|job| self.account.jobs.contains_key(job)), "a job is named after its event");
        (ticked, jobs)
    }

    /// Lets time pass to so long after the start.
    fn at(&mut self, after_ms: u64) -> &mut Self {
        self.now = Timestamp(START.0 + after_ms);
        self
    }

    /// Fires, and tells what became of the ticks.
    fn hours(&mut self) -> Hours {
        let hour = |at: Timestamp| (at.0 - START.0) / HOUR;
        let (ticked, _) = self.fire();
        let skipped = ticked.skipped.iter().map(|one| (one.reason, one.count, hour(one.first), hour(one.last)));
        (ticked.taken.iter().map(|taken| hour(taken.tick)).collect(), skipped.collect())
    }
}

#[test]
fn a_tick_makes_one_job_with_what_was_asked_for() {
    let within_ms = 5 * MINUTE;
    let priority = Priority::of_number(1).unwrap();
    let mut world = World::with(ScheduleSettings { within_ms, priority, ..hourly() });
    assert_eq!(world.next(), Some(Timestamp(START.0 + HOUR)));
    let tick = world.next().unwrap();
    let events = world.at(HOUR).ask(Command::FireSchedule { schedule: id(), tick }).unwrap();
    let deadline_at = Some(Timestamp(START.0 + HOUR + within_ms));
    let [Event::ScheduleChanged { .. }, Event::JobRequested { job, options, playbook: None, .. }] = events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!(*options, JobOptions { priority, start_at: None, deadline_at });
    assert_eq!(job.as_str(), "search-4");
    // The same timer again, as after a restart: it is late.
    assert_eq!(world.ask(Command::FireSchedule { schedule: id(), tick }), Ok(vec![]));
    let state = &world.account.schedules[&id()];
    assert_eq!((state.last_tick, state.last_job.as_ref(), state.taken), (Some(tick), Some(job), 1));
    assert_eq!(world.next(), Some(Timestamp(START.0 + 2 * HOUR)));
}

#[test]
fn missed_ticks_follow_the_policy() {
    use SkipReason::Missed as Left;
    let late = TICK_LATE_MS_MAX;
    let of = |missed: Missed, after_ms: u64| World::with(ScheduleSettings { missed, ..hourly() }).at(after_ms).hours();
    // On time, or as late as a change of leaders makes it.
    for missed in [Missed::All, Missed::Latest, Missed::None] {
        assert_eq!(of(missed, HOUR), (vec![1], vec![]), "{missed:?}");
        assert_eq!(of(missed, HOUR + late), (vec![1], vec![]), "{missed:?}");
    }
    assert_eq!(of(Missed::None, HOUR + late + 1), (vec![], vec![(Left, 1, 1, 1)]));
    assert_eq!(of(Missed::Latest, HOUR + late + 1), (vec![1], vec![]));
    // Away for five ticks and a half.
    let away = 5 * HOUR + HOUR / 2;
    assert_eq!(of(Missed::All, away), (vec![1, 2, 3, 4, 5], vec![]));
    assert_eq!(of(Missed::Latest, away), (vec![5], vec![(Left, 4, 1, 4)]));
    assert_eq!(of(Missed::None, away), (vec![], vec![(Left, 5, 1, 5)]));
    // Back in time for the last one.
    assert_eq!(of(Missed::All, 3 * HOUR), (vec![1, 2, 3], vec![]));
    assert_eq!(of(Missed::Latest, 3 * HOUR), (vec![3], vec![(Left, 2, 1, 2)]));
    assert_eq!(of(Missed::None, 3 * HOUR), (vec![3], vec![(Left, 2, 1, 2)]));
}

#[test]
fn catching_up_has_a_limit_and_says_what_it_left_out() {
    let (all, at_once) = (CATCH_UP_TICKS_MAX, TICKS_AT_ONCE_MAX);
    let hours = |count: usize| u64::try_from(count).unwrap();
    let mut world = World::with(ScheduleSettings { missed: Missed::All, ..hourly() });
    world.at(hours(all + 7) * HOUR);
    let mut taken = vec![];
    let (first, left_out) = world.hours();
    assert_eq!(left_out, [(SkipReason::Missed, 7, 1, 7)]);
    assert_eq!(first.len(), at_once);
    taken.extend(first);
    while taken.len() < all {
        let (more, left_out) = world.hours();
        assert_eq!((more.len(), left_out), (at_once, vec![]));
        taken.extend(more);
    }
    assert_eq!(taken, (8..=hours(all + 7)).collect::<Vec<_>>());
    assert_eq!(world.next(), Some(Timestamp(START.0 + hours(all + 8) * HOUR)));
    // Away for thirty years.
    let years = 30 * 365 * 24;
    for missed in [Missed::All, Missed::Latest, Missed::None] {
        let mut world = World::with(ScheduleSettings { missed, ..hourly() });
        let (taken, left_out) = world.at(years * HOUR + HOUR / 2).hours();
        let counted = hours(SKIPPED_COUNTED_MAX);
        let (first, last) = match missed {
            Missed::All => (years - hours(all) + 1, years - hours(all)),
            Missed::Latest => (years, years - 1),
            Missed::None => (0, years),
        };
        assert_eq!(taken.first().copied().unwrap_or_default(), first, "{missed:?}");
        let counted = if missed == Missed::None { counted + 1 } else { counted };
        assert_eq!(left_out, [(SkipReason::Missed, counted, 1, last)], "{missed:?}");
    }
}

#[test]
fn a_pause_is_a_gap_too_and_an_update_begins_anew() {
    let mut world = World::with(ScheduleSettings { missed: Missed::All, ..hourly() });
    let pause = || Command::PauseSchedule { schedule: id() };
    let resume = || Command::ResumeSchedule { schedule: id() };
    assert_eq!(world.ask(pause()).unwrap().len(), 1);
    assert_eq!(world.ask(pause()), Ok(vec![]));
    let tick = world.next().unwrap();
    assert_eq!(world.at(2 * HOUR).ask(Command::FireSchedule { schedule: id(), tick }), Ok(vec![]), "it is paused");
    let next = world.account.schedules[&id()].next;
    let resumed = Event::ScheduleChanged { schedule: id(), change: ScheduleChange::Resumed { next } };
    assert_eq!(world.ask(resume()), Ok(vec![resumed]));
    assert_eq!(world.ask(resume()), Ok(vec![]));
    assert_eq!(world.hours(), (vec![1, 2], vec![]));
    // The same ticks: none is lost. Others: from now on.
    world.at(4 * HOUR);
    let urgent = ScheduleSettings { priority: Priority::of_number(1).unwrap(), missed: Missed::All, ..hourly() };
    world.ask(Command::UpdateSchedule { schedule: id(), settings: urgent }).unwrap();
    assert_eq!(world.next(), Some(Timestamp(START.0 + 3 * HOUR)));
    let daily = ScheduleSettings { expression: "30 * * * *".to_owned(), ..hourly() };
    world.ask(Command::UpdateSchedule { schedule: id(), settings: daily }).unwrap();
    assert_eq!(world.next(), Some(Timestamp(START.0 + 4 * HOUR + HOUR / 2)));
    let tick = world.next().unwrap();
    world.ask(Command::DeleteSchedule { schedule: id() }).unwrap();
    assert!(world.account.schedules.is_empty());
    assert_eq!(world.ask(Command::FireSchedule { schedule: id(), tick }), Ok(vec![]));
}

#[test]
fn a_tick_is_left_out_while_the_job_of_the_last_is_open_when_asked_for() {
    let mut world = World::with(ScheduleSettings { missed: Missed::All, overlap: Overlap::Skip, ..hourly() });
    let (_, jobs) = world.at(HOUR).fire();
    assert_eq!(world.at(2 * HOUR).hours(), (vec![], vec![(SkipReason::Overlap, 1, 2, 2)]));
    world.ask(Command::CancelJob { job: jobs[0].clone() }).unwrap();
    // Of those that were missed the first one's job is open when the second one is decided.
    assert_eq!(world.at(5 * HOUR).hours(), (vec![3], vec![(SkipReason::Overlap, 2, 4, 5)]));
    let mut world = World::with(hourly());
    assert_eq!((world.at(HOUR).hours().0, world.at(2 * HOUR).hours().0), (vec![1], vec![2]), "they may overlap");
}

#[test]
fn an_account_with_all_its_open_jobs_gets_no_more_and_goes_on() {
    let mut world = World::with(hourly());
    let create = || Command::CreateJob {
        kind: JobKind::Single(TaskKind::Search),
        input: json!({"query": "q"}),
        options: JobOptions::default(),
    };
    (0..OPEN_JOBS_MAX).for_each(|_| drop(world.ask(create()).unwrap()));
    assert_eq!(world.at(HOUR).hours(), (vec![], vec![(SkipReason::OpenJobs, 1, 1, 1)]));
    let job = world.account.jobs.keys().next().unwrap().clone();
    world.ask(Command::CancelJob { job }).unwrap();
    assert_eq!(world.at(2 * HOUR).hours(), (vec![2], vec![]));
    assert_eq!(world.at(3 * HOUR).hours(), (vec![], vec![(SkipReason::OpenJobs, 1, 3, 3)]));
    let limits = TaskLimits { open_jobs_max: Some(OPEN_JOBS_MAX + 1), ..TaskLimits::default() };
    world.ask(Command::SetTaskLimits { limits }).unwrap();
    assert_eq!(world.at(4 * HOUR).hours(), (vec![4], vec![]));
}

#[test]
fn a_window_spreads_schedules_and_keeps_each_in_its_place() {
    let window = ScheduleSettings { smoothing_ms: 10 * MINUTE, ..hourly() };
    let name = |n: u32| AccountId::parse(&format!("account-{n}")).unwrap();
    let offsets: Vec<u64> = (0..1_000).map(|n| window.offset_ms(&name(n), &id())).collect();
    // A thousand accounts over six hundred seconds: no second gets more than a handful.
    let mut by_second = BTreeMap::<u64, usize>::new();
    offsets.iter().for_each(|offset| *by_second.entry(offset / 1_000).or_default() += 1);
    assert!(offsets.iter().all(|offset| *offset < 10 * MINUTE));
    assert!(by_second.len() > 450 && by_second.values().all(|count| *count < 9), "{by_second:?}");
    // The formula is documented: changing it would move everybody's ticks.
    assert_eq!(window.offset_ms(&AccountId::parse("acme").unwrap(), &id()), 454_594);
    assert_eq!(hourly().offset_ms(&name(1), &id()), 0);

    let mut world = World::with(window);
    let next = world.account.schedules[&id()].next.unwrap();
    assert_eq!((next.tick.0, next.due.0), (START.0 + HOUR, START.0 + HOUR + 454_594));
    assert_eq!(world.at(HOUR + 454_594).hours(), (vec![1], vec![]));
    let again = world.account.schedules[&id()].next.unwrap();
    assert_eq!(again.due.0 - next.due.0, HOUR);
    // By its own place in the window it is late, not by the hour.
    let missed = ScheduleSettings { missed: Missed::None, smoothing_ms: 10 * MINUTE, ..hourly() };
    world.ask(Command::UpdateSchedule { schedule: id(), settings: missed }).unwrap();
    assert_eq!(world.at(2 * HOUR + 454_594 + TICK_LATE_MS_MAX).hours(), (vec![2], vec![]));
    let late = world.at(3 * HOUR + 454_595 + TICK_LATE_MS_MAX).hours();
    assert_eq!(late, (vec![], vec![(SkipReason::Missed, 1, 3, 3)]));
}

#[test]
fn what_no_schedule_may_be_is_refused_by_field_and_rule() {
    let mut world = World::with(hourly());
    let refused = |world: &mut World, settings: ScheduleSettings| {
        let schedule = ScheduleId::parse("other").unwrap();
        let created = world.ask(Command::CreateSchedule { schedule, settings: settings.clone() }).unwrap_err();
        let updated = world.ask(Command::UpdateSchedule { schedule: id(), settings }).unwrap_err();
        assert_eq!(created, updated);
        created.to_string()
    };
    let usual = hourly();
    for (settings, text) in [
        (ScheduleSettings { expression: "0 0 * * * *".to_owned(), ..hourly() }, "expression must have five fields"),
        (ScheduleSettings { expression: "0 0 30 2 *".to_owned(), ..hourly() }, "expression must tick"),
        (ScheduleSettings { time_zone: "Mars/Base".to_owned(), ..hourly() }, "time_zone must be the IANA name"),
        (ScheduleSettings { input: json!({}), ..hourly() }, "input_json.query must be a text"),
        (ScheduleSettings { input: json!([]), ..hourly() }, "input_json must be a JSON object"),
        (ScheduleSettings { input: json!({"query": "x".repeat(70_000)}), ..usual }, "input_json must have at most"),
        (ScheduleSettings { within_ms: 367 * 24 * HOUR, ..hourly() }, "within_ms must be at most 366 days"),
        (ScheduleSettings { smoothing_ms: SMOOTHING_MS_MAX + 1, ..hourly() }, "smoothing_ms must be at most 86400000"),
    ] {
        let told = refused(&mut world, settings);
        assert!(told.starts_with(text), "{told}");
    }
    let again = world.ask(Command::CreateSchedule { schedule: id(), settings: hourly() });
    assert_eq!(again, Err(Rejection::AlreadyExists { what: "schedule", id: "report".to_owned() }));
    for n in 1..SCHEDULES_MAX {
        let schedule = ScheduleId::parse(&format!("s-{n}")).unwrap();
        world.ask(Command::CreateSchedule { schedule, settings: hourly() }).unwrap();
    }
    let schedule = ScheduleId::parse("one-more").unwrap();
    let full = world.ask(Command::CreateSchedule { schedule: schedule.clone(), settings: hourly() });
    assert_eq!(full, Err(Rejection::Limit { what: "schedules", max: SCHEDULES_MAX }));
    for command in [
        Command::UpdateSchedule { schedule: schedule.clone(), settings: hourly() },
        Command::PauseSchedule { schedule: schedule.clone() },
        Command::ResumeSchedule { schedule: schedule.clone() },
        Command::DeleteSchedule { schedule: schedule.clone() },
    ] {
        assert!(matches!(world.ask(command), Err(Rejection::NotFound { what: "schedule", .. })));
    }
}

/// What the world does to a schedule.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time passes, with a node that lets timers fire, or without one.
    Passes {
        minutes: u64,
        is_up: bool,
    },
    /// Another node leads, with a clock that is ahead or behind.
    Jumps {
        minutes: i64,
    },
    Paused,
    Resumed,
    /// Timers of before, as a node keeps them that does not know yet.
    Stale,
}

/// How many ticks are due, as far as one more than may be made up for.
fn backlog(world: &World) -> usize {
    let Schedule { settings, next, .. } = &world.account.schedules[&id()];
    let rhythm = Rhythm::parse(&settings.expression, "").unwrap();
    let through = world.now.0 - settings.offset_ms(&world.account.id, &id());
    let due = std::iter::successors(next.map(|next| next.tick), |tick| rhythm.next_after(*tick));
    due.take_while(|tick| tick.0 <= through).take(CATCH_UP_TICKS_MAX + 1).count()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..400_u64, any::<bool>()).prop_map(|(minutes, is_up)| Step::Passes { minutes, is_up }),
        2 => (-300..300_i64).prop_map(|minutes| Step::Jumps { minutes }),
        1 => Just(Step::Paused),
        1 => Just(Step::Resumed),
        2 => Just(Step::Stale),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_tick_is_decided_once_whatever_happens(
        steps in steps(),
        missed in prop_oneof![Just(Missed::All), Just(Missed::Latest), Just(Missed::None)],
        minutes in prop_oneof![Just(7_u64), Just(30), Just(60)],
        smoothing_ms in prop_oneof![Just(0_u64), 1..HOUR],
    ) {
        let expression = if minutes == 60 { "0 * * * *".to_owned() } else { format!("*/{minutes} * * * *") };
        let mut world = World::with(ScheduleSettings { expression, missed, smoothing_ms, ..hourly() });
        let mut clock = START;
        let mut decided: Vec<(u64, u64)> = vec![]; // The first and the last of neighbours.
        let mut fire = |world: &mut World, tick: Timestamp| {
            let is_within = backlog(world) <= CATCH_UP_TICKS_MAX;
            let events = world.ask(Command::FireSchedule { schedule: id(), tick }).unwrap();
            let Some(Event::ScheduleChanged { change: ScheduleChange::Ticked(ticked), .. }) = events.first() else {
                return;
            };
            assert!(missed != Missed::All || ticked.skipped.is_empty() == is_within, "all means all within the limit");
            decided.extend(ticked.skipped.iter().map(|one| (one.first.0, one.last.0)));
            decided.extend(ticked.taken.iter().map(|one| (one.tick.0, one.tick.0)));
            // So that the limit of open jobs plays no part.
            world.account.jobs.clear();
        };
        let mut before = START;
        for step in steps {
            match step {
                Step::Passes { minutes, is_up } => {
                    clock = Timestamp(clock.0 + minutes * MINUTE);
                    while is_up
                        && let Schedule { next: Some(next), is_paused: false, .. } = world.account.schedules[&id()]
                        && next.due <= clock
                    {
                        world.now = world.now.max(next.due); // An account's time never goes back.
                        before = next.tick;
                        fire(&mut world, next.tick);
                    }
                }
                Step::Jumps { minutes } => {
                    let by = minutes.unsigned_abs() * MINUTE;
                    clock = Timestamp(if minutes < 0 { clock.0 - by } else { clock.0 + by });
                }
                Step::Paused => drop(world.ask(Command::PauseSchedule { schedule: id() }).unwrap()),
                Step::Resumed => drop(world.ask(Command::ResumeSchedule { schedule: id() }).unwrap()),
                Step::Stale => fire(&mut world, before),
            }
            world.now = world.now.max(clock);
        }
        decided.sort_unstable();
        let rhythm = Rhythm::parse(&world.account.schedules[&id()].settings.expression, "").unwrap();
        let mut expected = rhythm.next_after(START).unwrap();
        for (from, through) in decided {
            prop_assert_eq!(from, expected.0, "what is decided joins what was");
            expected = rhythm.next_after(Timestamp(through)).unwrap();
        }
        prop_assert_eq!(Some(expected), world.next(), "no tick is forgotten");
    }
}

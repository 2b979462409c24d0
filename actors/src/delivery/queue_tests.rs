//! The queue of one endpoint: by hand, and against any course of events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::queue::{Item, OUTCOMES_MAX, PATIENCE, Queue, Report, Way};
use crate::domain::account::{DeliveryOutcome, Moved};

fn delivered() -> DeliveryOutcome {
    DeliveryOutcome::Delivered { status: 204, latency_ms: 1, response: String::new() }
}

fn failed() -> DeliveryOutcome {
    DeliveryOutcome::Failed {
        status: Some(500),
        error: String::new(),
        retry_after_ms: None,
        latency_ms: 1,
        response: String::new(),
    }
}

/// A queue whose endpoint stands at 0 and wants these events, each in its line.
fn queue(events: &[(u64, Option<u64>)]) -> Queue {
    let mut queue = Queue::default();
    queue.begin(Way::Feed, 0);
    for (seq, line) in events {
        queue.add(*seq, Item { new_by: Some(Way::Feed), line: *line, due: Duration::ZERO, body: None });
        queue.read_to(Way::Feed, *seq);
    }
    queue
}

fn start(queue: &mut Queue, now: Duration) -> Vec<u64> {
    std::iter::from_fn(|| queue.start(now).map(|(seq, _)| seq)).collect()
}

fn moved(through_seq: u64, pending: &[u64]) -> Vec<Moved> {
    vec![Moved { is_recovery: false, through_seq, pending: pending.to_vec() }]
}

fn seqs(report: &Report) -> Vec<u64> {
    report.outcomes.iter().map(|reported| reported.event_seq).collect()
}

const NOW: Duration = Duration::from_secs(9);

#[test]
fn a_line_is_kept_and_others_go_past_it() {
    let mut queue = queue(&[(1, Some(7)), (2, Some(7)), (3, Some(8)), (4, None)]);
    assert_eq!(start(&mut queue, NOW), [1, 3, 4]);
    queue.finish(1, failed());
    let report = queue.report(NOW).unwrap();
    assert_eq!((seqs(&report), &report.moved), (vec![1], &moved(1, &[])));
    queue.told(&report, &BTreeMap::from([(1, NOW * 2)]));
    assert!(start(&mut queue, NOW).is_empty(), "2 waits for 1, which waits for its time");
    assert_eq!(start(&mut queue, NOW * 2), [1]);
    queue.finish(1, delivered());
    let report = queue.report(NOW * 2).unwrap();
    assert_eq!(seqs(&report), [1]);
    queue.told(&report, &BTreeMap::new());
    assert_eq!(start(&mut queue, NOW * 2), [2]);
}

#[test]
fn a_slow_one_holds_reports_back_for_a_while_and_is_pending_then() {
    let mut queue = queue(&[(1, None), (2, None), (5, None)]);
    queue.read_to(Way::Feed, 9);
    assert_eq!(start(&mut queue, NOW), [1, 2, 5]);
    queue.finish(2, delivered());
    assert_eq!(queue.report(NOW), None, "1 may still come");
    let report = queue.report(NOW + PATIENCE).unwrap();
    assert_eq!((seqs(&report), &report.moved), (vec![2], &moved(4, &[1])));
    queue.told(&report, &BTreeMap::new());
    queue.finish(1, delivered());
    queue.finish(5, delivered());
    let report = queue.report(NOW + PATIENCE).unwrap();
    assert_eq!((seqs(&report), &report.moved), (vec![5, 1], &moved(9, &[])));
    queue.told(&report, &BTreeMap::new());
    assert_eq!((queue.len(), queue.new_events()), (0, 0));
}

#[test]
fn what_could_not_be_told_is_told_again() {
    let mut queue = queue(&[(1, None)]);
    start(&mut queue, NOW);
    queue.finish(1, delivered());
    let report = queue.report(NOW).unwrap();
    assert_eq!(queue.report(NOW), None, "it is being told");
    queue.untold(report.clone());
    assert_eq!(queue.report(NOW), Some(report));
}

#[test]
fn unwanted_events_are_told_many_at_a_time() {
    let mut queue = queue(&[]);
    queue.read_to(Way::Feed, 63);
    assert_eq!(queue.report(NOW), None);
    queue.read_to(Way::Feed, 64);
    assert_eq!(queue.report(NOW).unwrap().moved, moved(64, &[]));
}

#[test]
fn reports_have_a_limit() {
    let events: Vec<_> = (1..=200).map(|seq| (seq, None)).collect();
    let mut queue = queue(&events);
    start(&mut queue, NOW).into_iter().for_each(|seq| queue.finish(seq, delivered()));
    let mut told = vec![];
    while let Some(report) = queue.report(NOW) {
        assert!(report.outcomes.len() <= OUTCOMES_MAX);
        told.extend(seqs(&report));
        queue.told(&report, &BTreeMap::new());
    }
    assert_eq!(told, (1..=200).collect::<Vec<_>>());
}

/// What the store would hold: where the cursor stands and what is pending.
#[derive(Default)]
struct Store {
    cursor: u64,
    pending: BTreeSet<u64>,
    done: BTreeSet<u64>,
}

impl Store {
    fn take(&mut self, report: &Report, fails: impl Fn(u64) -> bool) -> BTreeMap<u64, Duration> {
        for moved in &report.moved {
            assert!(moved.through_seq > self.cursor);
            self.cursor = moved.through_seq;
            self.pending.extend(&moved.pending);
        }
        let mut retries = BTreeMap::new();
        for reported in &report.outcomes {
            let seq = reported.event_seq;
            assert!(seq <= self.cursor, "{seq} is reported behind the cursor {}", self.cursor);
            assert!(!self.done.contains(&seq), "{seq} is reported twice");
            if fails(seq) && matches!(reported.outcome, DeliveryOutcome::Failed { .. }) {
                self.pending.insert(seq);
                retries.insert(seq, Duration::ZERO);
            } else {
                self.pending.remove(&seq);
                self.done.insert(seq);
            }
        }
        retries
    }
}

proptest! {
    /// Whatever ends in which order, every event is done once, in its line's order, and a crash at any time loses none.
    #[test]
    fn nothing_is_passed_over(
        lines in prop::collection::vec(prop::option::of(0..3_u64), 1..60),
        steps in prop::collection::vec((0..4_u8, any::<u16>()), 1..300),
    ) {
        let events: Vec<_> = (1..).zip(lines).map(|(at, line)| (at * 2, line)).collect();
        let mut queue = queue(&events);
        let (mut store, mut flying, mut now) = (Store::default(), vec![], NOW);
        let mut done_in_line: BTreeMap<u64, u64> = BTreeMap::new();
        let all: BTreeSet<u64> = events.iter().map(|(seq, _)| *seq).collect();
        let finish = steps.len();
        for (at, (what, pick)) in steps.into_iter().chain((0..4_000).map(|at| ([0, 1, 3][at % 3], 0))).enumerate() {
            match what {
                0 => flying.extend(queue.start(now).map(|(seq, _)| seq)),
                1 | 2 if !flying.is_empty() => {
                    let seq = flying.remove(usize::from(pick) % flying.len());
                    let fails = what == 2 && at < finish;
                    queue.finish(seq, if fails { failed() } else { delivered() });
                    let line = events.iter().find(|(known, _)| *known == seq).unwrap().1;
                    if let Some(line) = line.filter(|_| !fails) {
                        let before = done_in_line.insert(line, seq).unwrap_or(0);
                        prop_assert!(before < seq, "{seq} after {before} in one line");
                    }
                }
                _ => {
                    now += Duration::from_millis(u64::from(pick % 100) + 100);
                    if let Some(report) = queue.report(now) {
                        let retries = store.take(&report, |_| true);
                        queue.told(&report, &retries);
                        // All that is before the cursor is done or pending.
                        let lost = all.iter().find(|seq| {
                            **seq <= store.cursor && !store.done.contains(seq) && !store.pending.contains(seq)
                        });
                        prop_assert_eq!(lost, None);
                    }
                }
            }
        }
        prop_assert_eq!(&store.done, &all);
        prop_assert_eq!(queue.len(), 0);
    }
}

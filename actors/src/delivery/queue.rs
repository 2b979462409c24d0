//! What one endpoint is to be sent, in which order, and what can be reported about it. Pure.
//!
//! # Invariants
//! - **Q1 once**: an event is in the queue once, and in flight at most once.
//! - **Q2 in line**: of events with the same ordering key only the first one that is not done may be in flight.
//! - **Q3 nothing passed over**: a report moves over a wanted event only when it is done, or says that it is pending.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;

use crate::domain::account::{DeliveryOutcome, Moved, Reported};

/// An event in flight holds back the report of later ones for so long; then it is reported as pending.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// Attempts in one report.
pub(super) const OUTCOMES_MAX: usize = 64;
/// Unwanted events that are worth a report of their own.
const SKIPPED_MIN: u64 = 64;

/// How an event came into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Way {
    Feed,
    Recovery,
}

/// One event to be delivered.
#[derive(Debug)]
pub(super) struct Item {
    /// Where it comes from; none: its row says that it is pending.
    pub(super) new_by: Option<Way>,
    pub(super) line: Option<u64>,
    pub(super) due: Duration,
    /// What is posted, when it is small; read again otherwise.
    pub(super) body: Option<Bytes>,
}

#[derive(Debug)]
enum State {
    Waiting,
    InFlight { since: Duration },
    Done(DeliveryOutcome),
    Reported,
}

/// How far a way was read, and reported.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    read: u64,
    told: u64,
}

/// What is told about many attempts at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) moved: Vec<Moved>,
    pub(super) outcomes: Vec<Reported>,
}

/// The events one endpoint is to be sent.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: BTreeMap<u64, (Item, State)>,
    lines: HashMap<u64, BTreeSet<u64>>,
    /// Those that may go, by when they are due.
    ready: BTreeSet<(Duration, u64)>,
    ways: BTreeMap<Way, Progress>,
    /// Events that no row says are pending.
    new: usize,
    done: usize,
}

impl Queue {
    /// A way stands here, read and reported.
    pub(super) fn begin(&mut self, way: Way, at: u64) {
        self.ways.insert(way, Progress { read: at, told: at });
    }

    /// How far a way was read; none when it ended.
    pub(super) fn read(&self, way: Way) -> Option<u64> {
        self.ways.get(&way).map(|progress| progress.read)
    }

    /// All events up to here were added, if they are wanted.
    pub(super) fn read_to(&mut self, way: Way, seq: u64) {
        if let Some(progress) = self.ways.get_mut(&way) {
            progress.read = progress.read.max(seq);
        }
    }

    /// Adds an event, unless it is here.
    pub(super) fn add(&mut self, seq: u64, item: Item) {
        if self.items.contains_key(&seq) {
            return;
        }
        if let Some(line) = item.line {
            let line = self.lines.entry(line).or_default();
            if let Some(first) = line.first().filter(|first| seq < **first)
                && let Some((first_item, State::Waiting)) = self.items.get(first)
            {
                self.ready.remove(&(first_item.due, *first));
            }
            line.insert(seq);
        }
        self.new += usize::from(item.new_by.is_some());
        self.items.insert(seq, (item, State::Waiting));
        self.make_ready(seq);
    }

    /// Events that are neither done nor known to be pending: what bounds reading ahead.
    pub(super) fn new_events(&self) -> usize {
        self.new
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// When the next event may go.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.ready.first().map(|(due, _)| *due)
    }

    /// Takes the next event that may go.
    pub(super) fn start(&mut self, now: Duration) -> Option<(u64, Option<Bytes>)> {
        let (due, seq) = *self.ready.first().filter(|(due, _)| *due <= now)?;
        self.ready.remove(&(due, seq));
        let (item, state) = self.items.get_mut(&seq).expect("what is ready is here");
        *state = State::InFlight { since: now };
        Some((seq, item.body.clone()))
    }

    /// An attempt ended.
    pub(super) fn finish(&mut self, seq: u64, outcome: DeliveryOutcome) {
        let (_, state) = self.items.get_mut(&seq).expect("what was started is here");
        *state = State::Done(outcome);
        self.done += 1;
    }

    /// It was never tried after all.
    pub(super) fn drop_event(&mut self, seq: u64) {
        if let Some((item, state)) = self.items.remove(&seq) {
            self.done -= usize::from(matches!(state, State::Done(_)));
            self.new -= usize::from(item.new_by.is_some());
            self.leave_line(seq, item.line);
        }
    }

    /// Whether attempts wait to be reported.
    pub(super) fn has_done(&self) -> bool {
        self.done > 0
    }

    /// What can be told now; nothing when nothing is worth it. What it holds counts as told until [`Queue::untold`].
    pub(super) fn report(&mut self, now: Duration) -> Option<Report> {
        let mut report = Report::default();
        let ways: Vec<Way> = self.ways.keys().copied().collect();
        for way in ways {
            self.report_way(way, now, &mut report);
        }
        // Thousands may be pending, and this is asked with every event: they are looked through only when one is done.
        let is_any_left = self.done > report.outcomes.len();
        let room = if is_any_left { OUTCOMES_MAX.saturating_sub(report.outcomes.len()) } else { 0 };
        let known = self.items.iter_mut().filter(|(_, (item, _))| item.new_by.is_none());
        let done = known.filter_map(|(seq, (_, state))| take_done(*seq, state)).take(room);
        report.outcomes.extend(done);
        self.done -= report.outcomes.len();
        let is_worth_it = !report.outcomes.is_empty()
            || report.moved.iter().any(|moved| {
                let told = self.ways[&way_of(moved)].told;
                moved.is_recovery || moved.through_seq - told >= SKIPPED_MIN
            });
        is_worth_it.then_some(report)
    }

    fn report_way(&mut self, way: Way, now: Duration, report: &mut Report) {
        let Progress { read, told } = self.ways[&way];
        let new = |item: &Item| item.new_by == Some(way);
        let is_done = |state: &State| matches!(state, State::Done(_));
        let done = self.items.iter().filter(|(_, (item, state))| new(item) && is_done(state));
        let last_done = done.map(|(seq, _)| *seq).take(OUTCOMES_MAX.min(self.done)).last();
        let (mut through, mut pending) = (read, vec![]);
        let mut outcomes = vec![];
        for (seq, (_, state)) in self.items.range_mut(told + 1..).filter(|(_, (item, _))| new(item)) {
            let is_behind = last_done.is_none_or(|last| *seq > last);
            let is_young = matches!(state, State::InFlight { since } if now.saturating_sub(*since) < PATIENCE);
            if is_behind || is_young {
                through = seq - 1;
                break;
            }
            match take_done(*seq, state) {
                Some(done) => outcomes.push(done),
                None => pending.push(*seq),
            }
        }
        if through > told {
            report.moved.push(Moved { is_recovery: way == Way::Recovery, through_seq: through, pending });
            report.outcomes.extend(outcomes);
        }
    }

    /// The report is written down. `retries`: when the failed ones are due; those that are not in it are given up.
    pub(super) fn told(&mut self, report: &Report, retries: &BTreeMap<u64, Duration>) {
        for moved in &report.moved {
            let way = way_of(moved);
            if let Some(progress) = self.ways.get_mut(&way) {
                progress.told = moved.through_seq;
            }
            for seq in &moved.pending {
                if let Some((item, _)) = self.items.get_mut(seq) {
                    self.new -= usize::from(item.new_by.take().is_some());
                }
            }
        }
        for Reported { event_seq, .. } in &report.outcomes {
            let Some(due) = retries.get(event_seq) else {
                self.drop_event(*event_seq);
                continue;
            };
            if let Some((item, state)) = self.items.get_mut(event_seq) {
                self.new -= usize::from(item.new_by.take().is_some());
                (item.due, item.body) = (*due, None);
                *state = State::Waiting;
                self.make_ready(*event_seq);
            }
        }
    }

    /// The report could not be written down: it is made again.
    pub(super) fn untold(&mut self, report: Report) {
        for Reported { event_seq, outcome } in report.outcomes {
            if let Some((_, state)) = self.items.get_mut(&event_seq) {
                *state = State::Done(outcome);
                self.done += 1;
            }
        }
    }

    /// A way was read to its end and reported: it is over.
    pub(super) fn end(&mut self, way: Way, at: u64) {
        if self.ways.get(&way).is_some_and(|progress| progress.told >= at) {
            self.ways.remove(&way);
        }
    }

    fn leave_line(&mut self, seq: u64, line: Option<u64>) {
        let Some(key) = line else { return };
        let Some(line) = self.lines.get_mut(&key) else { return };
        line.remove(&seq);
        match line.first().copied() {
            Some(next) => self.make_ready(next),
            None => drop(self.lines.remove(&key)),
        }
    }

    fn make_ready(&mut self, seq: u64) {
        let Some((item, State::Waiting)) = self.items.get(&seq) else { return };
        let is_first = item.line.is_none_or(|line| self.lines[&line].first() == Some(&seq));
        if is_first {
            self.ready.insert((item.due, seq));
        }
    }
}

fn way_of(moved: &Moved) -> Way {
    if moved.is_recovery { Way::Recovery } else { Way::Feed }
}

fn take_done(seq: u64, state: &mut State) -> Option<Reported> {
    match std::mem::replace(state, State::Reported) {
        State::Done(outcome) => Some(Reported { event_seq: seq, outcome }),
        other @ (State::Waiting | State::InFlight { .. } | State::Reported) => {
            *state = other;
            None
        }
    }
}

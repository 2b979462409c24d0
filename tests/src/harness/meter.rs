//! How a run went: how long nobody got anything done, what took longest, and how clients were put off on the way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steward_cluster::clock::{Clock as _, SystemClock};

/// What may be tried again, as the documents of refusals name it.
const RETRYABLE: [&str; 7] =
    ["not_led", "outcome_unknown", "not_ready", "overloaded", "account_busy", "read_too_slow", "disk_full"];

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub acknowledged: u64,
    /// The longest time between two acknowledgements, whoever got them.
    pub longest_gap: Duration,
    /// From the first attempt to the acknowledgement.
    pub slowest: Duration,
    /// Attempts without an answer: connections refused, broken, or silent for too long.
    pub unanswered: u64,
    /// Answers that put a client off, by their code.
    pub refusals: BTreeMap<String, u64>,
    last: Option<Duration>,
}

/// Measures while a run goes on.
pub(super) struct Meter {
    clock: SystemClock,
    measured: Mutex<Measured>,
    /// From the first attempt to the acknowledgement, of each command.
    took: Mutex<Vec<Duration>>,
}

impl Meter {
    pub(super) fn start() -> Self {
        Self { clock: SystemClock::new(), measured: Mutex::default(), took: Mutex::default() }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// A command that was first sent at `since` is acknowledged.
    pub(super) fn acknowledged(&self, since: Duration) {
        let mut measured = self.lock();
        let now = self.now();
        let gap = measured.last.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        measured.last = Some(now);
        measured.acknowledged += 1;
        measured.longest_gap = measured.longest_gap.max(gap);
        let took = now.saturating_sub(since);
        measured.slowest = measured.slowest.max(took);
        self.took.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }

    /// The time that 99 of 100 commands took at most, without so many that came first.
    pub(super) fn p99(&self, without: u64) -> Duration {
        let took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        let mut took: Vec<Duration> =
            took.iter().skip(usize::try_from(without).unwrap_or(usize::MAX)).copied().collect();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    }

    pub(super) fn refused(&self, code: &str) {
        *self.lock().refusals.entry(code.to_owned()).or_default() += 1;
    }

    pub(super) fn unanswered(&self) {
        self.lock().unanswered += 1;
    }

    /// All of it so far.
    pub(super) fn read(&self) -> Measured {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    /// Refusals that no client would try again.
    #[must_use]
    pub fn dead_ends(&self) -> Vec<&str> {
        self.refusals.keys().map(String::as_str).filter(|code| !RETRYABLE.contains(code)).collect()
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, longest_gap, slowest, unanswered, refusals, last: _ } = self;
        write!(f, "{acknowledged} acknowledged, longest gap {longest_gap:.1?}, slowest {slowest:.1?}, ")?;
        write!(f, "{unanswered} attempts unanswered, put off by {refusals:?}")
    }
}

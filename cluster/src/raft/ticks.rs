//! When the clocks of the groups move, and when the others hear that this node is alive. Used by the driver thread.
//!
//! # Invariants
//! - **K1 seen**: ticks that the thread slept through are not made up for. What it did not see it can not blame a leader
//!   for.
//! - **K2 rest**: while every group sleeps, nothing is due before the next sign of life or the loss of a node: the thread
//!   sleeps until then, and counts the ticks between as one look. When a group wakes, ticks are due one by one again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::ids::NodeId;
use crate::raft::Core;
use crate::raft::election::{ALIVE, TICK};
use crate::raft::handle::Sign;

/// The clock of a driver thread.
pub(super) struct Ticks {
    clock: Arc<dyn Clock>,
    last: Duration,
    next: Duration,
    /// How many are due then.
    step: usize,
    /// Until the next sign of life.
    alive_in: usize,
    /// The driver had its turn since the last one was due. One whose log takes nothing lets its groups do nothing: it is
    /// as good as dead to those who sleep relying on it.
    turned: bool,
}

/// Ticks that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    /// How many.
    ticks: usize,
    /// Whether a sign of life goes out with them.
    says_alive: bool,
}

impl Ticks {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let last = clock.monotonic();
        Self { clock, last, next: last + TICK, step: 1, alive_in: 1, turned: true }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// How long the thread may sleep.
    pub(super) fn left(&self) -> Duration {
        self.next.saturating_sub(self.clock.monotonic())
    }

    /// The driver has its turn.
    pub(super) fn turned(&mut self) {
        self.turned = true;
    }

    /// Moves the clock of the groups when ticks are due, after what was heard meanwhile. Whether to say that this node is
    /// alive.
    pub(super) fn pass<T>(&mut self, core: &mut Core<T>, heard: impl FnOnce() -> BTreeMap<NodeId, Sign>) -> bool {
        if core.has_work() {
            self.wake();
        }
        if !self.left().is_zero() {
            return false;
        }
        for (node, Sign { boot, at }) in heard() {
            core.heard(node, boot, self.uncounted(at));
        }
        let Some(Due { ticks, says_alive }) = self.due() else { return false };
        let rest = core.tick(ticks);
        self.rest(rest);
        says_alive
    }

    /// What is due now. The next tick is due one after it, unless the driver rests.
    fn due(&mut self) -> Option<Due> {
        let now = self.clock.monotonic();
        if now < self.next {
            return None;
        }
        let ticks = std::mem::replace(&mut self.step, 1);
        (self.last, self.next) = (now, now + TICK);
        self.alive_in = self.alive_in.saturating_sub(ticks);
        let is_sign_due = self.alive_in == 0;
        if is_sign_due {
            self.alive_in = ALIVE;
        }
        Some(Due { ticks, says_alive: is_sign_due && std::mem::take(&mut self.turned) })
    }

    /// How many ticks after the last one that was due something happened, as far as they will be counted.
    pub(super) fn uncounted(&self, at: Duration) -> usize {
        let ticks = at.saturating_sub(self.last).as_nanos() / TICK.as_nanos();
        usize::try_from(ticks).unwrap_or(usize::MAX).min(self.step)
    }

    /// Nothing but signs of life is due for so many ticks. Called just after one.
    fn rest(&mut self, ticks: usize) {
        let more = ticks.min(self.alive_in).saturating_sub(1);
        self.step += more;
        self.next += TICK * u32::try_from(more).expect("signs of life are a few ticks apart");
    }

    /// A group may have woken: the next tick is due when it would be if nobody had slept.
    fn wake(&mut self) {
        while self.step > 1 && self.left() > TICK {
            self.step -= 1;
            self.next -= TICK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn due(ticks: usize, says_alive: bool) -> Option<Due> {
        Some(Due { ticks, says_alive })
    }

    #[test]
    fn a_driver_with_work_ticks_one_by_one_and_says_that_it_is_alive_with_every_fourth() {
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let mut ticks = Ticks::new(clock.clone());
        assert_eq!(ticks.due(), None);
        for says_alive in [true, false, false, false, true] {
            clock.advance(TICK);
            assert_eq!((ticks.due(), ticks.due()), (due(1, says_alive), None));
            ticks.turned();
        }
        clock.advance(100 * TICK);
        assert_eq!((ticks.due(), ticks.due()), (due(1, false), None), "what was slept through is not made up for");
    }

    #[test]
    fn a_driver_that_has_no_turn_says_nothing() {
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let mut ticks = Ticks::new(clock.clone());
        let said = (0..100).filter(|_| {
            clock.advance(TICK);
            ticks.due().is_some_and(|due| due.says_alive)
        });
        assert_eq!(said.count(), 1);
    }

    #[test]
    fn a_driver_at_rest_sleeps_until_the_next_sign_of_life() {
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let mut ticks = Ticks::new(clock.clone());
        clock.advance(TICK);
        assert_eq!(ticks.due(), due(1, true));
        for _ in 0..3 {
            ticks.rest(usize::MAX);
            ticks.turned();
            assert_eq!(ticks.left(), 4 * TICK);
            clock.advance(3 * TICK);
            assert_eq!(ticks.due(), None);
            clock.advance(TICK);
            assert_eq!(ticks.due(), due(4, true));
        }
    }

    #[test]
    fn a_driver_at_rest_looks_sooner_when_somebody_may_be_lost_by_then() {
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let mut ticks = Ticks::new(clock.clone());
        clock.advance(TICK);
        ticks.due();
        for (rest, want) in [(3, due(3, false)), (0, due(1, true)), (1, due(1, false))] {
            ticks.rest(rest);
            ticks.turned();
            clock.advance(ticks.left());
            assert_eq!(ticks.due(), want);
        }
    }

    #[test]
    fn what_happens_during_a_rest_happens_between_its_ticks() {
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let mut ticks = Ticks::new(clock.clone());
        clock.advance(TICK);
        ticks.due();
        ticks.rest(usize::MAX);
        let last = clock.monotonic();
        let uncounted = [Duration::ZERO, TICK - TICK / 9, TICK, 3 * TICK + TICK / 2, 9 * TICK];
        assert_eq!(uncounted.map(|after| ticks.uncounted(last + after)), [0, 0, 1, 3, 4]);
        assert_eq!(ticks.uncounted(last - TICK), 0);
    }

    #[test]
    fn a_driver_that_is_woken_goes_on_with_the_next_tick() {
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let mut ticks = Ticks::new(clock.clone());
        clock.advance(TICK);
        ticks.due();
        ticks.rest(usize::MAX);
        ticks.turned();
        clock.advance(TICK + TICK / 2);
        ticks.wake();
        ticks.wake();
        assert_eq!(ticks.left(), TICK / 2);
        clock.advance(TICK / 2);
        assert_eq!(ticks.due(), due(2, false));
        clock.advance(TICK);
        assert_eq!(ticks.due(), due(1, false));
        clock.advance(TICK);
        assert_eq!(ticks.due(), due(1, true), "four ticks after the last one");
    }
}

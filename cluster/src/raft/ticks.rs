//! When the clocks of the groups move, and when the others hear that this node is alive. Used by the driver thread.
//!
//! # Invariants
//! - **K1 seen**: ticks that the thread slept through are not made up for. What it did not see it can not blame a leader
//!   for.
//! - **K2 rest**: while every group sleeps, nothing is due before the next sign of life: the thread sleeps until then, and
//!   counts the ticks between as one look. When a group wakes, ticks are due one by one again.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::raft::election::{ALIVE, TICK};

/// The clock of a driver thread.
pub(super) struct Ticks {
    clock: Arc<dyn Clock>,
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
pub(super) struct Due {
    /// How many.
    pub(super) ticks: usize,
    /// Whether a sign of life goes out with them.
    pub(super) says_alive: bool,
}

impl Ticks {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let next = clock.monotonic() + TICK;
        Self { clock, next, step: 1, alive_in: 1, turned: true }
    }

    /// How long the thread may sleep.
    pub(super) fn left(&self) -> Duration {
        self.next.saturating_sub(self.clock.monotonic())
    }

    /// The driver has its turn.
    pub(super) fn turned(&mut self) {
        self.turned = true;
    }

    /// What is due now. The next tick is due one after it, unless the driver rests.
    pub(super) fn due(&mut self) -> Option<Due> {
        let now = self.clock.monotonic();
        if now < self.next {
            return None;
        }
        let ticks = std::mem::replace(&mut self.step, 1);
        self.next = now + TICK;
        self.alive_in = self.alive_in.saturating_sub(ticks);
        let is_sign_due = self.alive_in == 0;
        if is_sign_due {
            self.alive_in = ALIVE;
        }
        Some(Due { ticks, says_alive: is_sign_due && std::mem::take(&mut self.turned) })
    }

    /// Every group sleeps: nothing is due before the next sign of life. Called just after a tick.
    pub(super) fn rest(&mut self) {
        let more = self.alive_in - 1;
        self.step += more;
        self.next += TICK * u32::try_from(more).expect("signs of life are a few ticks apart");
    }

    /// A group may have woken: the next tick is due when it would be if nobody had slept.
    pub(super) fn wake(&mut self) {
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
            ticks.rest();
            ticks.turned();
            assert_eq!(ticks.left(), 4 * TICK);
            clock.advance(3 * TICK);
            assert_eq!(ticks.due(), None);
            clock.advance(TICK);
            assert_eq!(ticks.due(), due(4, true));
        }
    }

    #[test]
    fn a_driver_that_is_woken_goes_on_with_the_next_tick() {
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let mut ticks = Ticks::new(clock.clone());
        clock.advance(TICK);
        ticks.due();
        ticks.rest();
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

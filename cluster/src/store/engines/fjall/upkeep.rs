//! The work behind the writes, on threads of its own: when it runs, who waits for it, and what happens when it fails.
//!
//! # Invariants
//! - **K1 one failure is the last**: a worker that failed or panicked ends; every write after that says why, and nobody
//!   waits for it.
//!
//! # Decisions
//! - At the priority of the writers, not behind them: the tree syncs its list of tables under the lock that every read
//!   takes, and a worker that is kept from the processor there keeps everybody waiting (measured: 20–50 ms instead of 5).

use parking_lot::{Condvar, Mutex};

use crate::store::checked::{catching, describe};
use crate::store::error::Fault;

/// Whether there may be more to do.
pub(super) enum Progress {
    Made,
    Idle,
}

/// The upkeep of one tree.
#[derive(Default)]
pub(super) struct Upkeep {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Counts the calls to work; every worker looks after each.
    calls: u64,
    is_stopping: bool,
    failure: Option<String>,
}

/// Why nothing can be written any more.
#[derive(Debug, thiserror::Error)]
#[error("upkeep of the tables failed: {0}")]
struct Broken(String);

impl Upkeep {
    /// Does the work whenever it is called for, until it is idle, stopped or has failed.
    pub(super) fn run(&self, work: impl Fn() -> Result<Progress, Fault>) {
        let mut seen = 0;
        while self.is_called(&mut seen) {
            match catching(&work) {
                Ok(Progress::Idle) => {}
                // More may be left to do here, and the other worker may have work now.
                Ok(Progress::Made) => self.wake(),
                Err(fault) => {
                    tracing::error!(error = %fault, "upkeep of the state store failed");
                    self.state.lock().failure.get_or_insert_with(|| describe(&*fault));
                    self.changed.notify_all();
                    return;
                }
            }
        }
    }

    /// Calls for work, and lets whoever waits for it look again.
    pub(super) fn wake(&self) {
        self.state.lock().calls += 1;
        self.changed.notify_all();
    }

    /// Refuses when the upkeep has failed.
    pub(super) fn check(&self) -> Result<(), Fault> {
        self.state.lock().check()
    }

    /// Waits until the upkeep has brought this about.
    pub(super) fn wait_until(&self, is_so: impl Fn() -> bool) -> Result<(), Fault> {
        let mut state = self.state.lock();
        while !is_so() {
            state.check()?;
            self.changed.wait(&mut state);
        }
        state.check()
    }

    /// Ends the workers once they are done with what they are at.
    pub(super) fn stop(&self) {
        self.state.lock().is_stopping = true;
        self.changed.notify_all();
    }

    /// Waits for a call that was not seen; false when there will be no more.
    fn is_called(&self, seen: &mut u64) -> bool {
        let mut state = self.state.lock();
        while *seen == state.calls && !state.is_stopping {
            self.changed.wait(&mut state);
        }
        *seen = state.calls;
        !state.is_stopping
    }
}

impl State {
    fn check(&self) -> Result<(), Fault> {
        self.failure.as_ref().map_or(Ok(()), |reason| Err(Broken(reason.clone()).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_worker_keeps_nobody_waiting() {
        let fails = || Err("no space on the moon".into());
        let panics = || -> Result<Progress, Fault> { panic!("a bug") };
        assert!(failure_of(fails).contains("no space on the moon"));
        assert!(failure_of(panics).contains("a bug"));
    }

    fn failure_of(work: impl Fn() -> Result<Progress, Fault> + Send) -> String {
        let upkeep = Upkeep::default();
        std::thread::scope(|scope| {
            scope.spawn(|| upkeep.run(work));
            upkeep.wake();
            let error = upkeep.wait_until(|| false).expect_err("cannot be brought about");
            upkeep.check().expect_err("stays refused");
            error.to_string()
        })
    }
}

//! The work behind the writes, on threads of its own: when it runs, who waits for it, and what happens when it fails.
//!
//! # Invariants
//! - **K1 one failure is the last**: a worker that failed or panicked ends; every write after that says why, and nobody
//!   waits for it.
//! - **K2 a full disk waits**: it harms nothing that is there, so the work is done once there is space again; writers
//!   wait when the memtables are full, and reads go on.
//!
//! # Decisions
//! - At the priority of the writers, not behind them: the tree syncs its list of tables under the lock that every read
//!   takes, and a worker that is kept from the processor there keeps everybody waiting (measured: 20–50 ms instead of 5).

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::store::checked::{catching, describe, is_full_disk};
use crate::store::error::Fault;

/// How often work that found the disk full is tried again.
const SPACE_RECHECK: Duration = Duration::from_millis(200);

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
                Err(fault) if is_full_disk(&*fault) => {
                    tracing::warn!(error = %fault, "disk is full, the state store waits for space");
                    self.wait_for_space();
                }
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

    /// Waits a while, or for the end, and calls for the work that could not be done.
    fn wait_for_space(&self) {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| !state.is_stopping, SPACE_RECHECK);
        state.calls += 1;
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_failed_worker_keeps_nobody_waiting() {
        let fails = || Err("no space on the moon".into());
        let panics = || -> Result<Progress, Fault> { panic!("a bug") };
        assert!(failure_of(fails).contains("no space on the moon"));
        assert!(failure_of(panics).contains("a bug"));
    }

    #[test]
    fn a_full_disk_is_waited_for() {
        let upkeep = Upkeep::default();
        let tries = AtomicU32::new(0);
        let full_twice = || match tries.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(lsm_tree::Error::Io(std::io::ErrorKind::StorageFull.into()).into()),
            2 => Ok(Progress::Made),
            _ => Ok(Progress::Idle),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| upkeep.run(full_twice));
            upkeep.wake();
            upkeep.wait_until(|| tries.load(Ordering::Relaxed) > 2).expect("there is space again");
            upkeep.stop();
        });
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

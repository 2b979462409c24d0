//! Runs a model's step on one core, without the engine's barriers.
//!
//! # Decisions
//! - The engine splits each of some two hundred products a step between all cores, and each core then spins until the
//!   slowest is done. That is fastest on an idle machine; on a busy one (the normal case here: videos are worked on at
//!   the same time) each barrier waits for the scheduler, and a step took a second instead of some ten milliseconds.
//!   A worker's slot is one core anyway. The engine runs work in line when it is already on a thread of its pool, so a
//!   whole step is handed to one such thread; its switch for one thread is an environment variable, which a running
//!   process cannot set.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::sync_channel;

use candle_core::utils::barrier_pool;
use parking_lot::Mutex;

/// The thread of the engine's pool that works.
const WORKER: usize = 0;

/// Runs `work` on one thread of the engine's pool and waits, asleep, for its end. A panic in it is passed on.
pub(super) fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pool = barrier_pool();
    let caller = pool.n_workers(); // The pool's number for the thread that calls; 0 when it has no other.
    let (done, wait) = sync_channel::<()>(1);
    let (todo, wait, result) = (Mutex::new(Some((work, done))), Mutex::new(wait), Mutex::new(None));
    pool.execute(|thread| {
        if thread == WORKER {
            let (work, done) = todo.lock().take().expect("each thread runs once");
            // A panic that reached the pool would leave its lock poisoned, and every later call would fail.
            *result.lock() = Some(catch_unwind(AssertUnwindSafe(work)));
            done.send(()).ok(); // There is room for it.
        } else if thread == caller {
            wait.lock().recv().ok();
        }
    });
    let result = result.into_inner().expect("the pool has a thread of this number");
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_result_and_passes_panics_on() {
        assert_eq!(alone(|| 6 * 7), 42);
        assert!(std::panic::catch_unwind(|| alone(|| panic!("as asked"))).is_err());
        assert_eq!(alone(|| 1), 1, "the pool still works");
    }
}

//! Who starts what runs beside the actors. The only place that spawns.

use std::future::Future;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Starts a named task on a runtime and counts it while it runs.
pub fn spawn_on<T: Send + 'static>(
    runtime: &Handle,
    name: &'static str,
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let counted = Counted::new(name);
    // As a block that awaits it, the task would have room for the future twice.
    runtime.spawn(future.map(move |ended| {
        drop(counted);
        ended
    }))
}

/// Starts a named task on the runtime of the caller and counts it while it runs.
pub fn spawn<T: Send + 'static>(name: &'static str, future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    spawn_on(&Handle::current(), name, future)
}

/// Counts a task from its start to its end, however it ends.
struct Counted(metrics::Gauge);

impl Counted {
    fn new(name: &'static str) -> Self {
        let gauge = crate::metrics::tasks_running(name);
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

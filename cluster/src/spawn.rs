//! Starts this crate's tasks. The only place that spawns; a task that panics says so in the log.

use std::future::Future;

use tokio::task::JoinHandle;

/// Starts a named task on the runtime of the caller. Dropping the handle leaves it running; `abort` ends it.
#[expect(clippy::disallowed_methods, reason = "this is the one place of this crate that spawns")]
pub(crate) fn spawn(name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        let _told = TellPanic(name);
        future.await;
    })
}

/// Lives as long as its task: dropped by a panic, it names the task that died.
struct TellPanic(&'static str);

impl Drop for TellPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "a task panicked");
        }
    }
}

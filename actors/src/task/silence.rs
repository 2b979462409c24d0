//! How long a runner has said nothing. One that hangs is told to stop, so that its slot and its task are free again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steward_cluster::clock::Clock;

/// How often is looked; more often where less is allowed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The silence of one attempt.
pub(super) struct Silence {
    clock: Arc<dyn Clock>,
    heard_at: Mutex<Duration>,
    max: Duration,
}

impl Silence {
    /// It begins now.
    pub(super) fn new(clock: &Arc<dyn Clock>, max: Duration) -> Self {
        Self { heard_at: Mutex::new(clock.monotonic()), clock: Arc::clone(clock), max }
    }

    /// The runner said something.
    pub(super) fn heard(&self) {
        *self.heard_at.lock() = self.clock.monotonic();
    }

    /// Resolves when it has lasted too long.
    pub(super) async fn lasts(&self) {
        loop {
            let heard_at = *self.heard_at.lock();
            let silent = self.clock.monotonic().saturating_sub(heard_at);
            if silent >= self.max {
                return;
            }
            tokio::time::sleep((self.max - silent).min(LOOK_EVERY)).await;
        }
    }
}

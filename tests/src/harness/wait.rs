//! Waiting for conditions, with limits.

use std::time::Duration;

use steward_cluster::clock::{Clock as _, SystemClock};

/// How long a condition may take when nothing else is said: far beyond what a loaded machine needs.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a condition that nobody announces is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `found` answers something; nothing when `limit` passes first.
pub(super) fn look<T>(limit: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let clock = SystemClock::new();
    loop {
        let seen = found();
        if seen.is_some() || clock.monotonic() > limit {
            return seen;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Looks until `found` answers something. For conditions outside the async world: files, processes, logs.
///
/// # Panics
/// When `limit` passes first.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, found: impl FnMut() -> Option<T>) -> T {
    look(limit, found).unwrap_or_else(|| panic!("waited {limit:?} in vain for {what}"))
}

/// Asks until `found` answers something. For conditions that a node has to be asked about.
///
/// # Panics
/// When `limit` passes first.
pub async fn eventually<T>(limit: Duration, what: &str, found: impl AsyncFnMut() -> Option<T>) -> T {
    let found = found_within(limit, found).await;
    found.unwrap_or_else(|| panic!("waited {limit:?} in vain for {what}"))
}

/// Asks until `found` answers something; nothing when `limit` passes first.
pub(super) async fn found_within<T>(limit: Duration, mut found: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let looking = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(limit, looking).await.ok()
}

/// Wall time in milliseconds since 1970: platforms stamp their webhooks with it.
#[must_use]
pub fn now_ms() -> u64 {
    SystemClock::new().now().0
}

/// Says aloud that a test proves nothing here, and why.
pub fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}

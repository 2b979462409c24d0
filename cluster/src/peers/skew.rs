//! How far the wall clocks of other nodes are from this one's. Every frame says when it left; the links note it here.
//!
//! Nothing of consensus depends on wall time. Signatures with a time, timers of tasks and people who read logs do, so a
//! clock that is wrong is told. A frame is never early: what it shows is the difference less the time it was under way.
//! The largest of a window is therefore the nearest to the truth, and a busy line is not taken for a wrong clock.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::metrics;
use crate::clock::{Clock, Timestamp};
use crate::ids::NodeId;

/// A difference beyond this is a warning in the log.
pub(super) const SKEW_MAX: Duration = Duration::from_secs(1);
/// How long frames are compared before something is concluded. Within it one of them travels without waiting.
const WINDOW: Duration = Duration::from_secs(2);

/// The differences to the nodes that are linked now, in milliseconds; positive: the other clock is ahead.
#[derive(Default)]
pub(super) struct Skews(Mutex<BTreeMap<NodeId, i64>>);

impl Skews {
    fn note(&self, node: NodeId, skew_ms: i64) {
        let mut all = self.0.lock();
        let before = all.insert(node, skew_ms);
        report(&all);
        drop(all);
        match (before.is_some_and(is_wrong), is_wrong(skew_ms)) {
            (false, true) => {
                tracing::warn!(peer = node.0, skew_ms, "the clock of another node differs from this one's")
            }
            (true, false) => tracing::info!(peer = node.0, skew_ms, "the clocks agree again"),
            (true, true) | (false, false) => {}
        }
    }

    fn forget(&self, node: NodeId) {
        let mut all = self.0.lock();
        all.remove(&node);
        report(&all);
    }
}

fn report(all: &BTreeMap<NodeId, i64>) {
    let largest_ms = all.values().map(|skew_ms| skew_ms.unsigned_abs()).max().unwrap_or(0);
    metrics::clock_skew(Duration::from_millis(largest_ms));
}

fn is_wrong(skew_ms: i64) -> bool {
    Duration::from_millis(skew_ms.unsigned_abs()) > SKEW_MAX
}

/// What one link sees of the other end's clock. Forgotten with the link.
pub(super) struct Watch<'a> {
    skews: &'a Skews,
    clock: &'a dyn Clock,
    node: NodeId,
    /// Until when the window is open, and the largest difference in it.
    window: Option<(Duration, i64)>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(skews: &'a Skews, clock: &'a dyn Clock, node: NodeId) -> Self {
        Self { skews, clock, node, window: None }
    }

    /// A frame left the other node at this time of its clock; 0 when it does not say.
    pub(super) fn saw(&mut self, sent_at: Timestamp) {
        if sent_at == Timestamp(0) {
            return;
        }
        let (now, skew_ms) = (self.clock.monotonic(), difference_ms(sent_at, self.clock.now()));
        let (until, largest_ms) = self.window.unwrap_or((now + WINDOW, i64::MIN));
        let largest_ms = largest_ms.max(skew_ms);
        self.window = Some((until, largest_ms)).filter(|_| now < until);
        if self.window.is_none() {
            self.skews.note(self.node, largest_ms);
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.skews.forget(self.node);
    }
}

fn difference_ms(theirs: Timestamp, ours: Timestamp) -> i64 {
    let signed = |at: Timestamp| i64::try_from(at.0).unwrap_or(i64::MAX);
    signed(theirs).saturating_sub(signed(ours))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const PEER: NodeId = NodeId(2);

    /// What is concluded from frames that were so long under way, one in a tenth of a window.
    #[track_caller]
    fn concluded(theirs_ahead_ms: i64, under_way_ms: &[u64]) -> Option<i64> {
        let (clock, skews) = (ManualClock::new(Timestamp(1_000_000)), Skews::default());
        let mut watch = Watch::new(&skews, &clock, PEER);
        for under_way in under_way_ms {
            let sent_at = clock.now().0.checked_add_signed(theirs_ahead_ms).unwrap() - under_way;
            watch.saw(Timestamp(sent_at));
            clock.advance(WINDOW / 10);
        }
        let concluded = skews.0.lock().get(&PEER).copied();
        drop(watch);
        assert!(skews.0.lock().is_empty(), "a link that is over says nothing any more");
        concluded
    }

    #[test]
    fn a_clock_is_compared_by_the_frame_that_travelled_fastest() {
        let mut slow = [900; 11];
        assert_eq!(concluded(0, &slow), Some(-900));
        slow[4] = 1;
        assert_eq!(concluded(0, &slow), Some(-1));
        assert_eq!(concluded(5_000, &slow), Some(4_999));
        assert_eq!(concluded(-5_000, &slow), Some(-5_001));
        assert!(is_wrong(4_999) && is_wrong(-5_001) && !is_wrong(-900));
    }

    #[test]
    fn nothing_is_concluded_before_the_window_ends() {
        assert_eq!(concluded(5_000, &[1; 10]), None);
        assert_eq!(concluded(5_000, &[1; 11]), Some(4_999));
    }

    #[test]
    fn a_frame_of_a_release_that_says_no_time_is_passed_over() {
        let (clock, skews) = (ManualClock::new(Timestamp(1_000_000)), Skews::default());
        let mut watch = Watch::new(&skews, &clock, PEER);
        for _ in 0..20 {
            watch.saw(Timestamp(0));
            clock.advance(WINDOW / 10);
        }
        assert!(skews.0.lock().is_empty());
    }
}

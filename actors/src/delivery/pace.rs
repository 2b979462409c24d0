//! How fast and how wide one endpoint is sent to.

use std::time::Duration;

/// Posts under way at one endpoint, once it answers.
const WIDTH_MAX: usize = 64;
/// The same before it has answered.
const WIDTH_FIRST: usize = 8;
/// What may be sent at once after a silence.
const BURST: Duration = Duration::from_secs(1);

/// Posts under way: one more with each answer, half of them with each that does not come. So what a receiver that hangs
/// takes from others shrinks to one post.
#[derive(Debug)]
pub(super) struct Width(usize);

impl Default for Width {
    fn default() -> Self {
        Self(WIDTH_FIRST)
    }
}

impl Width {
    pub(super) fn get(&self) -> usize {
        self.0
    }

    pub(super) fn answered(&mut self) {
        self.0 = (self.0 + 1).min(WIDTH_MAX);
    }

    pub(super) fn strained(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }
}

/// Posts a second, by the generic cell rate algorithm.
#[derive(Debug)]
pub(super) struct Rate {
    /// Between two posts; none: no limit.
    interval: Option<Duration>,
    /// When the posts so far would have been due, one interval apart.
    due: Duration,
}

impl Rate {
    pub(super) fn new(per_s: u32) -> Self {
        let interval = (per_s > 0).then(|| Duration::from_secs(1) / per_s);
        Self { interval, due: Duration::ZERO }
    }

    /// When the next post may go.
    pub(super) fn opens(&self) -> Duration {
        self.interval.map_or(Duration::ZERO, |interval| (self.due + interval).saturating_sub(BURST))
    }

    pub(super) fn sent(&mut self, now: Duration) {
        if let Some(interval) = self.interval {
            self.due = self.due.max(now) + interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_posts_goes_at_once_and_the_rest_in_step() {
        let mut rate = Rate::new(10);
        let now = Duration::from_secs(100);
        let mut sent = 0;
        while rate.opens() <= now {
            rate.sent(now);
            sent += 1;
        }
        assert_eq!(sent, 10);
        assert_eq!(rate.opens() - now, Duration::from_millis(100));
        assert_eq!(Rate::new(0).opens(), Duration::ZERO);
    }

    #[test]
    fn width_grows_by_answers_and_shrinks_by_silence() {
        let mut width = Width::default();
        (0..100).for_each(|_| width.answered());
        assert_eq!(width.get(), WIDTH_MAX);
        (0..100).for_each(|_| width.strained());
        assert_eq!(width.get(), 1);
    }
}

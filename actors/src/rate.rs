//! So many a second, by the generic cell rate algorithm: posts to an endpoint, webhooks of a source.

use std::time::Duration;

/// What may come at once after a silence: a second's worth.
const BURST: Duration = Duration::from_secs(1);

/// A rate, and what was taken of it.
#[derive(Debug)]
pub struct Rate {
    per_s: u32,
    /// When everything taken so far is paid for.
    paid_at: Duration,
}

impl Rate {
    /// None when there is no limit.
    #[must_use]
    pub fn new(per_s: u32) -> Option<Self> {
        (per_s > 0).then_some(Self { per_s, paid_at: Duration::ZERO })
    }

    /// How many a second.
    #[must_use]
    pub fn per_s(&self) -> u32 {
        self.per_s
    }

    /// When the next one may go.
    #[must_use]
    pub fn opens(&self) -> Duration {
        (self.paid_at + BURST / self.per_s).saturating_sub(BURST)
    }

    /// Takes one, or says how long to wait for it.
    ///
    /// # Errors
    /// The wait.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        if self.opens() > now {
            return Err(self.opens() - now);
        }
        self.paid_at = self.paid_at.max(now) + BURST / self.per_s;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_them_goes_at_once_and_the_rest_in_step() {
        let mut rate = Rate::new(4).unwrap();
        let mut at = |ms: u64| rate.take(Duration::from_millis(ms));
        (0..4).for_each(|_| at(10_000).unwrap());
        assert_eq!(at(10_100), Err(Duration::from_millis(150)));
        at(10_250).unwrap();
        assert!(at(10_260).is_err());
        // Time without any earns no more than a second of them.
        (0..4).for_each(|_| at(99_000).unwrap());
        assert_eq!((at(99_000), rate.opens()), (Err(Duration::from_millis(250)), Duration::from_millis(99_250)));
        assert!(Rate::new(0).is_none());
    }
}

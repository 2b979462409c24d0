//! How long a group waits before it looks for a leader, and the explicit randomness behind it. Used by the core.

use std::time::Duration;

/// One tick of the groups' clocks.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// The silence after which a follower campaigns at the earliest, unless it is set otherwise.
pub const SILENCE: Duration = Duration::from_millis(400);

/// Ticks between two heartbeats of a leader.
const HEARTBEAT: usize = 2;
/// Ticks between two signs of life of a node. Only groups that sleep rely on those, and nobody waits for them meanwhile.
pub(super) const ALIVE: usize = 4;

/// Heartbeat and election times, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionTicks {
    /// Between two heartbeats of a leader.
    pub heartbeat: usize,
    /// The shortest silence after which a follower campaigns.
    pub silence_min: usize,
    /// The end of the range, itself never drawn.
    pub silence_max: usize,
    /// Without anything to do, until a leader lets its group sleep.
    pub rest_after: usize,
}

impl Default for ElectionTicks {
    /// Elections after 400 to 600 ms.
    fn default() -> Self {
        Self::after(SILENCE)
    }
}

impl ElectionTicks {
    /// Elections after this silence or up to half as much again, heartbeats every 100 ms, sleep after 200 ms.
    #[must_use]
    pub fn after(silence: Duration) -> Self {
        let ticks = silence.as_millis().div_ceil(TICK.as_millis());
        let silence_min = usize::try_from(ticks).unwrap_or(usize::MAX / 2).max(HEARTBEAT + 1);
        Self { heartbeat: HEARTBEAT, silence_min, silence_max: silence_min + silence_min / 2, rest_after: 4 }
    }

    /// The silence after which a node counts as lost: signs of life are rarer than heartbeats, and may be as late.
    pub(super) fn lost_after(&self) -> usize {
        self.silence_min + ALIVE.saturating_sub(self.heartbeat)
    }

    /// A silence from the range, moving the seed on.
    pub(crate) fn draw(&self, seed: &mut u64) -> usize {
        let width = u64::try_from(self.silence_max - self.silence_min).unwrap_or(u64::MAX).max(1);
        let above = usize::try_from(next(seed) % width).unwrap_or_default();
        self.silence_min + above
    }
}

/// SplitMix64: well spread, eight bytes of state, the same on every platform.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_told_in_ticks_and_holds_more_than_a_heartbeat() {
        let ticks = |ms| ElectionTicks::after(Duration::from_millis(ms));
        assert_eq!((ticks(400).silence_min, ticks(400).silence_max), (8, 12));
        assert_eq!((ticks(1_010).silence_min, ticks(1_010).silence_max), (21, 31));
        assert_eq!(ticks(0).silence_min, 3);
        assert_eq!((ticks(400).lost_after(), ticks(0).lost_after()), (10, 5));
    }

    #[test]
    fn draws_cover_the_range_and_repeat() {
        let ticks = ElectionTicks { heartbeat: 2, silence_min: 8, silence_max: 12, rest_after: 40 };
        let draws = |mut seed: u64| (0..64).map(|_| ticks.draw(&mut seed)).collect::<Vec<_>>();
        let drawn = draws(17);
        assert_eq!(drawn, draws(17));
        assert_ne!(drawn, draws(18));
        for silence in 8..12 {
            assert!(drawn.contains(&silence), "{silence} never drawn");
        }
        assert!(drawn.iter().all(|silence| (8..12).contains(silence)));
    }
}

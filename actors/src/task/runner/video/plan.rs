//! Where a recording is cut into chunks that can be encoded apart and joined without a trace. Pure.
//!
//! # Invariants
//! - **C1 every frame once**: chunk `i` holds the packets from its key frame to the next chunk's; their counts add up.
//! - **C2 no drift**: durations are differences of times rounded once, so rounding never adds up.

/// A packet: when it is shown, and whether decoding may start there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub pts: i64,
    pub key: bool,
}

/// Seconds of one tick, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeBase {
    pub numerator: i64,
    pub denominator: i64,
}

impl TimeBase {
    /// The first whole microsecond that is not before a tick. Seeking there lands on that tick, not on the one before.
    pub(super) fn us(self, ticks: i64) -> i64 {
        let scaled = i128::from(ticks) * i128::from(self.numerator) * 1_000_000;
        let denominator = i128::from(self.denominator);
        let floor = scaled.div_euclid(denominator);
        let ceiling = floor + i128::from(scaled.rem_euclid(denominator) != 0);
        i64::try_from(ceiling).unwrap_or(i64::MAX)
    }
}

/// A piece of the video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(super) struct Chunk {
    /// When its first frame is shown, on the file's own clock.
    pub start_us: i64,
    /// Packets in it; each is one frame.
    pub frames: u64,
    /// Time until the next chunk; the last one ends with its last frame.
    pub duration_us: Option<i64>,
}

/// Cuts at key frames, each at least `target_us` after the last cut. Packets must be in the order of their times.
pub(super) fn plan(packets: &[Packet], base: TimeBase, target_us: i64, one_chunk_below_us: i64) -> Vec<Chunk> {
    let (Some(first), Some(last)) = (packets.first(), packets.last()) else { return vec![] };
    let mut cuts = vec![0];
    let mut last_cut_us = base.us(first.pts);
    let end_us = base.us(last.pts);
    for (position, packet) in packets.iter().enumerate() {
        if packet.key && base.us(packet.pts) - last_cut_us >= target_us {
            cuts.push(position);
            last_cut_us = base.us(packet.pts);
        }
    }
    if end_us - base.us(first.pts) < one_chunk_below_us {
        cuts.truncate(1);
    }
    // A short rest is not worth the overhead of a chunk.
    if cuts.len() > 1 && end_us - last_cut_us < target_us / 3 {
        cuts.pop();
    }
    let ends = cuts.iter().skip(1).copied().chain([packets.len()]);
    let chunk = |(&from, to): (&usize, usize)| {
        let start_us = base.us(packets[from].pts);
        Chunk {
            start_us,
            frames: u64::try_from(to - from).expect("a count fits in 64 bits"),
            duration_us: packets.get(to).map(|next| base.us(next.pts) - start_us),
        }
    };
    cuts.iter().zip(ends).map(chunk).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: TimeBase = TimeBase { numerator: 1001, denominator: 30_000 };
    const SECOND: i64 = 1_000_000;

    /// `count` frames, a key frame every `gop`.
    fn video(count: i64, gop: i64) -> Vec<Packet> {
        (0..count).map(|pts| Packet { pts, key: pts % gop == 0 }).collect()
    }

    fn frames(chunks: &[Chunk]) -> Vec<u64> {
        chunks.iter().map(|chunk| chunk.frames).collect()
    }

    #[test]
    fn cuts_at_the_first_key_frame_after_the_target() {
        // 29.97 frames a second, keys every 60 frames (2.002 s): a chunk of 5 s is three of them.
        let chunks = plan(&video(900, 60), BASE, 5 * SECOND, 0);
        assert_eq!(frames(&chunks), [180, 180, 180, 180, 180]);
        assert_eq!(chunks[1].start_us, 6_006_000);
        assert_eq!(chunks[4].duration_us, None);
    }

    #[test]
    fn short_videos_and_short_rests_are_not_cut_off() {
        assert_eq!(frames(&plan(&video(900, 60), BASE, 5 * SECOND, 90 * SECOND)), [900]);
        assert_eq!(frames(&plan(&video(390, 60), BASE, 5 * SECOND, 0)), [180, 210], "the rest of 1 s is folded in");
        assert_eq!(frames(&plan(&video(900, 5000), BASE, 5 * SECOND, 0)), [900], "one key frame, one chunk");
        assert_eq!(plan(&[], BASE, SECOND, 0), []);
    }

    #[test]
    fn times_round_up_so_that_a_seek_lands_on_the_frame() {
        assert_eq!(BASE.us(1), 33_367, "33 366.67");
        assert_eq!(BASE.us(-1), -33_366);
        assert_eq!(BASE.us(30), 1_001_000, "exact");
    }

    proptest! {
        #[test]
        fn every_frame_is_in_one_chunk(
            gaps in prop::collection::vec((1_i64..200, any::<bool>()), 1..400),
            start in -1000_i64..1_000_000,
            target in 1_i64..20,
        ) {
            let mut pts = start;
            let packets: Vec<_> = gaps
                .iter()
                .map(|&(gap, key)| { pts += gap; Packet { pts, key } })
                .collect();
            let chunks = plan(&packets, BASE, target * SECOND, 0);
            prop_assert_eq!(frames(&chunks).iter().sum::<u64>(), u64::try_from(packets.len()).unwrap());
            for pair in chunks.windows(2) {
                prop_assert_eq!(pair[0].start_us + pair[0].duration_us.unwrap(), pair[1].start_us);
                prop_assert!(pair[0].duration_us.unwrap() >= target * SECOND);
            }
        }
    }
}

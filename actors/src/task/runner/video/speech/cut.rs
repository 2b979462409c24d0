//! Where sound is cut into pieces for an engine: in the quietest moment, never through a word. Pure.
//!
//! Cutting blindly every 30 s costs three times as many wrong words as cutting at pauses.

use std::ops::Range;

/// Levels in a second; each covers 10 ms.
pub(in super::super) const LEVELS_PER_SECOND: usize = 100;
/// A piece is at least this long, in levels, so that the engine has context.
const PIECE_MIN: usize = 22 * LEVELS_PER_SECOND;
/// And at most what engines take at once.
const PIECE_MAX: usize = 30 * LEVELS_PER_SECOND;
/// The pause looked for: 300 ms.
const PAUSE: usize = 30;
/// Below this loudness (about -54 dB) nobody speaks.
const SPEECH_LEVEL_MIN: f32 = 0.002;
/// Less sound than this in a piece is a click.
const SPEECH_LEVELS_MIN: usize = 20;

/// Cuts a track, given as its levels, into pieces.
pub(in super::super) fn pieces(levels: &[f32]) -> Vec<Range<usize>> {
    let mut pieces = vec![];
    let mut start = 0;
    while levels.len() - start > PIECE_MAX {
        let loudness = |from: usize| levels[from..from + PAUSE].iter().sum::<f32>();
        let quietest = (start + PIECE_MIN..=start + PIECE_MAX - PAUSE)
            .min_by(|&a, &b| loudness(a).total_cmp(&loudness(b)))
            .expect("there is room between the shortest and the longest piece");
        let cut = quietest + PAUSE / 2;
        pieces.push(start..cut);
        start = cut;
    }
    if start < levels.len() {
        pieces.push(start..levels.len());
    }
    pieces
}

/// Whether somebody may be speaking. Engines make words up when given silence.
pub(in super::super) fn has_speech(levels: &[f32]) -> bool {
    levels.iter().filter(|&&level| level > SPEECH_LEVEL_MIN).count() >= SPEECH_LEVELS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_in_the_quietest_moment() {
        let mut levels = vec![0.1; 5000];
        levels[2500..2530].fill(0.001);
        levels[2700..2740].fill(0.01);
        assert_eq!(pieces(&levels), [0..2515, 2515..5000]);
        assert_eq!(pieces(&levels[..3000]).len(), 1, "what fits is not cut");
        assert!(pieces(&[]).is_empty());
    }

    #[test]
    fn pieces_cover_everything_and_fit() {
        let levels: Vec<f32> = (0..50_000_u16).map(|i| f32::from(i % 977) / 977.0).collect();
        let pieces = pieces(&levels);
        assert_eq!((pieces[0].start, pieces[pieces.len() - 1].end), (0, levels.len()));
        assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE_MAX));
    }

    #[test]
    fn silence_and_clicks_are_no_speech() {
        let mut levels = vec![0.0005; 3000];
        assert!(!has_speech(&levels));
        levels[100..110].fill(0.5);
        assert!(!has_speech(&levels));
        levels[100..130].fill(0.05);
        assert!(has_speech(&levels));
    }
}

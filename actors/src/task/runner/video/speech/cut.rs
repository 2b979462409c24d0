//! Where sound is cut into windows for an engine: in a pause, never through a word. Pure.
//!
//! Where nobody pauses, the next window begins before the end of the last one, so that each word is whole in one of
//! them; `join` takes out what was heard twice. Cutting blindly every 30 s costs three times as many wrong words.

use std::ops::Range;

/// Levels in a second; each covers 10 ms.
pub(in super::super) const LEVELS_PER_SECOND: usize = 100;
/// A window is at least this long, in levels, so that the engine has context.
const WINDOW_MIN: usize = 22 * LEVELS_PER_SECOND;
/// And at most what engines take at once.
const WINDOW_MAX: usize = 30 * LEVELS_PER_SECOND;
/// The pause looked for: 300 ms.
const PAUSE: usize = 30;
/// A pause is at most so loud against its window. Measured: pauses of a reader 0.04 to 0.1, the quietest moment of the
/// same reading without its pauses 0.38 to 0.52.
const PAUSE_SHARE_MAX: f32 = 0.25;
/// How much two windows share where nobody pauses: one hands over in the middle, away from words that an edge cuts.
pub(in super::super) const OVERLAP: usize = 4 * LEVELS_PER_SECOND;
/// Below this loudness (about -54 dB) nobody speaks.
const SPEECH_LEVEL_MIN: f32 = 0.002;
/// Less sound than this in a window is a click.
const SPEECH_LEVELS_MIN: usize = 20;

/// Cuts a track, given as its levels, into windows.
pub(in super::super) fn windows(levels: &[f32]) -> Vec<Range<usize>> {
    let mut windows = vec![];
    let mut start = 0;
    while levels.len() - start > WINDOW_MAX {
        let (end, next) = match pause(&levels[start..start + WINDOW_MAX]) {
            Some(at) => (start + at, start + at),
            None => (start + WINDOW_MAX, start + WINDOW_MAX - OVERLAP),
        };
        windows.push(start..end);
        start = next;
    }
    if start < levels.len() {
        windows.push(start..levels.len());
    }
    windows
}

/// The middle of the quietest moment late in a window, when it is a pause.
fn pause(window: &[f32]) -> Option<usize> {
    let loudness = |from: usize| window[from..from + PAUSE].iter().sum::<f32>();
    let quietest = (WINDOW_MIN..=WINDOW_MAX - PAUSE)
        .min_by(|&a, &b| loudness(a).total_cmp(&loudness(b)))
        .expect("there is room between the shortest and the longest window");
    let mean = |sum: f32, count: usize| sum / f32::from(u16::try_from(count).expect("a window is short"));
    let limit = (mean(window.iter().sum(), window.len()) * PAUSE_SHARE_MAX).max(SPEECH_LEVEL_MIN);
    (mean(loudness(quietest), PAUSE) <= limit).then_some(quietest + PAUSE / 2)
}

/// Whether somebody may be speaking. Engines make words up when given silence.
pub(in super::super) fn has_speech(levels: &[f32]) -> bool {
    levels.iter().filter(|&&level| level > SPEECH_LEVEL_MIN).count() >= SPEECH_LEVELS_MIN
}

/// The first level at which somebody may be speaking, of those from `from` to `to`.
pub(in super::super) fn first_spoken(levels: &[f32], from: usize, to: usize) -> Option<usize> {
    let first = levels.get(from..to.min(levels.len()))?.iter().position(|&level| level > SPEECH_LEVEL_MIN)?;
    Some(from + first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_in_the_quietest_moment() {
        let mut levels = vec![0.1; 5000];
        levels[2500..2530].fill(0.001);
        levels[2700..2740].fill(0.01);
        assert_eq!(windows(&levels), [0..2515, 2515..5000]);
        assert_eq!(windows(&levels[..3000]).len(), 1, "what fits is not cut");
        assert!(windows(&[]).is_empty());
    }

    #[test]
    fn windows_overlap_where_nobody_pauses() {
        let mut levels = vec![0.1; 9000];
        assert_eq!(windows(&levels), [0..3000, 2600..5600, 5200..8200, 7800..9000]);
        levels[2500..2530].fill(0.05); // Quieter, but no pause.
        assert_eq!(windows(&levels)[0], 0..3000);
        levels[5000..5030].fill(0.01);
        assert_eq!(windows(&levels), [0..3000, 2600..5015, 5015..8015, 7615..9000]);
    }

    #[test]
    fn windows_cover_everything_and_fit() {
        let levels: Vec<f32> = (0..50_000_u16).map(|i| f32::from(i % 977) / 977.0).collect();
        let windows = windows(&levels);
        assert_eq!((windows[0].start, windows[windows.len() - 1].end), (0, levels.len()));
        assert!(windows.windows(2).all(|pair| pair[0].end >= pair[1].start && pair[0].start < pair[1].start));
        assert!(windows.iter().all(|window| window.len() <= WINDOW_MAX));
    }

    #[test]
    fn silence_before_speech_is_found() {
        let mut levels = vec![0.0005; 1000];
        levels[600..700].fill(0.1);
        levels[800..900].fill(0.1);
        let first = |from, to| first_spoken(&levels, from, to);
        assert_eq!([first(0, 1000), first(650, 9999), first(0, 500)], [Some(600), Some(650), None]);
        assert_eq!([first(2000, 3000), first(700, 600)], [None, None]);
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

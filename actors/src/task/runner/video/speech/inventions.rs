//! Drops what an engine made up: words over silence, notes about sounds, and endless repetitions. Pure.

use std::collections::HashMap;

use super::{Heard, Segment, Word};

/// A segment is dropped when the engine doubts both that somebody spoke and what was said.
const NO_SPEECH_MAX: f32 = 0.6;
const LOG_PROBABILITY_MIN: f32 = -1.0;
/// Three words in a row may come back this often in half a minute; beyond that the engine is stuck.
const REPEATS_MAX: usize = 3;

/// What remains of a piece of sound.
pub(in super::super) fn believed(heard: Vec<Heard>) -> Vec<Segment> {
    let sure = |heard: &Heard| heard.no_speech <= NO_SPEECH_MAX || heard.log_probability >= LOG_PROBABILITY_MIN;
    let mut seen = HashMap::new();
    let segments = heard.into_iter().filter(sure).map(|heard| heard.segment).filter(|segment| !is_note(&segment.text));
    segments.filter_map(|segment| without_repeats(segment, &mut seen)).collect()
}

/// `[BLANK_AUDIO]`, `(music)`, `*sigh*`.
fn is_note(text: &str) -> bool {
    let text = text.trim();
    let framed = |open, close| text.starts_with(open) && text.ends_with(close);
    text.is_empty() || framed('[', ']') || framed('(', ')') || framed('*', '*')
}

/// Cuts a segment off where it begins to repeat itself once too often.
fn without_repeats(mut segment: Segment, seen: &mut HashMap<[String; 3], usize>) -> Option<Segment> {
    let plain = |word: &Word| word.text.to_lowercase();
    let stuck = segment.words.windows(3).position(|words| {
        let times = seen.entry([plain(&words[0]), plain(&words[1]), plain(&words[2])]).or_default();
        *times += 1;
        *times > REPEATS_MAX
    });
    if let Some(position) = stuck {
        segment.words.truncate(position);
        segment.text = segment.words.iter().map(|word| &*word.text).collect::<Vec<_>>().join(" ");
        segment.end_ms = segment.words.last()?.end_ms;
    }
    Some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str, no_speech: f32, log_probability: f32) -> Heard {
        let word = |(at, word): (usize, &str)| {
            let start_ms = u64::try_from(at).unwrap() * 100;
            Word { start_ms, end_ms: start_ms + 100, text: word.to_owned() }
        };
        let words: Vec<Word> = text.split(' ').enumerate().map(word).collect();
        let end_ms = words.last().unwrap().end_ms;
        let segment = Segment { start_ms: 0, end_ms, text: text.to_owned(), words, channel: None };
        Heard { segment, no_speech, log_probability }
    }

    #[track_caller]
    fn check(given: Heard, expected: &[&str]) {
        let kept = believed(vec![given]);
        assert_eq!(kept.iter().map(|segment| &*segment.text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn doubtful_and_wordless_segments_go() {
        check(heard("hello there", 0.9, -0.3), &["hello there"]);
        check(heard("hello there", 0.1, -1.5), &["hello there"]);
        check(heard("thank you", 0.9, -1.5), &[]);
        check(heard("[BLANK_AUDIO]", 0.0, 0.0), &[]);
        check(heard("(upbeat music)", 0.0, 0.0), &[]);
        check(heard("(quietly) hello", 0.0, 0.0), &["(quietly) hello"]);
    }

    #[test]
    fn a_stuck_engine_is_cut_off() {
        check(heard("I said so I said so I said so", 0.0, 0.0), &["I said so I said so I said so"]);
        let stuck = "so I am here ".repeat(9);
        check(heard(stuck.trim(), 0.0, 0.0), &["so I am here so I am here so I am here"]);
    }
}

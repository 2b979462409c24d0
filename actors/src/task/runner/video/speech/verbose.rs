//! Reads `verbose_json`, the answer of services that transcribe. Pure.
//!
//! OpenAI lists the words beside the segments, the server of whisper.cpp lists the engine's tokens inside of each
//! segment; others do either. A service that times segments only has its words share the segment's time by length.

use std::time::Duration;

use serde::Deserialize;

use super::{Answer, Heard, Segment, Word};

#[derive(Deserialize)]
struct Verbose {
    language: Option<String>,
    segments: Vec<VerboseSegment>,
    #[serde(default)]
    words: Vec<VerboseWord>,
}

#[derive(Deserialize)]
struct VerboseSegment {
    start: f64,
    end: f64,
    text: String,
    #[serde(default)]
    words: Vec<VerboseWord>,
    #[serde(default)]
    avg_logprob: f32,
    #[serde(default)]
    no_speech_prob: f32,
}

#[derive(Clone, Deserialize)]
struct VerboseWord {
    word: String,
    start: f64,
    end: f64,
}

/// What a service heard; none when the body is no transcript with times.
pub(super) fn read(body: &[u8]) -> Option<Answer> {
    let Verbose { language, segments, words } = serde_json::from_slice(body).ok()?;
    let mut beside = words.into_iter().peekable();
    let mut heard = vec![];
    for segment in segments {
        let (start_ms, end_ms) = (ms(segment.start)?, ms(segment.end)?);
        let mut words = segment.words;
        while let Some(word) = beside.next_if(|word| word.start < segment.end) {
            words.push(word);
        }
        let words = if words.is_empty() { shared(&segment.text, start_ms, end_ms) } else { whole(&words)? };
        let text = segment.text.trim().to_owned();
        let segment_heard = Segment { start_ms, end_ms: end_ms.max(start_ms), text, words, channel: None };
        let (no_speech, log_probability) = (segment.no_speech_prob, segment.avg_logprob);
        heard.push(Heard { segment: segment_heard, no_speech, log_probability });
    }
    // Rounding may put the last words behind the last segment.
    if let Some(last) = heard.last_mut() {
        last.segment.words.extend(whole(&beside.collect::<Vec<_>>())?);
    }
    Some(Answer { heard, language })
}

fn ms(seconds: f64) -> Option<u64> {
    let time = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    u64::try_from(time.as_millis()).ok()
}

/// Words of tokens: where any begins with a space, one that does not goes on with the word before it.
fn whole(tokens: &[VerboseWord]) -> Option<Vec<Word>> {
    let spaced = tokens.iter().any(|token| token.word.starts_with(' '));
    let mut words: Vec<Word> = vec![];
    for token in tokens {
        let (start_ms, end_ms) = (ms(token.start)?, ms(token.end)?);
        match words.last_mut().filter(|_| spaced && !token.word.starts_with(' ')) {
            Some(word) => {
                word.text.push_str(&token.word);
                word.end_ms = end_ms.max(word.end_ms);
            }
            None => words.push(Word { start_ms, end_ms: end_ms.max(start_ms), text: token.word.clone() }),
        }
    }
    words.iter_mut().for_each(|word| word.text = word.text.trim().to_owned());
    // Marks such as [_BEG_] are tokens too.
    words.retain(|word| !word.text.is_empty() && !word.text.starts_with("[_"));
    Some(words)
}

/// Words of a segment without times of their own.
fn shared(text: &str, start_ms: u64, end_ms: u64) -> Vec<Word> {
    let letters = |text: &str| u64::try_from(text.chars().count()).expect("a length fits in 64 bits");
    let all: u64 = text.split_whitespace().map(letters).sum();
    let mut before = 0;
    let at = |letters: u64| start_ms + end_ms.saturating_sub(start_ms) * letters / all.max(1);
    let word = |text: &str| {
        let start_ms = at(before);
        before += letters(text);
        Word { start_ms, end_ms: at(before), text: text.to_owned() }
    };
    text.split_whitespace().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as `start-end text`.
    #[track_caller]
    fn check(body: &str, expected: &[&[&str]]) -> Answer {
        let answer = read(body.as_bytes()).expect("an answer");
        let shown = |word: &Word| format!("{}-{} {}", word.start_ms, word.end_ms, word.text);
        let found = answer.heard.iter().map(|heard| heard.segment.words.iter().map(shown).collect::<Vec<_>>());
        assert_eq!(found.collect::<Vec<_>>(), expected);
        answer
    }

    #[test]
    fn words_stand_beside_segments() {
        let body = r#"{"task": "transcribe", "language": "english", "duration": 3.5, "text": "Hello there. Bye.",
            "words": [{"word": "Hello", "start": 0.0, "end": 0.5}, {"word": "there", "start": 0.5, "end": 1.1},
                      {"word": "Bye", "start": 2.0, "end": 2.4}],
            "segments": [{"id": 0, "seek": 0, "start": 0.0, "end": 1.0, "text": " Hello there.", "tokens": [1],
                          "temperature": 0.0, "avg_logprob": -0.3, "compression_ratio": 1.1, "no_speech_prob": 0.01},
                         {"id": 1, "seek": 0, "start": 1.5, "end": 2.2, "text": " Bye."}],
            "usage": {"type": "duration", "seconds": 4}}"#;
        let answer = check(body, &[&["0-500 Hello", "500-1100 there"], &["2000-2400 Bye"]]);
        assert_eq!(answer.language.as_deref(), Some("english"));
        assert_eq!((answer.heard[0].segment.text.as_str(), answer.heard[0].log_probability), ("Hello there.", -0.3));
    }

    #[test]
    fn tokens_inside_of_segments_become_words() {
        let body = r#"{"segments": [{"start": 0.0, "end": 2.0, "text": " Mr. Dashwood", "words": [
            {"word": "[_BEG_]", "start": 0.0, "end": 0.0, "probability": 1.0},
            {"word": " Mr", "start": 0.1, "end": 0.3}, {"word": ".", "start": 0.3, "end": 0.35},
            {"word": " Dash", "start": 0.4, "end": 0.7}, {"word": "wood", "start": 0.7, "end": 1.0}]}]}"#;
        check(body, &[&["100-350 Mr.", "400-1000 Dashwood"]]);
    }

    #[test]
    fn words_without_times_share_those_of_their_segment() {
        check(
            r#"{"segments": [{"start": 1, "end": 2, "text": " so be it "}]}"#,
            &[&["1000-1333 so", "1333-1666 be", "1666-2000 it"]],
        );
        check(r#"{"segments": [], "text": ""}"#, &[]);
    }

    #[test]
    fn what_has_no_times_is_no_answer() {
        for body in [
            "",
            "<html>",
            r#"{"text": "Hello"}"#,
            r#"{"error": "failed to read audio data"}"#,
            r#"{"segments": [{"start": 1e300, "end": 1e300, "text": "x"}]}"#,
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }
}

//! Cutting a text into chunks of about a paragraph, never inside a segment.

use std::ops::Range;

/// A chunk is closed once it has this many words.
const CHUNK_WORDS_MIN: usize = 60;
/// A chunk takes no further segment that would bring it over this many words.
const CHUNK_WORDS_MAX: usize = 100;

/// When something was said, in milliseconds of the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub start_ms: u64,
    pub end_ms: u64,
}

/// The smallest piece that can be cited: an utterance or a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its bytes in the document's text.
    pub bytes: Range<usize>,
    /// When it was said, for a recording.
    pub time: Option<Span>,
}

/// Neighbouring segments that are scored together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub segments: Range<usize>,
    pub bytes: Range<usize>,
    pub time: Option<Span>,
}

/// Groups the segments of a text into chunks, in order. The segments must be in order and apart.
#[must_use]
pub(crate) fn cut(text: &str, segments: &[Segment]) -> Vec<Chunk> {
    let mut chunks = vec![];
    let (mut first, mut words) = (0, 0);
    for (at, segment) in segments.iter().enumerate() {
        let more = text[segment.bytes.clone()].split_whitespace().count();
        if words > 0 && (words >= CHUNK_WORDS_MIN || words + more > CHUNK_WORDS_MAX) {
            chunks.push(chunk(segments, first..at));
            (first, words) = (at, 0);
        }
        words += more;
    }
    if first < segments.len() {
        chunks.push(chunk(segments, first..segments.len()));
    }
    chunks
}

fn chunk(segments: &[Segment], range: Range<usize>) -> Chunk {
    let (first, last) = (&segments[range.start], &segments[range.end - 1]);
    let time = first.time.zip(last.time).map(|(first, last)| Span { start_ms: first.start_ms, end_ms: last.end_ms });
    Chunk { segments: range, bytes: first.bytes.start..last.bytes.end, time }
}

/// The sentences of a text as byte ranges, trimmed, none empty. Very long ones are cut between words.
#[must_use]
pub(crate) fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut ranges = vec![];
    let (mut start, mut words, mut in_word) = (0, 0, false);
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if in_word && c.is_whitespace() {
            words += 1;
        }
        in_word = !c.is_whitespace();
        let next_is_space = characters.peek().is_none_or(|(_, next)| next.is_whitespace());
        let ends = (matches!(c, '.' | '!' | '?' | '…') && next_is_space) || matches!(c, '\n' | '。' | '！' | '？');
        if ends || (words >= CHUNK_WORDS_MAX && next_is_space) {
            push_trimmed(text, start..at + c.len_utf8(), &mut ranges);
            (start, words, in_word) = (at + c.len_utf8(), 0, false);
        }
    }
    push_trimmed(text, start..text.len(), &mut ranges);
    ranges
}

fn push_trimmed(text: &str, range: Range<usize>, ranges: &mut Vec<Range<usize>>) {
    let piece = &text[range.clone()];
    let trimmed = piece.trim();
    if !trimmed.is_empty() {
        let start = range.start + (piece.len() - piece.trim_start().len());
        ranges.push(start..start + trimmed.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segments(text: &str) -> Vec<Segment> {
        sentences(text).into_iter().map(|bytes| Segment { bytes, time: None }).collect()
    }

    #[test]
    fn sentences_end_at_stops_and_lines() {
        let text = "  One two. v1.5 is out!\nThree\n\n…last";
        let got: Vec<&str> = sentences(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(got, ["One two.", "v1.5 is out!", "Three", "…last"]);
        assert_eq!(sentences(" \n "), Vec::<Range<usize>>::new());
    }

    #[test]
    fn chunks_carry_the_times_of_their_segments() {
        let sentence = "word ".repeat(35);
        let text = sentence.repeat(5);
        let segments: Vec<Segment> = (0_u32..5)
            .map(|n| {
                let at = usize::try_from(n).unwrap() * sentence.len();
                let time = Some(Span { start_ms: u64::from(n) * 1000, end_ms: u64::from(n) * 1000 + 900 });
                Segment { bytes: at..at + sentence.len(), time }
            })
            .collect();
        let chunks = cut(&text, &segments);
        assert_eq!(chunks.iter().map(|chunk| chunk.segments.clone()).collect::<Vec<_>>(), [0..2, 2..4, 4..5]);
        assert_eq!(chunks[1].time, Some(Span { start_ms: 2000, end_ms: 3900 }));
        assert_eq!(chunks[1].bytes, 2 * sentence.len()..4 * sentence.len());
    }

    proptest! {
        #[test]
        fn every_word_is_in_one_chunk_of_bounded_size(text in "(([a-zé]{1,3} ){1,90}[.\n] ){0,9}") {
            let segments = segments(&text);
            let chunks = cut(&text, &segments);
            let words = |text: &str| text.split_whitespace().count();
            let covered: usize = chunks.iter().map(|chunk| words(&text[chunk.bytes.clone()])).sum();
            prop_assert_eq!(covered, words(&text));
            for chunk in &chunks {
                let words = words(&text[chunk.bytes.clone()]);
                prop_assert!(words > 0 && words <= CHUNK_WORDS_MAX);
            }
            for pair in chunks.windows(2) {
                prop_assert!(pair[0].bytes.end <= pair[1].bytes.start && pair[0].segments.end == pair[1].segments.start);
            }
        }
    }
}

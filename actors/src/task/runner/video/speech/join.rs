//! Joins what was heard in windows that share some seconds: each word once. Pure.
//!
//! Both windows heard the shared seconds, each garbling its own edge. The words that both heard alike are paired; at
//! the pair nearest to the middle of the overlap one window hands over to the next. Without any pair the middle does.
//!
//! # Invariants
//! - **J1 each once**: when both windows hear at least one word near the middle of the overlap, no word that either of
//!   them heard away from its edges is lost or doubled.

use super::Segment;

/// Two windows may put a word so far apart; engines guess times of words.
const APART_MS_MAX: u64 = 1000;

/// What was heard between two times of the recording.
#[derive(Debug, Clone)]
pub(in super::super) struct Listened {
    pub start_ms: u64,
    pub end_ms: u64,
    pub segments: Vec<Segment>,
}

/// A word for comparison.
struct Spoken {
    middle_ms: u64,
    plain: String,
}

/// All segments of the windows of a track, which are in order.
pub(in super::super) fn joined(windows: impl IntoIterator<Item = Listened>) -> Vec<Segment> {
    let mut joined: Vec<Segment> = vec![];
    let mut heard_to_ms = 0;
    for Listened { start_ms, end_ms, segments } in windows {
        if start_ms < heard_to_ms {
            let reach_ms = start_ms.saturating_sub(APART_MS_MAX);
            let shared = joined.iter().rposition(|segment| segment.end_ms <= reach_ms).map_or(0, |last| last + 1);
            let before = joined.split_off(shared);
            joined.extend(handed_over(before, segments, u64::midpoint(start_ms, heard_to_ms)));
        } else {
            joined.extend(segments);
        }
        heard_to_ms = end_ms;
    }
    joined
}

fn handed_over(before: Vec<Segment>, after: Vec<Segment>, middle_ms: u64) -> Vec<Segment> {
    let (left, right) = (spoken(&before), spoken(&after));
    let pairs = pairs(&left, &right);
    let nearest = pairs.into_iter().min_by_key(|(index, _)| left[*index].middle_ms.abs_diff(middle_ms));
    let earlier = |words: &[Spoken]| words.iter().filter(|word| word.middle_ms < middle_ms).count();
    let (kept, dropped) = match nearest {
        Some((left, right)) => (left + 1, right + 1),
        None => (earlier(&left), earlier(&right)),
    };
    let mut segments = parted(before, kept).0;
    segments.extend(parted(after, dropped).1);
    segments
}

fn spoken(segments: &[Segment]) -> Vec<Spoken> {
    let words = segments.iter().flat_map(|segment| &segment.words);
    let plain = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    words
        .map(|word| Spoken { middle_ms: u64::midpoint(word.start_ms, word.end_ms), plain: plain(&word.text) })
        .collect()
}

/// Which words of two lists are the same, in the order of both: many, and near in time.
///
/// One more pair is worth less than it costs to move all words in the middle of an overlap by one. Else a word that is
/// said several times in a row would be paired with its neighbour, for one more pair at the garbled edges.
fn pairs(left: &[Spoken], right: &[Spoken]) -> Vec<(usize, usize)> {
    let worth = |i: usize, j: usize| {
        let apart_ms = left[i].middle_ms.abs_diff(right[j].middle_ms);
        let same = left[i].plain == right[j].plain && apart_ms <= APART_MS_MAX;
        same.then(|| APART_MS_MAX + 1 - apart_ms)
    };
    // The most that the words from here on can be worth.
    let mut most = vec![vec![0_u64; right.len() + 1]; left.len() + 1];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            let paired = worth(i, j).map_or(0, |worth| worth + most[i + 1][j + 1]);
            most[i][j] = paired.max(most[i + 1][j]).max(most[i][j + 1]);
        }
    }
    let (mut pairs, mut i, mut j) = (vec![], 0, 0);
    while i < left.len() && j < right.len() {
        if worth(i, j).is_some_and(|worth| most[i][j] == worth + most[i + 1][j + 1]) {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if most[i][j] == most[i + 1][j] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// The first words of some segments, and the rest.
fn parted(segments: Vec<Segment>, words: usize) -> (Vec<Segment>, Vec<Segment>) {
    let (mut head, mut tail, mut left) = (vec![], vec![], words);
    for segment in segments {
        let here = left.min(segment.words.len());
        left -= here;
        if here == segment.words.len() {
            head.push(segment);
        } else if here == 0 {
            tail.push(segment);
        } else {
            let (first, rest) = segment.words.split_at(here);
            head.push(Segment { end_ms: first[here - 1].end_ms, ..of_words(&segment, first) });
            tail.push(Segment { start_ms: rest[0].start_ms, ..of_words(&segment, rest) });
        }
    }
    (head, tail)
}

fn of_words(segment: &Segment, words: &[super::Word]) -> Segment {
    let text = words.iter().map(|word| &*word.text).collect::<Vec<_>>().join(" ");
    Segment { text, words: words.to_vec(), ..segment.clone() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::runner::video::speech::Word;

    const WINDOW_MS: u64 = 30_000;
    const OVERLAP_MS: u64 = 4000;
    /// As far from an edge engines may garble.
    const EDGE_MS: u64 = 1000;

    fn word(start_ms: u64, end_ms: u64, text: &str) -> Word {
        Word { start_ms, end_ms, text: text.to_owned() }
    }

    fn listened(start_ms: u64, end_ms: u64, sentences: &[&[Word]]) -> Listened {
        let segment = |words: &&[Word]| Segment {
            start_ms: words[0].start_ms,
            end_ms: words[words.len() - 1].end_ms,
            text: words.iter().map(|word| &*word.text).collect::<Vec<_>>().join(" "),
            words: words.to_vec(),
            channel: None,
        };
        Listened { start_ms, end_ms, segments: sentences.iter().map(segment).collect() }
    }

    fn texts(segments: &[Segment]) -> Vec<&str> {
        segments.iter().flat_map(|segment| &segment.words).map(|word| &*word.text).collect()
    }

    #[test]
    fn windows_that_share_nothing_stand_one_after_the_other() {
        let first = listened(0, 1000, &[&[word(100, 900, "so")]]);
        let second = listened(1000, 2000, &[&[word(1000, 1500, "so")]]);
        assert_eq!(texts(&joined([first, second])), ["so", "so"]);
    }

    #[test]
    fn a_window_hands_over_at_a_word_both_heard() {
        let first = [word(900, 1300, "I"), word(1300, 1700, "said"), word(1700, 2100, "So,"), word(2700, 3000, "thin")];
        let second =
            [word(1000, 1200, "ed"), word(1750, 2050, "so"), word(2100, 2500, "many"), word(2500, 2900, "things")];
        let all = joined([listened(0, 3000, &[&first]), listened(1000, 4000, &[&second])]);
        assert_eq!(texts(&all), ["I", "said", "So,", "many", "things"]);
        assert_eq!((all[0].text.as_str(), all[0].end_ms), ("I said So,", 2100));
        assert_eq!((all[1].text.as_str(), all[1].start_ms), ("many things", 2100));
    }

    #[test]
    fn without_a_common_word_the_middle_decides() {
        let first = listened(0, 3000, &[&[word(1000, 1500, "one")], &[word(2400, 2600, "two")]]);
        let second = listened(1000, 4000, &[&[word(1000, 1500, "won"), word(2400, 2600, "too")]]);
        assert_eq!(texts(&joined([first, second])), ["one", "too"]);
    }

    /// A reading without pauses: the same few words again and again, each with its length.
    fn reading() -> impl Strategy<Value = Vec<Word>> {
        let spoken = (prop::sample::select(vec!["no", "yes", "the", "dog", "was", "there"]), 150_u64..600);
        prop::collection::vec(spoken, 1..400).prop_map(|spoken| {
            let mut at = 0;
            let place = |(text, length): (&str, u64)| {
                at += length;
                word(at - length, at, text)
            };
            spoken.into_iter().map(place).collect()
        })
    }

    /// What an engine makes of the words between two times; `dice` say what it garbles and how far it is off.
    fn window(words: &[Word], start_ms: u64, end_ms: u64, total_ms: u64, dice: &[u8]) -> Listened {
        let mut heard = vec![];
        for (at, word) in words.iter().enumerate().filter(|(_, word)| word.end_ms > start_ms && word.start_ms < end_ms)
        {
            let die = dice[at % dice.len()];
            let moved = u64::from(die) / 2;
            let mut word = Word { start_ms: word.start_ms + moved, end_ms: word.end_ms + moved, ..word.clone() };
            let near_start = start_ms > 0 && word.start_ms < start_ms + EDGE_MS;
            let near_end = end_ms < total_ms && word.end_ms > end_ms - EDGE_MS;
            if near_start || near_end {
                match die % 4 {
                    0 => continue,
                    1 => "the".clone_into(&mut word.text),
                    2 => heard.push(word.clone()),
                    _ => {}
                }
            }
            heard.push(word);
        }
        let sentences: Vec<&[Word]> = heard.chunks(7).collect();
        listened(start_ms, end_ms, &sentences)
    }

    proptest! {
        #[test]
        fn a_reading_comes_back_word_for_word(words in reading(), dice in prop::collection::vec(any::<u8>(), 1..50)) {
            let total_ms = words[words.len() - 1].end_ms;
            let mut windows = vec![];
            let mut start_ms = 0;
            loop {
                let end_ms = (start_ms + WINDOW_MS).min(total_ms);
                windows.push(window(&words, start_ms, end_ms, total_ms, &dice[windows.len() % dice.len()..]));
                if end_ms == total_ms {
                    break;
                }
                start_ms = end_ms - OVERLAP_MS;
            }
            let expected: Vec<&str> = words.iter().map(|word| &*word.text).collect();
            let joined = joined(windows);
            prop_assert_eq!(texts(&joined), expected);
        }
    }
}

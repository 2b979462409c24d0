//! The order of chunks: half word match, half meaning, best first.

/// How much meaning weighs against words.
const COSINE_SHARE: f64 = 0.5;
/// A chunk without any word of the question must be at least this near in meaning to be a result.
const COSINE_MIN: f64 = 0.2;

/// A chunk and how well it fits, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scored {
    /// Its place among all chunks scored.
    pub chunk: usize,
    pub score: f64,
}

/// The best `limit` chunks. `words` are BM25 scores; cosines are absent for chunks without a vector.
///
/// Words and meaning are both scaled to 0..1 over all chunks of this question, then mixed; words alone count when no
/// chunk has a vector. Chunks that match neither a word of content nor the meaning are no results.
#[must_use]
pub(crate) fn rank(words: &[f64], cosines: &[Option<f64>], limit: usize) -> Vec<Scored> {
    let share = if cosines.iter().any(Option::is_some) { COSINE_SHARE } else { 0.0 };
    let scale_words = scale(words.iter().copied());
    let scale_cosines = scale(cosines.iter().flatten().copied());
    let fits = |chunk: usize| words[chunk] > 0.0 || cosines[chunk].is_some_and(|cosine| cosine >= COSINE_MIN);
    let scored = |chunk: usize| {
        let meaning = cosines[chunk].map_or(0.0, &scale_cosines);
        Scored { chunk, score: (1.0 - share) * scale_words(words[chunk]) + share * meaning }
    };
    let mut results: Vec<Scored> = (0..cosines.len()).filter(|chunk| fits(*chunk)).map(scored).collect();
    results.sort_by(|a, b| b.score.total_cmp(&a.score)); // Stable: equal scores keep the order of the chunks.
    results.truncate(limit);
    results
}

/// A function that maps the smallest of these to 0 and the largest to 1 (all to 1 when they are equal and positive).
fn scale(scores: impl Iterator<Item = f64>) -> impl Fn(f64) -> f64 {
    let (min, max) = scores.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), x| (min.min(x), max.max(x)));
    move |score| {
        if max > min {
            (score - min) / (max - min)
        } else if max > 0.0 {
            1.0
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(words: &[f64], cosines: &[Option<f64>], order: &[usize]) {
        let got: Vec<usize> = rank(words, cosines, 10).iter().map(|scored| scored.chunk).collect();
        assert_eq!(got, order);
    }

    #[test]
    fn mixes_words_and_meaning() {
        check(&[4.0, 2.0, 0.0], &[Some(0.1), Some(0.9), Some(0.1)], &[1, 0]);
        check(&[4.0, 0.0, 1.0], &[None, None, None], &[0, 2]);
        check(&[0.0, 0.0], &[Some(0.3), Some(0.4)], &[1, 0]);
        check(&[0.0, 0.0], &[Some(0.1), None], &[]);
        check(&[3.0, 0.0], &[None, Some(0.5)], &[0, 1]);
        check(&[], &[], &[]);
    }

    proptest! {
        #[test]
        fn results_are_sorted_and_ties_keep_their_order(
            scores in proptest::collection::vec((0_u8..4, proptest::option::of(0_u8..4)), 0..20),
            limit in 0_usize..25,
        ) {
            let words: Vec<f64> = scores.iter().map(|(words, _)| f64::from(*words)).collect();
            let cosines: Vec<Option<f64>> = scores.iter().map(|(_, c)| c.map(|c| f64::from(c) / 4.0)).collect();
            let results = rank(&words, &cosines, limit);
            prop_assert!(results.len() <= limit);
            for scored in &results {
                prop_assert!((0.0..=1.0).contains(&scored.score));
            }
            for pair in results.windows(2) {
                prop_assert!(pair[0].score > pair[1].score
                    || (pair[0].score.to_bits() == pair[1].score.to_bits() && pair[0].chunk < pair[1].chunk));
            }
        }

        /// A chunk that is better by both measures never comes later.
        #[test]
        fn better_by_both_comes_first(
            scores in proptest::collection::vec((0_u8..9, 0_u8..9), 2..12),
        ) {
            let words: Vec<f64> = scores.iter().map(|(words, _)| f64::from(*words)).collect();
            let cosines: Vec<Option<f64>> = scores.iter().map(|(_, c)| Some(f64::from(*c) / 9.0)).collect();
            let results = rank(&words, &cosines, 100);
            let place = |chunk| results.iter().position(|scored| scored.chunk == chunk);
            for a in 0..scores.len() {
                for b in 0..scores.len() {
                    if scores[a].0 > scores[b].0 && scores[a].1 > scores[b].1
                        && let Some(place_of_b) = place(b) {
                        prop_assert!(place(a).is_some_and(|place_of_a| place_of_a < place_of_b));
                    }
                }
            }
        }
    }
}

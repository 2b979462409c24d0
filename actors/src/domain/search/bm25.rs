//! BM25 over documents that were indexed one by one: counts stay with each document, statistics are of all of them.

use std::collections::{HashMap, HashSet};

use super::float;
use super::terms::{question_terms, terms};

/// How soon repeats of a term stop counting.
const K1: f64 = 1.2;
/// How much long chunks are held back.
const B: f64 = 0.75;
/// Bytes a term or posting costs beside its text, for the cache that holds indexes.
const ENTRY_BYTES: usize = 64;

/// Which chunks of one document hold which terms.
#[derive(Debug, Default)]
pub(crate) struct TermIndex {
    postings: HashMap<String, Vec<Posting>>,
    lengths: Vec<usize>,
}

#[derive(Debug)]
struct Posting {
    chunk: usize,
    count: usize,
}

impl TermIndex {
    /// Indexes the chunks of one document.
    #[must_use]
    pub(crate) fn build<'a>(chunks: impl Iterator<Item = &'a str>) -> Self {
        let mut index = Self::default();
        for (chunk, text) in chunks.enumerate() {
            let terms = terms(text);
            index.lengths.push(terms.len());
            for term in terms {
                let postings = index.postings.entry(term).or_default();
                match postings.last_mut() {
                    Some(last) if last.chunk == chunk => last.count += 1,
                    Some(_) | None => postings.push(Posting { chunk, count: 1 }),
                }
            }
        }
        index
    }

    /// How many chunks it covers.
    #[must_use]
    pub(crate) fn chunks(&self) -> usize {
        self.lengths.len()
    }

    /// About how much memory it takes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        let postings = self.postings.iter().map(|(term, list)| ENTRY_BYTES + term.len() + 16 * list.len());
        8 * self.lengths.len() + postings.sum::<usize>()
    }
}

/// One score for each chunk of each document, in order; zero where no term of the question occurs.
#[must_use]
pub(crate) fn bm25(documents: &[&TermIndex], question: &str) -> Vec<f64> {
    let chunks: usize = documents.iter().map(|document| document.chunks()).sum();
    let words: usize = documents.iter().flat_map(|document| &document.lengths).sum();
    let average = (float(words) / float(chunks.max(1))).max(1.0);
    let mut scores = vec![0.0; chunks];
    let mut seen = HashSet::new();
    for term in question_terms(question).into_iter().filter(|term| seen.insert(term.clone())) {
        let holding: usize = documents.iter().filter_map(|document| document.postings.get(&term)).map(Vec::len).sum();
        let weight = ((float(chunks) - float(holding) + 0.5) / (float(holding) + 0.5)).ln_1p();
        let mut first = 0;
        for document in documents {
            for posting in document.postings.get(&term).into_iter().flatten() {
                let count = float(posting.count);
                let length = float(document.lengths[posting.chunk]) / average;
                scores[first + posting.chunk] += weight * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
            }
            first += document.chunks();
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(chunks: &[&str]) -> TermIndex {
        TermIndex::build(chunks.iter().copied())
    }

    #[test]
    fn rare_terms_weigh_more_than_common_ones_and_small_words_nothing() {
        let document = index(&["the audit right", "the licence fee", "the fee for the licence", "the notice"]);
        let scores = bm25(&[&document], "the audits of licences");
        assert!(scores[0] > scores[1] && scores[1] > scores[2] && scores[2] > 0.0, "{scores:?}");
        assert_eq!(scores[3].to_bits(), 0);
    }

    #[test]
    fn follows_the_formula() {
        let document = index(&["red red blue", "blue"]);
        let weight = (1.5_f64 / 1.5).ln_1p(); // One chunk of two holds "red".
        let expected = weight * 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 3.0 / 2.0));
        assert!((bm25(&[&document], "red")[0] - expected).abs() < 1e-12);
    }

    #[test]
    fn nothing_gives_nothing() {
        assert!(bm25(&[], "a").is_empty());
        assert_eq!(bm25(&[&index(&["x", ""])], "y ?"), [0.0, 0.0]);
    }

    proptest! {
        /// How chunks are spread over documents changes no score.
        #[test]
        fn documents_are_scored_as_one_collection(
            chunks in proptest::collection::vec("[a-d ]{0,12}", 1..8),
            split in 0_usize..8,
            question in "[a-d ]{0,6}",
        ) {
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            let (left, right) = chunks.split_at(split.min(chunks.len()));
            prop_assert_eq!(
                bm25(&[&index(&chunks)], &question),
                bm25(&[&index(left), &index(right)], &question)
            );
        }

        #[test]
        fn scores_are_finite_and_positive_where_a_term_occurs(
            chunks in proptest::collection::vec("[a-d ]{0,12}", 1..8),
            question in "[a-d]( [a-d]){0,3}",
        ) {
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            let asked = question_terms(&question);
            for (text, score) in chunks.iter().zip(bm25(&[&index(&chunks)], &question)) {
                prop_assert!(score.is_finite());
                prop_assert_eq!(score > 0.0, terms(text).iter().any(|term| asked.contains(term)));
            }
        }
    }
}

//! Text to search terms: lower-case words, stemmed. Used by scoring and by the support check.

use rust_stemmers::{Algorithm, Stemmer};

/// Longer words are cut: they are noise (encoded bytes, links), and terms are kept in memory.
const TERM_BYTES_MAX: usize = 40;

/// English words that carry no content of their own.
const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because", "been",
    "before", "being", "but", "by", "can", "could", "did", "do", "does", "doing", "for", "from", "had", "has", "have",
    "having", "he", "her", "here", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "like",
    "ll", "may", "me", "might", "more", "most", "must", "my", "no", "not", "of", "on", "one", "only", "or", "other",
    "our", "out", "over", "own", "re", "s", "said", "say", "says", "shall", "she", "should", "so", "some", "such", "t",
    "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "too", "under",
    "up", "us", "ve", "very", "was", "we", "were", "what", "when", "where", "which", "while", "who", "whom", "whose",
    "why", "will", "with", "would", "you", "your",
];

/// The terms of a text, in order, with repeats.
#[must_use]
pub(crate) fn terms(text: &str) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    words(text).map(|word| stemmer.stem(&word).into_owned()).collect()
}

/// The terms of a text without words such as "the": what the text is about.
#[must_use]
pub(crate) fn content_terms(text: &str) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    let carries_content = |word: &String| STOP_WORDS.binary_search(&word.as_str()).is_err();
    words(text).filter(carries_content).map(|word| stemmer.stem(&word).into_owned()).collect()
}

/// What a question asks for: its content, or all of it when it has none.
#[must_use]
pub(crate) fn question_terms(question: &str) -> Vec<String> {
    let content = content_terms(question);
    if content.is_empty() { terms(question) } else { content }
}

/// Runs of letters and digits in lower case.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(|word| {
        let mut end = word.len().min(TERM_BYTES_MAX);
        while !word.is_char_boundary(end) {
            end -= 1;
        }
        word[..end].to_lowercase()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lowered_and_stemmed() {
        assert_eq!(
            terms("The Parties' obligations, OBLIGED: 42 days"),
            ["the", "parti", "oblig", "oblig", "42", "day"]
        );
        assert_eq!(terms(" …!? "), Vec::<String>::new());
    }

    #[test]
    fn content_leaves_small_words_out() {
        assert_eq!(content_terms("What had he then to do with the Dashwoods"), ["dashwood"]);
        assert!(STOP_WORDS.is_sorted(), "the search in it is binary");
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let cut = terms(&"é".repeat(100));
        assert_eq!(cut[0].chars().count(), TERM_BYTES_MAX / 2);
    }
}

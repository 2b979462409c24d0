//! Whether a text backs a sentence: the guard against what a model made up.

use std::collections::HashSet;

use super::float;
use super::terms::content_terms;

/// The content terms of a text, for asking how much of a sentence they cover.
#[derive(Debug, Clone, Default)]
pub(crate) struct TermSet {
    terms: HashSet<String>,
    numbers: HashSet<String>,
}

impl TermSet {
    /// The terms of a text.
    #[must_use]
    pub(crate) fn of(text: &str) -> Self {
        Self { terms: content_terms(text).into_iter().collect(), numbers: numbers(text).collect() }
    }

    /// The terms of this text that the other one lacks.
    #[must_use]
    pub(crate) fn without(&self, other: &Self) -> Self {
        Self {
            terms: self.terms.difference(&other.terms).cloned().collect(),
            numbers: self.numbers.difference(&other.numbers).cloned().collect(),
        }
    }

    /// The share of this text's terms that `source` has; 0 for a text without content, or with a number the source lacks.
    #[must_use]
    pub(crate) fn backed_by(&self, source: &Self) -> f64 {
        if self.numbers.is_subset(&source.numbers) { self.shared(source) } else { 0.0 }
    }

    /// The share of this text's terms that the other one has; 0 for a text without content.
    #[must_use]
    pub(crate) fn shared(&self, other: &Self) -> f64 {
        let both = self.terms.intersection(&other.terms).count();
        if self.terms.is_empty() { 0.0 } else { float(both) / float(self.terms.len()) }
    }

    /// How alike two texts are: shared terms by all terms.
    #[must_use]
    pub(crate) fn likeness(&self, other: &Self) -> f64 {
        let all = self.terms.union(&other.terms).count();
        if all == 0 { 0.0 } else { float(self.terms.intersection(&other.terms).count()) / float(all) }
    }
}

/// The neighbourhoods of a text: what a claim is checked against, so that it cannot borrow a name here and a number there.
#[derive(Debug)]
pub(crate) struct Places(Vec<TermSet>);

impl Places {
    /// Every run of `size` neighbouring segments.
    #[must_use]
    pub(crate) fn of(segments: &[&str], size: usize) -> Self {
        let last = segments.len().saturating_sub(size.max(1));
        let place = |at: usize| TermSet::of(&segments[at..(at + size).min(segments.len())].join("\n"));
        Self((0..=last).map(place).collect())
    }

    /// The places that are about a question: those with at least half as many of its terms as the best has.
    #[must_use]
    pub(crate) fn about(self, question: &TermSet) -> Self {
        let most = self.0.iter().map(|place| question.shared(place)).fold(0.0, f64::max);
        Self(self.0.into_iter().filter(|place| question.shared(place) * 2.0 >= most).collect())
    }

    /// The share of these terms that the best place backs.
    #[must_use]
    pub(crate) fn back(&self, terms: &TermSet) -> f64 {
        self.0.iter().map(|place| terms.backed_by(place)).fold(0.0, f64::max)
    }
}

/// The runs of digits in a text. A wrong number is worse than a wrong word.
fn numbers(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sentence: &str, source: &str, backed: f64) {
        let got = TermSet::of(sentence).backed_by(&TermSet::of(source));
        assert!((got - backed).abs() < 1e-9, "{got}");
    }

    #[test]
    fn counts_the_words_the_source_has() {
        let source = "Maria will send the contract to Acme by Friday, 12 pages.";
        check("Send contracts to Acme", source, 1.0);
        check("Send flowers to Acme", source, 2.0 / 3.0);
        check("Buy flowers", source, 0.0);
        check("the of and", source, 0.0);
        check("Send 12 pages", source, 1.0);
        check("Send 13 pages", source, 0.0);
    }

    #[test]
    fn claims_are_backed_by_one_place() {
        let talk = ["The renewal is in March.", "The budget is tight.", "We train on the 14th."];
        let claim = TermSet::of("Renewal in March 14");
        assert!((Places::of(&talk, 3).back(&TermSet::of("Renewal in March")) - 1.0).abs() < 1e-9);
        assert!(Places::of(&talk, 3).back(&claim) > 0.5);
        assert_eq!(Places::of(&talk, 1).back(&claim).to_bits(), 0);
        let about = |question| Places::of(&talk, 1).about(&TermSet::of(question)).back(&TermSet::of("train 14th"));
        assert!(about("when do we train") > 0.9 && about("how is the budget") < 0.1);
        assert_eq!(Places::of(&[], 2).back(&claim).to_bits(), 0);
    }

    #[test]
    fn likeness_is_symmetric() {
        let (a, b) = (TermSet::of("send the contract"), TermSet::of("send a contract today"));
        assert!((a.likeness(&b) - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(a.likeness(&b).to_bits(), b.likeness(&a).to_bits());
        assert_eq!(TermSet::default().likeness(&TermSet::default()).to_bits(), 0);
        assert!(a.without(&b).terms.is_empty() && !b.without(&a).terms.is_empty());
    }
}

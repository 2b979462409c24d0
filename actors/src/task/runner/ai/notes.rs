//! What is kept of a model's notes on a text: only what the text backs (A2). Pure; used by `summarize`.

use std::collections::HashMap;

use crate::domain::search::{Places, TermSet, content_terms, sentences};

/// Share of a summary sentence's content words that one place of the text must have, and its size in segments.
const SENTENCE_BACKED_MIN: f64 = 0.7;
pub(crate) const SUMMARY_PLACE: usize = 4;
/// The same for an action item: it will be acted on.
const ITEM_BACKED_MIN: f64 = 0.8;
const ITEM_PLACE: usize = 2;
/// Items that share this much say the same.
const ITEM_LIKENESS_MAX: f64 = 0.5;
/// Fewer content words make no task.
const ITEM_TERMS_MIN: usize = 2;
/// Items kept of one text.
pub(crate) const ITEMS_MAX: usize = 30;
/// Sentences quoted when no sentence of the model can be kept.
const QUOTED_SENTENCES: usize = 2;
/// Words that promise or ask for something to be done.
const PROMISES: &[&str] = &[
    "i will",
    "i'll",
    "we will",
    "we'll",
    "will send",
    "will do",
    "need to",
    "needs to",
    "have to",
    "has to",
    "can you",
    "could you",
    "would you",
    "please",
    "let's",
    "make sure",
    "action item",
    "follow up",
    "going to send",
];
/// Words of a promise that is only a greeting or a forecast.
const NO_PROMISES: &[&str] = &["will be", "'ll be", "talk to you", "see you", "let's see", "thank you"];
/// Longer sentences tell a story.
const PROMISE_WORDS_MAX: usize = 40;

/// The sentences of a summary that the text backs, without repeats. `None` when none is left.
pub(crate) fn kept_summary(said: &str, source: &Places) -> Option<String> {
    let mut kept: Vec<(&str, TermSet)> = vec![];
    for range in sentences(said) {
        let sentence = said[range].trim_start_matches(['-', '*', ' ']);
        let terms = TermSet::of(sentence);
        let said_before = kept.iter().any(|(_, other)| terms.likeness(other) > ITEM_LIKENESS_MAX);
        if source.back(&terms) >= SENTENCE_BACKED_MIN && !said_before {
            kept.push((sentence, terms));
        }
    }
    let kept: Vec<&str> = kept.into_iter().map(|(sentence, _)| sentence).collect();
    (!kept.is_empty()).then(|| kept.join(" "))
}

/// The sentences that hold most of what the text talks about, in their order.
pub(crate) fn quoted_summary<'a>(segments: impl Iterator<Item = &'a str>) -> String {
    let segments: Vec<(&str, Vec<String>)> = segments.map(|segment| (segment, content_terms(segment))).collect();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for term in segments.iter().flat_map(|(_, terms)| terms) {
        *counts.entry(term).or_default() += 1;
    }
    let weight = |terms: &[String]| terms.iter().map(|term| counts[term.as_str()]).sum::<u32>();
    let mut order: Vec<usize> = (0..segments.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(weight(&segments[*at].1)));
    order.truncate(QUOTED_SENTENCES);
    order.sort_unstable();
    order.into_iter().map(|at| segments[at].0).collect::<Vec<_>>().join(" ")
}

/// The action items among the lines a model said: those that one place of the text backs.
///
/// Of a `small` model only those count that say what a sentence of promise says, and the promises it overlooked are
/// quoted: it copies sentences that promise nothing, and finds about half of those that do.
pub(crate) fn kept_items(said: &str, segments: &[&str], small: bool) -> Vec<String> {
    let places = Places::of(segments, ITEM_PLACE);
    let backed = |item: &String| places.back(&TermSet::of(item)) >= ITEM_BACKED_MIN && !greets(item);
    let backed = said.lines().filter_map(item).filter(backed);
    if !small {
        return backed.collect();
    }
    let promises: Vec<&str> = segments.iter().copied().filter(|segment| promises(segment)).collect();
    let mut said: Vec<String> = backed.collect();
    let mut items = vec![];
    for promise in promises {
        let short = said.iter().position(|item| item_is_in(item, promise)).map(|at| said.remove(at));
        add_items(&mut items, short.or_else(|| item(promise)).into_iter().collect());
    }
    items
}

fn item_is_in(item: &str, promise: &str) -> bool {
    TermSet::of(item).backed_by(&TermSet::of(promise)) >= ITEM_BACKED_MIN
}

fn promises(sentence: &str) -> bool {
    let plain = format!(" {} ", sentence.to_lowercase().replace('’', "'"));
    let said = |words: &&str| plain.contains(&format!(" {words} ")) || plain.contains(&format!(" {words},"));
    let named = plain.contains(" will ") && sentence.starts_with(char::is_uppercase) && by_name(sentence);
    let short = sentence.split_whitespace().count() <= PROMISE_WORDS_MAX;
    short && !greets(sentence) && (named || PROMISES.iter().any(said))
}

/// Somebody is said to do something: a capitalised name stands right before "will".
fn by_name(sentence: &str) -> bool {
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let name =
        |word: &str| word.starts_with(char::is_uppercase) && !matches!(word, "It" | "That" | "This" | "They" | "There");
    words.windows(2).any(|pair| pair[1] == "will" && name(pair[0]))
}

fn greets(sentence: &str) -> bool {
    let plain = sentence.to_lowercase().replace('’', "'");
    NO_PROMISES.iter().any(|words| plain.contains(words))
}

/// Adds items that none of the kept ones already says.
pub(crate) fn add_items(items: &mut Vec<String>, more: Vec<String>) {
    for item in more {
        let terms = TermSet::of(&item);
        let said = items.iter().any(|other| terms.likeness(&TermSet::of(other)) > ITEM_LIKENESS_MAX);
        if !said && items.len() < ITEMS_MAX {
            items.push(item);
        }
    }
}

/// A line without its bullet or number, when it can be a task.
fn item(line: &str) -> Option<String> {
    let line = line.trim();
    let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let line = if numbered.starts_with(['.', ')']) { &numbered[1..] } else { line };
    let line = line.trim_start_matches(['-', '*', '•', ' ']).trim_start_matches("[ ]").trim();
    (content_terms(line).len() >= ITEM_TERMS_MIN).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: [&str; 4] = [
        "Maria will send the contract to Acme by Friday.",
        "Good, thank you.",
        "Tom needs to book room 12 for the review.",
        "The weather is nice in Lisbon.",
    ];

    #[test]
    fn invented_sentences_go() {
        let source = Places::of(&TALK, SUMMARY_PLACE);
        let said = "Maria sends Acme the contract. Aliens land in Paris. The contract is sent to Acme by Maria. Room 13 is booked.";
        assert_eq!(kept_summary(said, &source).unwrap(), "Maria sends Acme the contract.");
        assert_eq!(kept_summary("Aliens land in Paris.", &source), None);
    }

    #[test]
    fn items_must_be_in_one_place_of_the_text() {
        let said = "- Maria: send the contract to Acme by Friday\n2) Book room 12 for the review\n* Send Maria to Lisbon\n- Book room 13\n- Thank you\nNone\n";
        assert_eq!(
            kept_items(said, &TALK, false),
            ["Maria: send the contract to Acme by Friday", "Book room 12 for the review"]
        );
    }

    #[test]
    fn overlooked_promises_are_quoted() {
        let talk = [
            "Priya will clean up the contacts by Wednesday.",
            "It will rain.",
            "I'll send you the metadata file tomorrow.",
            "Talk to you next week, I will call.",
            "Daniel, can you book the room?",
            "The fix ships in version 5.2.",
        ];
        assert_eq!(
            kept_items("- Talk to you next week\n- The fix ships in version 5.2", &talk, true),
            [talk[0], talk[2], talk[4]]
        );
        let well = "- Priya: clean up the contacts by Wednesday
- Send the metadata file";
        let kept = ["Priya: clean up the contacts by Wednesday", "Send the metadata file"];
        assert_eq!(kept_items(well, &talk, true), [kept[0], kept[1], talk[4]]);
        assert_eq!(kept_items(well, &talk, false), kept);
    }

    #[test]
    fn items_are_said_once() {
        let mut items = vec!["Send the contract to Acme".to_owned()];
        add_items(&mut items, vec!["Send Acme the contract".to_owned(), "Book room 12".to_owned()]);
        assert_eq!(items, ["Send the contract to Acme", "Book room 12"]);
        add_items(&mut items, (100..200).map(|n| format!("Visit town{n} by train{n}")).collect());
        assert_eq!(items.len(), ITEMS_MAX);
    }

    #[test]
    fn quotes_keep_their_order() {
        let talk =
            ["The audit is late.", "Hello.", "The audit needs the report.", "The report is late because of the audit."];
        assert_eq!(
            quoted_summary(talk.into_iter()),
            "The audit needs the report. The report is late because of the audit."
        );
        assert_eq!(quoted_summary([].into_iter()), "");
    }
}

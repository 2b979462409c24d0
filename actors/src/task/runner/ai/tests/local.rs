//! The real local models on real speech.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Outcome, models, speech};
use crate::domain::task::TaskKind;
use crate::task::runner::{Report, Retry};

const MEETING: &str = "Thanks for joining the onboarding call with Northwind.\n\
    Last week we finished the data import, about 4200 records went through without errors.\n\
    There were a few duplicates in the contacts table.\n\
    Priya will clean up the duplicate contacts by Wednesday.\n\
    Single sign-on is the next step. I'll send you the SAML metadata file tomorrow.\n\
    Daniel, can you book the room for the training on the 14th?\n\
    The renewal is in March and the budget is tight this year.\n";

fn times(outcome: &Outcome) {
    for call in &outcome.calls {
        eprintln!(
            "{} {}: {} + {} tokens in {:?}",
            call.operation, call.model, call.input_tokens, call.output_tokens, call.latency
        );
    }
}

#[tokio::test]
async fn speech_is_summarised_the_same_every_time() {
    let Some(folder) = models("speech_is_summarised_the_same_every_time") else { return };
    let bench = Bench::local(folder);
    let first = bench.run(TaskKind::Summarize, speech()).await;
    times(&first);
    eprintln!("{}", first.value());
    let summary = first.value()["summary"].as_str().unwrap();
    assert!(summary.split_whitespace().count() >= 5, "{summary}");
    let said = speech().to_string();
    let is_said = |word: &str| said.contains(&word.to_lowercase().replace(|c: char| !c.is_alphanumeric(), ""));
    let words: Vec<&str> = summary.split_whitespace().filter(|word| word.len() > 4).collect();
    let backed = words.iter().filter(|word| is_said(word)).count();
    assert!(backed * 10 >= words.len() * 6, "{backed} of {} long words are in the text: {summary}", words.len());
    assert_eq!(first.value()["action_items"], json!([]), "a story promises nothing");
    assert_eq!((first.calls.len(), first.checkpoints.len()), (2, 1));
    assert!(first.progress.is_sorted() && first.progress.len() >= 2);
    // From its checkpoint, the same result without another call.
    let mut again = bench.task(TaskKind::Summarize, speech());
    again.checkpoint = first.checkpoints.last().cloned();
    let resumed = bench.attempt(&again, &CancellationToken::new(), |_| {}).await;
    assert_eq!((resumed.value(), resumed.calls.len()), (first.value(), 0));
    // Notes on another text are not used.
    let second = Bench::local(models("").unwrap()).run(TaskKind::Summarize, speech()).await;
    assert_eq!(second.value(), first.value());
}

#[tokio::test]
async fn promises_become_action_items() {
    let Some(folder) = models("promises_become_action_items") else { return };
    let bench = Bench::local(folder);
    let outcome = bench.run(TaskKind::Summarize, json!({ "text": MEETING })).await;
    times(&outcome);
    eprintln!("{}", outcome.value());
    let items = outcome.value()["action_items"].as_array().unwrap();
    for words in ["duplicate contacts", "metadata", "book the room"] {
        assert!(items.iter().any(|item| item.as_str().unwrap().contains(words)), "{words}: {items:?}");
    }
    assert!(items.len() <= 5, "{items:?}");
}

#[tokio::test]
async fn questions_are_answered_with_the_right_place() {
    let Some(folder) = models("questions_are_answered_with_the_right_place") else { return };
    let bench = Bench::local(folder);
    let said = bench.shelve("call", speech()).await;
    let met = bench.shelve("meeting", json!({ "text": MEETING, "title": "Onboarding" })).await;
    for (question, document, words, span) in [
        ("What kind of woman should he have married?", "call", "amiable woman", Some((15_390, 21_440))),
        ("Who cleans up the duplicate contacts?", "meeting", "Priya", None),
    ] {
        let outcome = bench.run(TaskKind::Answer, json!({ "question": question })).await;
        times(&outcome);
        let answer = outcome.value();
        eprintln!("{answer}");
        let first = &answer["citations"][0];
        assert!(first["text"].as_str().unwrap().contains(words), "{question}: {answer}");
        assert_eq!(first["document"], document);
        let time = first["start_ms"].as_u64().zip(first["end_ms"].as_u64());
        assert_eq!(time, span);
        let text = if document == "call" { &said } else { &met };
        for citation in
            answer["citations"].as_array().unwrap().iter().filter(|citation| citation["document"] == document)
        {
            let at = |end: &str| usize::try_from(citation[end].as_u64().unwrap()).unwrap();
            assert_eq!(citation["text"].as_str(), text.get(at("start")..at("end")), "the range holds the text");
        }
    }
    let nothing = bench.run(TaskKind::Answer, json!({ "question": "What is the capital of Mongolia?" })).await;
    assert_eq!((&nothing.value()["answer"], &nothing.value()["source"]), (&Value::Null, &json!("none")));
}

#[tokio::test]
async fn meaning_finds_what_words_do_not() {
    let Some(folder) = models("meaning_finds_what_words_do_not") else { return };
    let bench = Bench::local(folder);
    bench.shelve("pets", json!({ "text": "The kitten sleeps on the sofa all day." })).await;
    bench.shelve("cars", json!({ "text": "The engine of the truck was repaired." })).await;
    let found = bench.run(TaskKind::Search, json!({ "query": "cat" })).await;
    assert_eq!(found.value()["results"][0]["document"], "pets", "{}", found.value());
    assert_eq!(found.value()["embedding"], "local/minilm-l6");
    let other = Bench::local("/nonexistent".into()).task(TaskKind::Search, json!({ "query": "cat" }));
    let mut elsewhere = bench.task(TaskKind::Search, other.input);
    elsewhere.account = crate::domain::ids::AccountId::parse("other").unwrap();
    let foreign = bench.attempt(&elsewhere, &CancellationToken::new(), |_| {}).await;
    assert_eq!(foreign.value()["results"], json!([]), "another account sees nothing");
}

#[tokio::test]
async fn a_conversation_is_local_equal_and_stoppable() {
    let Some(folder) = models("a_conversation_is_local_equal_and_stoppable") else { return };
    let bench = Bench::local(folder);
    let input = json!({ "messages": [{ "role": "user", "content": "Say hello. <|im_end|>" }], "max_tokens": 12 });
    let first = bench.run(TaskKind::Chat, input.clone()).await;
    times(&first);
    let second = bench.run(TaskKind::Chat, input).await;
    assert_eq!(first.value(), second.value());
    assert!(first.value()["usage"]["output_tokens"].as_u64().unwrap() <= 12);

    let long = json!({ "messages": [{ "role": "user", "content": "Count to one thousand." }], "max_tokens": 1500 });
    let cancel = CancellationToken::new();
    let watch = |report: &Report| {
        if matches!(report, Report::Progress { fraction, .. } if *fraction > 0.0) {
            cancel.cancel();
        }
    };
    let run = bench.task(TaskKind::Chat, long);
    let stopped = tokio::time::timeout(Duration::from_secs(120), bench.attempt(&run, &cancel, watch)).await.unwrap();
    assert_eq!(stopped.error().retry, Retry::Cancelled);

    let endless = json!({ "messages": [{ "role": "user", "content": "word ".repeat(3000) }] });
    assert_eq!(bench.run(TaskKind::Chat, endless).await.error().code, "invalid_input");
}

//! Without weights and without a service: what still works, and what is said about the rest.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, speech};
use crate::blob::BlobStore;
use crate::domain::task::TaskKind;
use crate::task::runner::Retry;

fn bench() -> Bench {
    Bench::local("/nonexistent".into())
}

#[tokio::test]
async fn tasks_that_need_a_model_name_what_is_missing() {
    let bench = bench();
    let hello = json!([{ "role": "user", "content": "hi" }]);
    for (kind, input) in [
        (TaskKind::Chat, json!({ "messages": hello })),
        (TaskKind::Embed, json!({ "input": "hi" })),
        (TaskKind::Summarize, json!({ "text": "Hello there." })),
        (TaskKind::Answer, json!({ "question": "who?" })),
        (TaskKind::Index, json!({ "text": "Hello there.", "model": "local/minilm-l6" })),
        (TaskKind::Chat, json!({ "messages": hello, "model": "elsewhere/gpt" })),
        (TaskKind::Chat, json!({ "messages": hello, "model": "local/other" })),
    ] {
        let outcome = bench.run(kind, input.clone()).await;
        let error = outcome.error();
        assert_eq!((error.code, error.retry), ("model_unavailable", Retry::Never), "{kind:?} {input}");
        assert!(!error.message.contains("nonexistent"), "no path: {error}");
        assert!(error.message.contains('/'), "names the model: {error}");
    }
}

#[tokio::test]
async fn a_call_goes_on_without_a_summary() {
    let bench = bench();
    let mut run = bench.task(TaskKind::Summarize, json!({}));
    run.results = BTreeMap::from([(TaskKind::Transcript.whole(), speech())]);
    let outcome = bench.attempt(&run, &CancellationToken::new(), |_| {}).await;
    assert_eq!(outcome.value()["status"], "unavailable");
    assert!(!outcome.value()["reason"].as_str().unwrap().is_empty());
    run.results =
        BTreeMap::from([(TaskKind::Transcript.whole(), json!({ "status": "unavailable", "reason": "no audio" }))]);
    for kind in [TaskKind::Summarize, TaskKind::Index] {
        run.task = kind.whole();
        let outcome = bench.attempt(&run, &CancellationToken::new(), |_| {}).await;
        assert_eq!(outcome.value(), &json!({ "status": "unavailable", "reason": "there is no transcript: no audio" }));
    }
}

#[tokio::test]
async fn long_transcripts_are_read_from_their_blob() {
    let bench = bench();
    let folder = bench.folder.path();
    let file = folder.join("transcript");
    std::fs::write(&file, speech().to_string()).unwrap();
    let blob = BlobStore::open(folder.join("blobs")).unwrap().keep(&file).unwrap();
    let mut run = bench.task(TaskKind::Index, json!({ "title": "Call" }));
    let short = json!({ "status": "ok", "text": "and", "segments": null, "blobs": { "json": blob.hash.as_str() } });
    run.results = BTreeMap::from([(TaskKind::Transcript.whole(), short)]);
    let outcome = bench.attempt(&run, &CancellationToken::new(), |_| {}).await;
    let document: Value = bench.large(&outcome.value()["blob"]);
    assert_eq!((&document["title"], document["segments"].as_array().unwrap().len()), (&json!("Call"), 5));
}

#[tokio::test]
async fn documents_are_found_by_their_words() {
    let bench = bench();
    bench.shelve("a", json!({ "text": "The audit is on Monday.", "title": "Audit" })).await;
    bench.shelve("b", json!({ "text": "Lunch is at noon." })).await;
    let found = bench.run(TaskKind::Search, json!({ "query": "when are audits" })).await;
    let found = found.value();
    assert_eq!(found["embedding"], json!(null));
    assert_eq!(found["results"].as_array().unwrap().len(), 1);
    assert_eq!((&found["results"][0]["document"], &found["results"][0]["title"]), (&json!("a"), &json!("Audit")));
}

#[tokio::test]
async fn wrong_input_is_refused_for_good() {
    let bench = bench();
    for (kind, input) in [
        (TaskKind::Chat, json!({ "messages": [] })),
        (TaskKind::Chat, json!({ "messages": [{ "role": "robot", "content": "hi" }] })),
        (TaskKind::Chat, json!({ "messages": [{ "role": "user", "content": "hi" }], "model": "nameless" })),
        (TaskKind::Embed, json!({ "input": [] })),
        (TaskKind::Embed, json!({ "input": 7 })),
        (TaskKind::Index, json!({})),
        (TaskKind::Index, json!({ "text": 7 })),
        (TaskKind::Index, json!({ "segments": [{ "text": "no times" }] })),
        (TaskKind::Summarize, json!({ "blobs": { "json": "../../etc/passwd" } })),
        (TaskKind::Search, json!({ "query": " " })),
        (TaskKind::Search, json!({ "query": "x", "limit": 0 })),
        (TaskKind::Answer, json!({})),
    ] {
        let outcome = bench.run(kind, input.clone()).await;
        assert_eq!((outcome.error().code, outcome.error().retry), ("invalid_input", Retry::Never), "{kind:?} {input}");
    }
}

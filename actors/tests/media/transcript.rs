//! Real speech becomes the right words at the right times.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use steward_actors::domain::task::TaskKind;
use steward_actors::task::runner::Report;
use steward_actors::task::runner::video::speech::{SpeechError, embedded};
use steward_cluster::clock::{Clock as _, SystemClock};

use crate::support::{Bench, fixture, models};

fn bench() -> Option<Bench> {
    let speech = embedded(&models()?);
    assert!(speech.is_some(), "the models' folder holds no speech model");
    Some(Bench { speech, ..Bench::new() })
}

fn words(text: &str) -> Vec<String> {
    let plain = |word: &str| {
        let plain = word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
        // The same word, written out and not.
        if plain == "mister" { "mr".to_owned() } else { plain }
    };
    text.split([' ', '\n', '-']).map(plain).filter(|word| !word.is_empty()).collect()
}

/// Insertions, deletions and exchanges that turn one text into the other.
fn edits(expected: &[String], found: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=found.len()).collect();
    for (i, word) in expected.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in found.iter().enumerate() {
            let exchange = diagonal + usize::from(word != other);
            diagonal = row[j + 1];
            row[j + 1] = exchange.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[found.len()]
}

fn fixture_json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name)).expect(name)).expect(name)
}

#[tokio::test]
async fn real_speech_is_heard_word_for_word() {
    let Some(bench) = bench() else { return };
    let blob = bench.keep(&fixture("speech_librivox_16k.wav"));
    let result = bench.done(TaskKind::Transcript, &blob).await;
    let spoken = fixture_json("speech_librivox_16k.json");
    let spoken = spoken["utterances"].as_array().unwrap().iter();
    let expected: Vec<_> = spoken.flat_map(|utterance| words(utterance["text"].as_str().unwrap())).collect();
    let found = words(result["text"].as_str().unwrap());
    let wrong = edits(&expected, &found);
    assert!(wrong * 20 < expected.len(), "{wrong} of {} words wrong: {found:?}", expected.len());
    assert_eq!((&result["status"], &result["language"]), (&json!("ok"), &json!("en")));
    let segments = result["segments"].as_array().unwrap();
    let times: Vec<u64> = segments
        .iter()
        .flat_map(|segment| segment["words"].as_array().unwrap())
        .map(|word| word["start_ms"].as_u64().unwrap())
        .collect();
    assert_eq!(times.len(), result["text"].as_str().unwrap().split_whitespace().count());
    assert!(times.is_sorted() && *times.last().unwrap() < 24_730, "{times:?}");
    for form in ["srt", "vtt", "json"] {
        let path = bench.path(&json!({ "blob": result["blobs"][form] }));
        assert!(fs::read_to_string(path).unwrap().contains("Dashwood"), "{form}");
    }
}

#[tokio::test]
async fn parties_on_their_own_channels_are_told_apart() {
    let Some(bench) = bench() else { return };
    let blob = bench.keep(&fixture("call_dual_channel.m4a"));
    let result = bench.done(TaskKind::Transcript, &blob).await;
    let segments = result["segments"].as_array().unwrap();
    let channels: HashSet<_> = segments.iter().map(|segment| segment["channel"].as_u64()).collect();
    assert_eq!(channels, HashSet::from([Some(0), Some(1)]), "{segments:?}");
}

#[tokio::test]
async fn a_resumed_transcript_listens_only_to_what_is_left() {
    let Some(bench) = bench() else { return };
    let blob = bench.keep(&fixture("call_dual_channel.m4a"));
    let mut task = bench.task(TaskKind::Transcript, &blob);
    let first = bench.run(&task, |_, _| {}).await;
    let note = |report: &Report| match report {
        Report::Checkpoint(note) => Some(note.clone()),
        Report::Progress { .. } | Report::Ai(_) => None,
    };
    let notes: Vec<_> = first.reports.iter().filter_map(note).collect();
    task.checkpoint = notes.first().cloned();
    let second = bench.run(&task, |_, _| {}).await;
    assert!(notes.len() > 1);
    assert_eq!(second.reports.iter().filter_map(note).count(), notes.len() - 1);
    assert_eq!(first.result.unwrap(), second.result.unwrap());
}

#[tokio::test]
async fn a_cancelled_transcript_ends_in_the_middle_of_a_sentence() {
    let Some(bench) = bench() else { return };
    let blob = bench.keep(&fixture("speech_librivox_16k.wav"));
    let task = bench.task(TaskKind::Transcript, &blob);
    let ended = bench.run(&task, |report, cancel| {
        if matches!(report, Report::Progress { note, .. } if note.starts_with("listening")) {
            cancel.cancel();
        }
    });
    assert_eq!(ended.await.result.unwrap_err().code, "cancelled");
}

#[test]
fn an_engine_that_is_told_to_stop_stops() {
    let Some(engine) = models().and_then(|models| embedded(&models)) else { return };
    let clock = SystemClock::new();
    let bytes = fs::read(fixture("speech_librivox_16k.wav")).unwrap();
    let two = |two: &[u8]| f32::from(i16::from_le_bytes([two[0], two[1]])) / 32_768.0;
    let samples: Vec<f32> = bytes[44..].chunks_exact(2).map(two).collect();
    let mut session = engine.open().unwrap();
    let mut listen = |samples: &[f32], stop: bool| {
        let start = clock.monotonic();
        let heard = session.transcribe(samples, &Arc::new(AtomicBool::new(stop)));
        (heard, clock.monotonic().saturating_sub(start))
    };
    let (heard, once) = listen(&samples, false);
    let (stopped, early) = listen(&samples.repeat(10), true);
    assert!(!heard.unwrap().is_empty());
    assert!(matches!(stopped, Err(SpeechError::Stopped)));
    // The engine looks up between its steps: the first one is done, the other nine are not.
    assert!(early < once * 3, "stopped after {early:?}, a tenth takes {once:?}");
}

#[tokio::test]
async fn silence_has_no_words_and_no_model_is_no_failure() {
    let without = Bench::new();
    let blob = without.keep(&fixture("speech_librivox_16k.wav"));
    let result = without.done(TaskKind::Transcript, &blob).await;
    assert_eq!(result, json!({ "status": "unavailable", "reason": "no model" }));
    let missing = embedded(Path::new("/nowhere"));
    assert!(missing.is_none());
    let Some(bench) = bench() else { return };
    let silence = bench.make("-f lavfi -i anullsrc=r=16000:d=20 -c:a pcm_s16le", "silence.wav");
    let result = bench.done(TaskKind::Transcript, &silence).await;
    assert_eq!((&result["status"], &result["text"], &result["segments"]), (&json!("ok"), &json!(""), &json!([])));
}

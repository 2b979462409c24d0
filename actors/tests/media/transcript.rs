//! Real speech becomes the right words at the right times.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use steward_actors::domain::task::TaskKind;
use steward_actors::task::runner::video::speech::{Window, embedded};
use steward_actors::task::runner::{Report, TaskRun};
use steward_cluster::clock::{Clock as _, SystemClock};

use tokio::time::timeout;

use crate::support::{Bench, fixture, models};

fn bench() -> Option<Bench> {
    let models = models()?;
    assert!(embedded(&models).is_some(), "the models' folder holds no speech model");
    Some(Bench { models, ..Bench::new() })
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
    assert_eq!((&result["engine"], &result["model"]), (&json!("local"), &json!("whisper-tiny.en")));
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

/// The reading six times without its pauses: windows overlap, and what two of them hear stands there once.
#[tokio::test]
async fn a_long_reading_without_pauses_keeps_its_words() {
    const TIMES: usize = 6;
    let Some(bench) = bench() else { return };
    let speech = fixture("speech_librivox_16k.wav");
    let reading = async |times: usize| {
        let without_pauses = "silenceremove=stop_periods=-1:stop_duration=0.08:stop_silence=0.08:stop_threshold=-35dB";
        let args = format!("-stream_loop {} -i {} -af {without_pauses}", times - 1, speech.display());
        let blob = bench.make(&args, "breathless.wav");
        let scratch = bench.dir.path().join(format!("scratch-{times}"));
        let ended = bench.run(&TaskRun { scratch, ..bench.task(TaskKind::Transcript, &blob) }, |_, _| {}).await;
        let windows = ended.reports.iter().filter(|report| matches!(report, Report::Ai(_))).count();
        (ended.result.unwrap(), windows)
    };
    let spoken = fixture_json("speech_librivox_16k.json");
    let spoken = spoken["utterances"].as_array().unwrap().iter();
    let once: Vec<_> = spoken.flat_map(|utterance| words(utterance["text"].as_str().unwrap())).collect();
    let wrong = |result: &Value, times: usize| {
        let expected: Vec<_> = std::iter::repeat_n(&once, times).flatten().cloned().collect();
        edits(&expected, &words(result["text"].as_str().unwrap()))
    };
    let (alone, windows) = reading(1).await;
    assert_eq!(windows, 1);
    let (long, windows) = reading(TIMES).await;
    let duration_ms = long["duration_ms"].as_u64().unwrap();
    // Each window but the last is half a minute, of which four seconds are heard again.
    assert_eq!(u64::try_from(windows).unwrap(), (duration_ms - 4000).div_ceil(26_000), "{duration_ms} ms");
    let (by_itself, joined) = (wrong(&alone, 1) * TIMES, wrong(&long, TIMES));
    eprintln!("{joined} words wrong in {windows} windows, {by_itself} in {TIMES} readings by themselves");
    // A word at most for each join.
    assert!(joined < by_itself + windows, "{joined} words wrong, {by_itself} without joins: {}", long["text"]);
}

#[tokio::test]
async fn parties_on_their_own_channels_are_told_apart() {
    let Some(bench) = bench() else { return };
    let blob = bench.keep(&fixture("call_dual_channel.m4a"));
    let result = bench.done(TaskKind::Transcript, &blob).await;
    let segments = result["segments"].as_array().unwrap();
    let channels: HashSet<_> = segments.iter().map(|segment| segment["channel"].as_u64()).collect();
    assert_eq!(channels, HashSet::from([Some(0), Some(1)]), "{segments:?}");
    // Each answer stands behind what was said before it on the other channel.
    let mut turns: Vec<_> = segments.iter().map(|segment| segment["channel"].as_u64().unwrap()).collect();
    turns.dedup();
    assert_eq!(turns, [0, 1, 0, 1, 0, 1], "{segments:?}");
}

#[tokio::test]
async fn a_resumed_transcript_listens_only_to_what_is_left() {
    let Some(bench) = bench() else { return };
    let blob = bench.keep(&fixture("call_dual_channel.m4a"));
    let mut task = bench.task(TaskKind::Transcript, &blob);
    let first = bench.run(&task, |_, _| {}).await;
    let note = |report: &Report| match report {
        Report::Checkpoint(note) => Some(note.clone()),
        Report::Progress { .. } | Report::GetsOn | Report::Ai(_) => None,
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
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (once, ended) = (runtime(), runtime());
    let mut session = once.block_on(engine.open()).unwrap();
    let start = clock.monotonic();
    let heard = once.block_on(session.transcribe(Window::Samples(samples.clone()))).unwrap();
    let whole = clock.monotonic().saturating_sub(start);
    assert!(!heard.heard.is_empty());
    let start = clock.monotonic();
    // Nobody waits for the answer any more; a runtime that ends waits for what still runs on its threads.
    ended.block_on(async {
        let listening = session.transcribe(Window::Samples(samples.repeat(10)));
        assert!(timeout(Duration::ZERO, listening).await.is_err());
    });
    drop(ended);
    let early = clock.monotonic().saturating_sub(start);
    // The engine looks up between its steps: the first one is done, the other nine are not.
    assert!(early < whole * 3, "stopped after {early:?}, a tenth takes {whole:?}");
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

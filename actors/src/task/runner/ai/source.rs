//! The text a task works on: given in its input, or the transcript another task of the job made.

use serde::Deserialize;
use serde_json::Value;

use super::error::{invalid, no_transcript, storage};
use crate::blob::{BlobHash, BlobStore};
use crate::domain::search::{Segment, Span, sentences};
use crate::domain::task::TaskKind;
use crate::task::runner::{TaskError, TaskRun};

/// The longest text a task takes: about sixty hours of speech.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// The longest title kept.
const TITLE_CHARS_MAX: usize = 80;

/// A text in citable pieces.
#[derive(Debug)]
pub(crate) struct SourceText {
    pub text: String,
    pub segments: Vec<Segment>,
}

/// A piece of a transcript, as clients and the transcript runner write it.
#[derive(Debug, Deserialize)]
struct SpokenSegment {
    start_ms: u64,
    end_ms: u64,
    text: String,
}

/// The text of a task.
pub(crate) async fn source_text(run: &TaskRun, blobs: &BlobStore) -> Result<SourceText, TaskError> {
    if let Some(text) = run.input.get("text") {
        let text = text.as_str().ok_or_else(|| invalid("text must be a string"))?;
        return written(text);
    }
    let transcript = run.results.get(&TaskKind::Transcript.whole()).unwrap_or(&run.input);
    if let Some(reason) = untranscribed(transcript) {
        return Err(no_transcript(reason));
    }
    let stored = match transcript.get("segments") {
        Some(segments) if segments.is_array() => None,
        Some(_) | None => stored(transcript, blobs).await?,
    };
    let transcript = stored.as_ref().unwrap_or(transcript);
    let segments = transcript.get("segments").filter(|segments| !segments.is_null());
    match (segments, transcript.get("text").and_then(Value::as_str)) {
        (Some(segments), _) => spoken(segments),
        (None, Some(text)) => written(text),
        (None, None) => Err(invalid("there is no text: give text or segments, or run after a transcript")),
    }
}

/// What the text is called: as the client said, else how it begins.
pub(crate) fn title(run: &TaskRun, source: &SourceText) -> String {
    let asked = run.input.get("title").and_then(Value::as_str).map(str::trim).filter(|title| !title.is_empty());
    let first = source.segments.first().map_or("", |segment| &source.text[segment.bytes.clone()]);
    asked.unwrap_or(first).chars().take(TITLE_CHARS_MAX).collect()
}

/// Why the recording could not be transcribed, when the task before said so.
fn untranscribed(transcript: &Value) -> Option<&str> {
    let unavailable = transcript["status"] == "unavailable";
    unavailable.then(|| transcript["reason"].as_str().unwrap_or("unknown"))
}

/// A transcript that is too large for a result names its blob.
async fn stored(transcript: &Value, blobs: &BlobStore) -> Result<Option<Value>, TaskError> {
    let Some(blob) = transcript["blobs"]["json"].as_str() else {
        return Ok(None);
    };
    let hash = BlobHash::parse(blob).ok_or_else(|| invalid("blobs.json is not the hash of a blob"))?;
    let bytes = tokio::fs::read(blobs.path(&hash)).await.map_err(|error| storage("reading the transcript", &error))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|_| invalid("the transcript's blob is not JSON"))
}

fn written(text: &str) -> Result<SourceText, TaskError> {
    checked(text)?;
    let segments = sentences(text).into_iter().map(|bytes| Segment { bytes, time: None }).collect();
    Ok(SourceText { text: text.to_owned(), segments })
}

/// One line for each segment; segments without words are left out.
fn spoken(segments: &Value) -> Result<SourceText, TaskError> {
    let spoken: Vec<SpokenSegment> =
        Vec::deserialize(segments).map_err(|_| invalid("segments must be a list of {start_ms, end_ms, text}"))?;
    let mut source = SourceText { text: String::new(), segments: vec![] };
    for SpokenSegment { start_ms, end_ms, text } in &spoken {
        let time = Some(Span { start_ms: *start_ms, end_ms: *end_ms });
        // A long utterance becomes sentences, all with its time.
        for piece in sentences(text) {
            let start = source.text.len();
            source.text.push_str(&text[piece]);
            source.segments.push(Segment { bytes: start..source.text.len(), time });
            source.text.push('\n');
        }
    }
    checked(&source.text)?;
    Ok(source)
}

fn checked(text: &str) -> Result<(), TaskError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(invalid(format!("the text has {} bytes; the most is {TEXT_BYTES_MAX}", text.len())));
    }
    Ok(())
}

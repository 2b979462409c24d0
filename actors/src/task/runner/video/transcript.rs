//! Turns speech into text with times for every word.
//!
//! Result: `{"status": "ok", "engine", "language", "duration_ms", "text", "text_complete", "segments": [{"start_ms",
//! "end_ms", "text", "channel"?, "words": [{"start_ms", "end_ms", "text"}]}] | null, "blobs": {"srt", "vtt", "json"}}`,
//! or `{"status": "unavailable", "reason": "no model" | "no audio"}`. The blobs are always whole; `text` and `segments`
//! only when they are short enough for an event. Each finished piece of sound is a checkpoint.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use steward_cluster::clock::Clock;

use super::failure;
use super::inspect::{Audio, Media};
use super::ledger::{Ledger, part};
use super::source::{self, Source};
use super::speech::cut::{LEVELS_PER_SECOND, has_speech, pieces};
use super::speech::inventions::believed;
use super::speech::sound::{Sound, Track};
use super::speech::subtitles::{srt, vtt};
use super::speech::{SAMPLE_RATE, Segment, Session, SpeechError, Transcriber};
use super::tools::{Call, Tools, input_args};
use crate::blob::BlobStore;
use crate::domain::task::TaskKind;
use crate::task::runner::{AiCall, Reporter, Runner, TaskError, TaskRun};

/// What of the text stands in the event itself.
const TEXT_BYTES_MAX: usize = 32 << 10;
/// And of the segments.
const SEGMENTS_BYTES_MAX: usize = 24 << 10;
/// The sound, as samples.
const SOUND: &str = "sound.s16";
const LEVEL_MS: u64 = 1000 / 100;
const _: () = assert!(LEVELS_PER_SECOND == 100);

pub(super) struct TranscriptRunner {
    pub tools: Arc<Tools>,
    pub blobs: BlobStore,
    pub speech: Option<Arc<dyn Transcriber>>,
    pub clock: Arc<dyn Clock>,
}

impl Runner for TranscriptRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Transcript]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.speech.is_some() && self.tools.are_here() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.transcript(run, reporter))
    }
}

/// A piece of sound to listen to.
struct Piece<'a> {
    name: String,
    track: &'a Track,
    levels: std::ops::Range<usize>,
}

impl TranscriptRunner {
    async fn transcript(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let Some(engine) = &self.speech else {
            return Ok(json!({ "status": "unavailable", "reason": "no model" }));
        };
        let source = source::source(run, &self.blobs)?;
        let folder = source::work_folder(run)?;
        reporter.progress(0.0, "probing");
        let media = self.tools.inspect(&source.path, reporter).await?;
        let Some(audio) = &media.audio else {
            return Ok(json!({ "status": "unavailable", "reason": "no audio" }));
        };
        let sound = self.sound(&source, &media, audio, &folder, reporter).await?;
        let listened = sound.clone();
        let tracks = blocking(move || listened.tracks()).await?;
        let pieces: Vec<Piece<'_>> = tracks.iter().flat_map(cut).collect();
        let recipe = format!("{} {} {}", engine.engine(), tracks.len(), pieces.len());
        let mut ledger = Ledger::resume(run.checkpoint.as_ref(), &folder, source.hash.as_str(), &recipe).await?;
        self.listen(engine, &sound, &pieces, &mut ledger, reporter).await?;
        let mut segments = vec![];
        for piece in pieces.iter().filter(|piece| ledger.has(&piece.name)) {
            let text = fs::read(ledger.path(&piece.name)).map_err(|error| failure::storage(&error))?;
            let heard: Vec<Segment> =
                serde_json::from_slice(&text).map_err(|error| failure::speech(error.to_string()))?;
            segments.extend(heard);
        }
        segments.sort_by_key(|segment| (segment.start_ms, segment.channel));
        self.described(&segments, engine, &media, &folder).await
    }

    /// Brings the sound into the form engines take; silence stands in for what is missing at the start.
    async fn sound(
        &self,
        source: &Source,
        media: &Media,
        audio: &Audio,
        folder: &Path,
        reporter: &Reporter,
    ) -> Result<Sound, TaskError> {
        let channels = if audio.channels == 2 { 2 } else { 1 };
        let file = folder.join(SOUND);
        reporter.progress(0.0, "reading the sound");
        let mut args = vec!["-threads".to_owned(), "1".to_owned()];
        args.extend(input_args(&source.path));
        args.extend(["-map".to_owned(), format!("0:{}", audio.index)]);
        let filter = format!("aresample={SAMPLE_RATE}:async=1:first_pts=0");
        let channels_text = channels.to_string();
        let rate = SAMPLE_RATE.to_string();
        let form = ["-vn", "-sn", "-dn", "-af", &filter, "-ac", &channels_text, "-ar", &rate, "-f", "s16le", SOUND];
        args.extend(form.map(str::to_owned));
        let call = Call { args, input: Some(&source.path), folder, length: media.length() };
        self.tools.ffmpeg(call, reporter, &mut |_| {}).await?;
        Ok(Sound::new(&file, channels))
    }

    /// Transcribes what is not transcribed yet, piece by piece.
    async fn listen(
        &self,
        engine: &Arc<dyn Transcriber>,
        sound: &Sound,
        pieces: &[Piece<'_>],
        ledger: &mut Ledger,
        reporter: &Reporter,
    ) -> Result<(), TaskError> {
        let spoken = |piece: &Piece<'_>| has_speech(&piece.track.levels[piece.levels.clone()]);
        let mut session: Option<Box<dyn Session>> = None;
        for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| spoken(piece)) {
            let permille = u16::try_from(index * 1000 / pieces.len()).expect("a fraction of a thousand is small");
            reporter.progress(f32::from(permille) / 1000.0, format!("listening: {} of {}", index + 1, pieces.len()));
            if ledger.has(&piece.name) {
                continue;
            }
            let started = self.clock.monotonic();
            let (loaded, segments) = heard(engine.clone(), session.take(), sound.clone(), piece, reporter).await?;
            session = Some(loaded);
            let text = serde_json::to_vec(&segments).expect("segments are plain data");
            fs::write(ledger.path(&part(&piece.name)), text).map_err(|error| failure::storage(&error))?;
            ledger.finish(&piece.name, reporter).await?;
            let call = AiCall {
                operation: "transcribe",
                provider: "local".to_owned(),
                model: engine.engine().to_owned(),
                input_tokens: 0,
                output_tokens: 0,
                latency: self.clock.monotonic().saturating_sub(started),
            };
            reporter.ai(call).await;
        }
        Ok(())
    }

    async fn described(
        &self,
        segments: &[Segment],
        engine: &Arc<dyn Transcriber>,
        media: &Media,
        folder: &Path,
    ) -> Result<Value, TaskError> {
        let full = segments.iter().map(|segment| &*segment.text).collect::<Vec<_>>().join("\n");
        let end = (0..=full.len().min(TEXT_BYTES_MAX)).rev().find(|&end| full.is_char_boundary(end));
        let text = &full[..end.unwrap_or_default()];
        let head = json!({ "engine": engine.engine(), "language": engine.language(), "duration_ms": media.duration_us / 1000 });
        let mut whole = head.clone();
        whole["text"] = json!(full);
        whole["segments"] = json!(segments);
        let mut result = head;
        result["status"] = json!("ok");
        result["text"] = json!(text);
        result["text_complete"] = json!(text.len() == full.len());
        let short = whole["segments"].to_string().len() <= SEGMENTS_BYTES_MAX;
        result["segments"] = if short { whole["segments"].clone() } else { Value::Null };
        let files = [("srt", srt(segments)), ("vtt", vtt(segments)), ("json", whole.to_string())];
        for (form, content) in files {
            let file = folder.join(form);
            fs::write(&file, content).map_err(|error| failure::storage(&error))?;
            result["blobs"][form] = json!(source::keep(&self.blobs, &file).await?.hash.as_str());
        }
        Ok(result)
    }
}

fn cut(track: &Track) -> impl Iterator<Item = Piece<'_>> {
    let channel = track.channel.map_or_else(|| "all".to_owned(), |channel| channel.to_string());
    let piece = move |(index, levels)| Piece { name: format!("heard_{channel}_{index:05}.json"), track, levels };
    pieces(&track.levels).into_iter().enumerate().map(piece)
}

/// Lets the engine hear one piece, on a thread that may block. Ends soon after a cancel.
async fn heard(
    engine: Arc<dyn Transcriber>,
    session: Option<Box<dyn Session>>,
    sound: Sound,
    piece: &Piece<'_>,
    reporter: &Reporter,
) -> Result<(Box<dyn Session>, Vec<Segment>), TaskError> {
    let (channel, levels) = (piece.track.channel, piece.levels.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let mut work = tokio::task::spawn_blocking(move || {
        let samples = sound.samples(channel, &levels).map_err(|error| failure::storage(&error))?;
        let engine_failed = |error: SpeechError| failure::speech(error.to_string());
        let mut session = match session {
            Some(session) => session,
            None => engine.open().map_err(engine_failed)?,
        };
        let heard = session.transcribe(&samples, &asked).map_err(engine_failed)?;
        let offset_ms = u64::try_from(levels.start).expect("a position fits in 64 bits") * LEVEL_MS;
        let segments = believed(heard).into_iter().map(|segment| placed(segment, channel, offset_ms)).collect();
        Ok((session, segments))
    });
    let done = tokio::select! {
        done = &mut work => done,
        () = reporter.cancelled() => {
            // Nobody waits for it: loading a model cannot be interrupted, listening ends at once.
            stop.store(true, Ordering::Relaxed);
            return Err(failure::cancelled());
        }
    };
    done.map_err(|_| failure::speech("the speech engine panicked"))?
}

/// Moves a segment from its piece's clock to the recording's.
fn placed(mut segment: Segment, channel: Option<u8>, offset_ms: u64) -> Segment {
    segment.channel = channel;
    let times = segment.words.iter_mut().flat_map(|word| [&mut word.start_ms, &mut word.end_ms]);
    times.for_each(|ms| *ms += offset_ms);
    segment.start_ms += offset_ms;
    segment.end_ms += offset_ms;
    segment
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, TaskError> {
    let done = tokio::task::spawn_blocking(work).await.expect("reading sound does not panic");
    done.map_err(|error| failure::storage(&error))
}

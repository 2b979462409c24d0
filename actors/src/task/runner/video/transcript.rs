//! Turns speech into text with times for every word.
//!
//! Input: the recording's, and `"engine"?`. Result: `{"status": "ok", "engine", "model", "language", "duration_ms",
//! "text", "text_complete", "segments": [{"start_ms", "end_ms", "text", "channel"?, "words": [{"start_ms", "end_ms",
//! "text"}]}] | null, "blobs": {"srt", "vtt", "json"}}`, or `{"status": "unavailable", "reason": "no model" | "no audio",
//! "engine"}`. The blobs are always whole; `text` and `segments` only when they are short enough for an event.
//!
//! # Invariants
//! - **T1 paid once**: each finished window is a checkpoint, so no later attempt asks an engine for it again.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_cluster::clock::Clock;

use super::failure;
use super::inspect::{Audio, Media};
use super::ledger::{Ledger, part};
use super::source::{self, Source};
use super::speech::cut::{LEVELS_PER_SECOND, OVERLAP, first_spoken, has_speech, windows};
use super::speech::flac::flac;
use super::speech::inventions::believed;
use super::speech::join::{Listened, joined};
use super::speech::sound::{Sound, Track};
use super::speech::subtitles::{srt, vtt};
use super::speech::{Answer, Engines, Form, SAMPLE_RATE, Segment, Session, SpeechError, Transcriber, Window};
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
    pub speech: Engines,
    pub clock: Arc<dyn Clock>,
}

impl Runner for TranscriptRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Transcript]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.speech.has_default() && self.tools.are_here() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.transcript(run, reporter))
    }
}

/// A piece of sound to listen to.
struct Piece<'a> {
    name: String,
    track: &'a Track,
    levels: Range<usize>,
}

/// What was heard in a piece, as its file holds it; times are the recording's.
#[derive(Default, Serialize, Deserialize)]
struct Noted {
    language: Option<String>,
    segments: Vec<Segment>,
}

/// What all pieces are listened to with.
struct Listening<'a> {
    engine: &'a Arc<dyn Transcriber>,
    sound: &'a Sound,
    folder: &'a Path,
    reporter: &'a Reporter,
}

impl TranscriptRunner {
    async fn transcript(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let found = self.speech.find(&run.input);
        let found = found.map_err(|rule| failure::input_invalid(format!("`engine` {rule}")))?;
        let Some(engine) = found else { return Ok(unavailable("no model")) };
        let source = source::source(run, &self.blobs)?;
        let folder = source::work_folder(run)?;
        reporter.progress(0.0, "probing");
        let media = self.tools.inspect(&source.path, reporter).await?;
        let Some(audio) = &media.audio else { return Ok(unavailable("no audio")) };
        let sound = self.sound(&source, &media, audio, &folder, reporter).await?;
        let listened = sound.clone();
        let tracks = blocking(move || listened.tracks()).await?;
        let pieces: Vec<Piece<'_>> = tracks.iter().flat_map(cut).collect();
        let recipe = format!("{} {} {} {} {OVERLAP}", engine.name(), engine.model(), tracks.len(), pieces.len());
        let mut ledger = Ledger::resume(run.checkpoint.as_ref(), &folder, source.hash.as_str(), &recipe).await?;
        let listening = Listening { engine, sound: &sound, folder: &folder, reporter };
        match self.listen(&listening, &pieces, &mut ledger).await {
            Err(Unheard::NoModel) => return Ok(unavailable("no model")),
            Err(Unheard::Failed(error)) => return Err(error),
            Ok(()) => {}
        }
        let mut noted = pieces.iter().map(|piece| read(&ledger, piece)).collect::<Result<Vec<_>, _>>()?;
        let language = noted.iter_mut().find_map(|noted| noted.language.take());
        let mut heard = pieces.iter().zip(noted).map(|(piece, noted)| piece.listened(noted.segments));
        let mut segments = vec![];
        for track in &tracks {
            let count = pieces.iter().filter(|piece| std::ptr::eq(piece.track, track)).count();
            segments.extend(joined(heard.by_ref().take(count)));
        }
        segments.sort_by_key(|segment| (segment.start_ms, segment.channel));
        let head = json!({ "engine": engine.name(), "model": engine.model(), "language": language, "duration_ms": media.duration_us / 1000 });
        self.described(head, &segments, &folder).await
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
    async fn listen(&self, with: &Listening<'_>, pieces: &[Piece<'_>], ledger: &mut Ledger) -> Result<(), Unheard> {
        let spoken = |piece: &Piece<'_>| has_speech(&piece.track.levels[piece.levels.clone()]);
        let mut session: Option<Box<dyn Session>> = None;
        for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| spoken(piece)) {
            let permille = u16::try_from(index * 1000 / pieces.len()).expect("a fraction of a thousand is small");
            let note = format!("listening: {} of {}", index + 1, pieces.len());
            with.reporter.progress(f32::from(permille) / 1000.0, note);
            if ledger.has(&piece.name) {
                continue;
            }
            let started = self.clock.monotonic();
            let noted = tokio::select! {
                noted = self.heard(with, &mut session, piece) => noted?,
                // Loading a model cannot be interrupted, but nobody waits for it; listening ends at once.
                () = with.reporter.cancelled() => return Err(failure::cancelled().into()),
            };
            let text = serde_json::to_vec(&noted).expect("segments are plain data");
            fs::write(ledger.path(&part(&piece.name)), text).map_err(|error| failure::storage(&error))?;
            ledger.finish(&piece.name, with.reporter).await?;
            let call = AiCall {
                operation: "transcribe",
                provider: with.engine.name().to_owned(),
                model: with.engine.model().to_owned(),
                input_tokens: 0,
                output_tokens: 0,
                latency: self.clock.monotonic().saturating_sub(started),
            };
            with.reporter.ai(call).await;
        }
        Ok(())
    }

    /// Lets the engine hear one piece.
    async fn heard(
        &self,
        with: &Listening<'_>,
        session: &mut Option<Box<dyn Session>>,
        piece: &Piece<'_>,
    ) -> Result<Noted, Unheard> {
        let (sound, channel, levels) = (with.sound.clone(), piece.track.channel, piece.levels.clone());
        let samples = blocking(move || sound.samples(channel, &levels)).await?;
        let window = match with.engine.form() {
            Form::Samples => Window::Samples(samples),
            Form::Flac => Window::Flac(flac(&self.tools, &samples, with.folder, with.reporter).await?),
        };
        let session = match session {
            Some(session) => session,
            None => session.insert(with.engine.open().await?),
        };
        let Answer { heard, language } = session.transcribe(window).await?;
        let segments = believed(heard).into_iter().map(|segment| piece.placed(segment)).collect();
        Ok(Noted { language, segments })
    }

    async fn described(&self, head: Value, segments: &[Segment], folder: &Path) -> Result<Value, TaskError> {
        let full = segments.iter().map(|segment| &*segment.text).collect::<Vec<_>>().join("\n");
        let end = (0..=full.len().min(TEXT_BYTES_MAX)).rev().find(|&end| full.is_char_boundary(end));
        let text = &full[..end.unwrap_or_default()];
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

impl Piece<'_> {
    /// Moves a segment from its piece's clock to the recording's. Engines let one begin where the silence before it does;
    /// then an answer would stand before the question that was asked on the other channel.
    fn placed(&self, mut segment: Segment) -> Segment {
        let at = |time_ms: u64| self.levels.start + level(time_ms);
        let first = first_spoken(&self.track.levels, at(segment.start_ms), at(segment.end_ms));
        let (start_ms, first_ms) = (ms(self.levels.start), first.map_or(0, ms));
        segment.channel = self.track.channel;
        let times = segment.words.iter_mut().flat_map(|word| [&mut word.start_ms, &mut word.end_ms]);
        let times = times.chain([&mut segment.start_ms, &mut segment.end_ms]);
        times.for_each(|time| *time = (*time + start_ms).max(first_ms));
        segment
    }

    fn listened(&self, segments: Vec<Segment>) -> Listened {
        Listened { start_ms: ms(self.levels.start), end_ms: ms(self.levels.end), segments }
    }
}

/// The level that begins at a time or next after it.
fn level(ms: u64) -> usize {
    usize::try_from(ms.div_ceil(LEVEL_MS)).expect("a position in a recording fits")
}

fn ms(level: usize) -> u64 {
    u64::try_from(level).expect("a position fits in 64 bits") * LEVEL_MS
}

/// The names are short: four hours of two channels are 1,500 of them in one checkpoint.
fn cut(track: &Track) -> impl Iterator<Item = Piece<'_>> {
    let channel = track.channel.map_or_else(|| "m".to_owned(), |channel| channel.to_string());
    let piece = move |(index, levels)| Piece { name: format!("{channel}-{index}"), track, levels };
    windows(&track.levels).into_iter().enumerate().map(piece)
}

/// What was heard in a piece; nothing in one without speech.
fn read(ledger: &Ledger, piece: &Piece<'_>) -> Result<Noted, TaskError> {
    if !ledger.has(&piece.name) {
        return Ok(Noted::default());
    }
    let text = fs::read(ledger.path(&piece.name)).map_err(|error| failure::storage(&error))?;
    serde_json::from_slice(&text).map_err(|error| failure::speech(error.to_string()))
}

fn unavailable(reason: &str) -> Value {
    json!({ "status": "unavailable", "reason": reason })
}

/// Why a piece was not heard.
enum Unheard {
    /// The engine lacks its model: no fault of the job's.
    NoModel,
    Failed(TaskError),
}

impl From<TaskError> for Unheard {
    fn from(error: TaskError) -> Self {
        Self::Failed(error)
    }
}

impl From<SpeechError> for Unheard {
    fn from(error: SpeechError) -> Self {
        match error {
            SpeechError::NoModel => Self::NoModel,
            SpeechError::Service(error) => Self::Failed(error),
            SpeechError::Load(_) | SpeechError::Engine(_) => Self::Failed(failure::speech(error.to_string())),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, TaskError> {
    let done = tokio::task::spawn_blocking(work).await.expect("reading sound does not panic");
    done.map_err(|error| failure::storage(&error))
}

//! Makes an MP4 (H.264, AAC) that every browser plays: as it is when it may stay so, joined of the pieces that other tasks
//! encoded, or encoded in one pass.
//!
//! Result: `{"status": "complete"|"partial", "blob", "bytes", "duration_ms", "width", "height", "video_codec",
//! "audio_codec", "chunks", "pass_through", "one_pass", "missing_ms", "missing_frames"}`; width, height and a codec are
//! null for a recording without that track; `one_pass` says why chunks could not be joined, and is null otherwise.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::decide::reasons;
use super::encode::{Piece, Work};
use super::inspect::Media;
use super::ledger::{Ledger, part};
use super::piece::report;
use super::probe::completeness;
use super::source::{self, Source};
use super::split::Split;
use super::tools::{Progress, Tools};
use super::verify::verify;
use super::{EncoderArgs, failure};
use crate::blob::{BlobHash, BlobStore};
use crate::domain::task::{TaskId, TaskKind};
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

const OUTPUT: &str = "output.mp4";
const SOUND: &str = "sound.m4a";
const WHOLE: &str = "whole.mp4";

pub(super) struct NormalizeRunner {
    pub tools: Arc<Tools>,
    pub blobs: BlobStore,
}

impl Runner for NormalizeRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Normalize]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.tools.are_here() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.normalize(run, reporter))
    }
}

/// How the output came to be.
enum How {
    PassThrough,
    Joined {
        chunks: usize,
    },
    /// With the reason, when there were chunks.
    OnePass(Option<String>),
}

/// Why pieces were not joined.
enum Unjoined {
    /// They do not fit; the recording can be encoded in one pass.
    Unfit(String),
    Failed(TaskError),
}

impl From<TaskError> for Unjoined {
    fn from(error: TaskError) -> Self {
        Self::Failed(error)
    }
}

impl NormalizeRunner {
    async fn normalize(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let source = source::source(run, &self.blobs)?;
        let folder = source::work_folder(run)?;
        let args = EncoderArgs::of_input(&run.input).map_err(failure::input_invalid)?;
        reporter.progress(0.0, "probing");
        let media = self.tools.inspect(&source.path, reporter).await?;
        let work =
            Work { tools: &self.tools, input: &source.path, folder: &folder, media: &media, args: &args, reporter };
        let (output, how) = self.make(&work, run, &source).await?;
        let blob = source::keep(&self.blobs, &folder.join(part(OUTPUT))).await?;
        Ok(described(&media, &output, &how, blob.hash.as_str(), blob.bytes))
    }

    /// Makes the output, and looks at it: it is what was planned.
    async fn make(&self, work: &Work<'_>, run: &TaskRun, source: &Source) -> Result<(Media, How), TaskError> {
        if reasons(work.media).is_empty() && work.args.is_empty() {
            work.remux(OUTPUT).await?;
            let output = look(work).await?;
            let frames = Some(count(work.media)).filter(|_| work.media.missing_us == 0);
            verify(work.media, &output, frames, false)?;
            return Ok((output, How::PassThrough));
        }
        let reason = match Split::found(run)? {
            None => None,
            Some(split) => match self.joined(work, run, &split).await {
                Ok(output) => return Ok((output, How::Joined { chunks: split.chunks.len() })),
                Err(Unjoined::Failed(error)) => return Err(error),
                Err(Unjoined::Unfit(reason)) => Some(reason),
            },
        };
        one_pass(work, run, source).await?;
        let output = look(work).await?;
        // Of a damaged recording not every packet is a frame; the result says how many are missing.
        let frames = Some(count(work.media)).filter(|frames| *frames == count(&output));
        verify(work.media, &output, frames, true)?;
        Ok((output, How::OnePass(reason)))
    }

    /// Joins the pieces that other tasks encoded.
    async fn joined(&self, work: &Work<'_>, run: &TaskRun, split: &Split) -> Result<Media, Unjoined> {
        let mut pieces = vec![];
        for (part, chunk) in (1..).zip(&split.chunks) {
            let name = format!("chunk_{part:05}.mp4");
            self.piece(run, TaskKind::Encode.part(part), split, &work.folder.join(&name))?;
            pieces.push((name, chunk.duration_us));
        }
        if split.has_sound {
            self.piece(run, TaskKind::Sound.whole(), split, &work.folder.join(SOUND))?;
        }
        work.reporter.progress(0.1, "joining");
        work.join(&pieces, split.has_sound.then_some(SOUND), OUTPUT).await?;
        let output = look(work).await?;
        let frames = split.chunks.iter().map(|chunk| chunk.frames).sum();
        match verify(work.media, &output, Some(frames), true) {
            Ok(()) => Ok(output),
            Err(error) => Err(Unjoined::Unfit(error.message)),
        }
    }

    /// Puts one piece into the folder.
    fn piece(&self, run: &TaskRun, task: TaskId, split: &Split, file: &Path) -> Result<(), Unjoined> {
        let unfit = |why: &str| Err(Unjoined::Unfit(format!("{task} of {} chunks {why}", split.chunks.len())));
        let Some(result) = run.results.get(&task) else { return unfit("was not done") };
        if result.get("recipe").and_then(Value::as_str) != Some(&split.recipe) {
            return unfit("was done with other settings");
        }
        let Some(hash) = result.get("blob").and_then(Value::as_str).and_then(BlobHash::parse) else {
            return unfit("has not the planned number of frames");
        };
        match fs::remove_file(file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // Of an earlier attempt, if there was one.
            Err(error) => return Err(failure::storage(&error).into()),
        }
        // A second name for the blob's file: nothing is copied, and the tool may read it there.
        fs::hard_link(self.blobs.path(&hash), file).map_err(|error| failure::absent(&error).into())
    }
}

/// Encodes everything anew, however many frames that makes. Pictures and sound are a checkpoint each.
async fn one_pass(work: &Work<'_>, run: &TaskRun, source: &Source) -> Result<(), TaskError> {
    let recipe = json!(["one pass", work.args]).to_string();
    let mut ledger = Ledger::resume(run.checkpoint.as_ref(), work.folder, source.hash.as_str(), &recipe).await?;
    let video = work.media.video.as_ref().filter(|_| !work.media.packets.is_empty());
    if let Some(video) = video.filter(|_| !ledger.has(WHOLE)) {
        let total = count(work.media);
        let mut report = |progress: Progress| report(work.reporter, progress.frame, total, "encoding in one pass");
        if work.pictures(video, Piece::Whole, WHOLE, &mut report).await? == 0 {
            return Err(failure::unreadable("none of its pictures can be decoded"));
        }
        ledger.finish(WHOLE, work.reporter).await?;
    }
    if let Some(audio) = work.media.audio.as_ref().filter(|_| !ledger.has(SOUND)) {
        work.reporter.progress(0.9, "encoding sound");
        work.sound(audio, SOUND).await?;
        ledger.finish(SOUND, work.reporter).await?;
    }
    work.reporter.progress(0.95, "joining");
    let pieces: Vec<_> = video.map(|_| (WHOLE.to_owned(), None)).into_iter().collect();
    work.join(&pieces, work.media.audio.as_ref().map(|_| SOUND), OUTPUT).await
}

async fn look(work: &Work<'_>) -> Result<Media, TaskError> {
    work.reporter.progress(0.97, "checking");
    work.tools.inspect(&work.folder.join(part(OUTPUT)), work.reporter).await
}

fn count(media: &Media) -> u64 {
    u64::try_from(media.packets.len()).expect("a count fits in 64 bits")
}

fn described(source: &Media, output: &Media, how: &How, hash: &str, bytes: u64) -> Value {
    let missing_frames = match &source.video {
        Some(_) => source.packets.len().saturating_sub(output.packets.len()),
        None => 0,
    };
    let (chunks, pass_through, one_pass) = match how {
        How::PassThrough => (0, true, None),
        How::Joined { chunks } => (*chunks, false, None),
        How::OnePass(reason) => (usize::from(output.video.is_some()), false, reason.as_deref()),
    };
    json!({
        "status": if missing_frames > 0 { "partial" } else { completeness(source) },
        "blob": hash,
        "bytes": bytes,
        "duration_ms": output.duration_us / 1000,
        "width": output.video.as_ref().map(|video| video.width),
        "height": output.video.as_ref().map(|video| video.height),
        "video_codec": output.video.as_ref().map(|video| &video.codec),
        "audio_codec": output.audio.as_ref().map(|audio| &audio.codec),
        "chunks": chunks,
        "pass_through": pass_through,
        "one_pass": one_pass,
        "missing_ms": source.missing_us / 1000,
        "missing_frames": missing_frames,
    })
}

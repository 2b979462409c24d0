//! Makes an MP4 (H.264, AAC) that every browser plays: as it is when it may stay so, else encoded chunk by chunk.
//!
//! Result: `{"status": "complete"|"partial", "blob", "bytes", "duration_ms", "width", "height", "video_codec",
//! "audio_codec", "chunks", "pass_through", "missing_ms", "missing_frames"}`; width, height and a codec are null for a
//! recording without that track. Each finished chunk is a checkpoint.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::decide::reasons;
use super::encode::{Piece, Work};
use super::inspect::{Media, Video};
use super::ledger::{Ledger, part};
use super::plan::{Chunk, plan};
use super::probe::completeness;
use super::source::{self, Source};
use super::tools::{Progress, Tools};
use super::verify::verify;
use super::{failure, picture};
use crate::blob::BlobStore;
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// Changes when the encoder's settings do: chunks of another version must not be joined with new ones.
const RECIPE_VERSION: u32 = 1;
const OUTPUT: &str = "output.mp4";
const SOUND: &str = "sound.m4a";
const WHOLE: &str = "whole.mp4";
/// The share of the work that is pictures, in percent; the rest is sound, joining and checking.
const PICTURES_PERCENT: u64 = 90;

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

/// What was made, before it is checked.
struct Made {
    chunks: usize,
    /// Planned frames; none when the source's own count is wrong.
    frames: Option<u64>,
    encoded: bool,
}

impl NormalizeRunner {
    async fn normalize(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let source = source::source(run, &self.blobs)?;
        let folder = source::work_folder(run)?;
        reporter.progress(0.0, "probing");
        let media = self.tools.inspect(&source.path, reporter).await?;
        let work = Work { tools: &self.tools, input: &source.path, folder: &folder, media: &media, reporter };
        let made = if reasons(&media).is_empty() {
            work.remux(OUTPUT).await?;
            Made { chunks: 0, frames: Some(count(media.packets.len())), encoded: false }
        } else {
            self.encode(&work, run, &source).await?
        };
        reporter.progress(0.97, "checking");
        let file = folder.join(part(OUTPUT));
        let output = self.tools.inspect(&file, reporter).await?;
        let frames = made.frames.filter(|_| media.missing_us == 0 || made.encoded);
        verify(&media, &output, frames, made.encoded)?;
        let blob = source::keep(&self.blobs, &file).await?;
        Ok(described(&media, &output, &made, blob.hash.as_str(), blob.bytes))
    }

    async fn encode(&self, work: &Work<'_>, run: &TaskRun, source: &Source) -> Result<Made, TaskError> {
        let config = &self.tools.config;
        let micros = |seconds: u32| i64::from(seconds) * 1_000_000;
        let (target_us, below_us) = (micros(config.chunk_seconds), micros(config.one_chunk_below_seconds));
        let video = work.media.video.as_ref().filter(|_| !work.media.packets.is_empty());
        let chunks =
            video.map_or_else(Vec::new, |video| plan(&work.media.packets, video.time_base, target_us, below_us));
        let recipe = recipe(&chunks, video);
        let mut ledger = Ledger::resume(run.checkpoint.as_ref(), work.folder, source.hash.as_str(), &recipe).await?;
        if ledger.len() > 0 {
            work.reporter.progress(0.0, format!("going on after {} finished pieces", ledger.len()));
        }
        let pieces = match video {
            Some(video) => pictures(work, video, &chunks, &mut ledger).await?,
            None => vec![],
        };
        if let Some(audio) = work.media.audio.as_ref().filter(|_| !ledger.has(SOUND)) {
            work.reporter.progress(0.9, "encoding sound");
            work.sound(audio, SOUND).await?;
            ledger.finish(SOUND, work.reporter).await?;
        }
        work.reporter.progress(0.95, "joining");
        work.join(&pieces, work.media.audio.as_ref().map(|_| SOUND), OUTPUT).await?;
        let whole = pieces.first().is_some_and(|(name, _)| name == WHOLE);
        let frames = (!whole).then(|| chunks.iter().map(|chunk| chunk.frames).sum());
        Ok(Made { chunks: pieces.len(), frames, encoded: true })
    }
}

/// Encodes what is not finished yet; answers the picture files in order, with their durations.
async fn pictures(
    work: &Work<'_>,
    video: &Video,
    chunks: &[Chunk],
    ledger: &mut Ledger,
) -> Result<Vec<(String, Option<i64>)>, TaskError> {
    let total: u64 = chunks.iter().map(|chunk| chunk.frames).sum();
    let mut before = 0;
    let mut pieces = vec![];
    let apart = !work.media.untimed && !ledger.has(WHOLE);
    for (index, chunk) in chunks.iter().enumerate().filter(|_| apart) {
        let name = format!("chunk_{index:05}.mp4");
        if !ledger.has(&name) {
            let note = format!("encoding chunk {} of {}", index + 1, chunks.len());
            let mut report = |progress: Progress| report(work.reporter, before + progress.frame, total, &note);
            if !encoded_exactly(work, video, index, chunk, &name, &mut report).await? {
                return whole(work, video, total, ledger).await;
            }
            ledger.finish(&name, work.reporter).await?;
        }
        before += chunk.frames;
        pieces.push((name, chunk.duration_us));
    }
    if pieces.is_empty() { whole(work, video, total, ledger).await } else { Ok(pieces) }
}

/// Encodes a chunk; false when it does not come out with the planned number of frames.
async fn encoded_exactly(
    work: &Work<'_>,
    video: &Video,
    index: usize,
    chunk: &Chunk,
    name: &str,
    report: &mut (dyn FnMut(Progress) + Send),
) -> Result<bool, TaskError> {
    if index == 0 {
        return Ok(work.pictures(video, Piece::First(chunk), name, report).await? == chunk.frames);
    }
    // Clocks in whole milliseconds may put the key frame just before the place sought.
    for early_us in [0, video.frame_us / 2] {
        if work.pictures(video, Piece::Chunk { chunk, early_us }, name, report).await? == chunk.frames {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Encodes all pictures in one piece: for damaged files, whose packets are not all frames.
async fn whole(
    work: &Work<'_>,
    video: &Video,
    total: u64,
    ledger: &mut Ledger,
) -> Result<Vec<(String, Option<i64>)>, TaskError> {
    if !ledger.has(WHOLE) {
        let mut report = |progress: Progress| report(work.reporter, progress.frame, total, "encoding in one piece");
        if work.pictures(video, Piece::Whole, WHOLE, &mut report).await? == 0 {
            return Err(failure::unreadable("none of its pictures can be decoded"));
        }
        ledger.finish(WHOLE, work.reporter).await?;
    }
    Ok(vec![(WHOLE.to_owned(), None)])
}

fn report(reporter: &Reporter, frames: u64, total: u64, note: &str) {
    let percent = (frames * PICTURES_PERCENT / total.max(1)).min(PICTURES_PERCENT);
    reporter.progress(f32::from(u8::try_from(percent).expect("a percentage is small")) / 100.0, note);
}

fn count(packets: usize) -> u64 {
    u64::try_from(packets).expect("a count fits in 64 bits")
}

/// Names everything the finished pieces depend on, besides the source.
fn recipe(chunks: &[Chunk], video: Option<&Video>) -> String {
    let all = json!([RECIPE_VERSION, chunks, video.map(picture::filters)]).to_string();
    blake3::hash(all.as_bytes()).to_hex()[..16].to_owned()
}

fn described(source: &Media, output: &Media, made: &Made, hash: &str, bytes: u64) -> Value {
    let missing_frames = match &source.video {
        Some(_) => source.packets.len().saturating_sub(output.packets.len()),
        None => 0,
    };
    let partial = missing_frames > 0;
    json!({
        "status": if partial { "partial" } else { completeness(source) },
        "blob": hash,
        "bytes": bytes,
        "duration_ms": output.duration_us / 1000,
        "width": output.video.as_ref().map(|video| video.width),
        "height": output.video.as_ref().map(|video| video.height),
        "video_codec": output.video.as_ref().map(|video| &video.codec),
        "audio_codec": output.audio.as_ref().map(|audio| &audio.codec),
        "chunks": made.chunks,
        "pass_through": !made.encoded,
        "missing_ms": source.missing_us / 1000,
        "missing_frames": missing_frames,
    })
}

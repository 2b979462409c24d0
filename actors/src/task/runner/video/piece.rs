//! Encodes one piece of a recording that is spread over tasks: the pictures of a chunk, or the whole sound.
//!
//! Result: `{"blob", "bytes", "frames", "recipe"}`, `frames` null for sound; `blob` is null when the chunk does not come
//! out with the planned number of frames, and the recording must be encoded in one pass, or when nobody needs it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::encode::{Piece, Work};
use super::inspect::Video;
use super::ledger::part;
use super::plan::Chunk;
use super::source;
use super::split::Split;
use super::tools::{Progress, Tools};
use super::{EncoderArgs, failure};
use crate::blob::BlobStore;
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

const PIECE: &str = "piece.mp4";

pub(super) struct PieceRunner {
    pub tools: Arc<Tools>,
    pub blobs: BlobStore,
}

impl Runner for PieceRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Encode, TaskKind::Sound]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.tools.are_here() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.piece(run, reporter))
    }
}

impl PieceRunner {
    async fn piece(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let number = usize::from(run.task.part);
        // A job that is done anew may find another recording, that needs no such piece: `normalize` goes on without it.
        let unneeded = || Ok(json!({ "blob": null, "bytes": 0, "frames": null, "recipe": null }));
        let Some(split) = Split::found(run)?.filter(|split| number <= split.chunks.len()) else { return unneeded() };
        let args = EncoderArgs::of_input(&run.input).map_err(failure::input_invalid)?;
        let source = source::source(run, &self.blobs)?;
        let folder = source::work_folder(run)?;
        let mut media = self.tools.look(&source.path, reporter).await?;
        // Headers may be wrong or silent; the probe has seen the packets.
        media.duration_us = duration_us(run).unwrap_or(media.duration_us);
        let work =
            Work { tools: &self.tools, input: &source.path, folder: &folder, media: &media, args: &args, reporter };
        let frames = match (run.task.kind, &media.video, &media.audio) {
            (TaskKind::Sound, _, Some(audio)) => {
                work.sound(audio, PIECE).await?;
                None
            }
            (TaskKind::Encode, Some(video), _) => {
                let index = number.checked_sub(1);
                let Some(chunk) = index.and_then(|index| Some((index, split.chunks.get(index)?))) else {
                    return unneeded();
                };
                if !encoded_exactly(&work, video, chunk).await? {
                    return Ok(json!({ "blob": null, "bytes": 0, "frames": null, "recipe": split.recipe }));
                }
                Some(chunk.1.frames)
            }
            (_, _, _) => return Err(failure::unreadable("the track that was probed is not there")),
        };
        let blob = source::keep(&self.blobs, &folder.join(part(PIECE))).await?;
        Ok(json!({ "blob": blob.hash.as_str(), "bytes": blob.bytes, "frames": frames, "recipe": split.recipe }))
    }
}

/// Encodes a chunk; false when it does not come out with the planned number of frames.
async fn encoded_exactly(work: &Work<'_>, video: &Video, chunk: (usize, &Chunk)) -> Result<bool, TaskError> {
    let (index, chunk) = chunk;
    let frames = chunk.frames;
    let mut report = |progress: Progress| report(work.reporter, progress.frame, frames, "encoding");
    if index == 0 {
        return Ok(work.pictures(video, Piece::First(chunk), PIECE, &mut report).await? == frames);
    }
    // Clocks in whole milliseconds may put the key frame just before the place sought.
    for early_us in [0, video.frame_us / 2] {
        if work.pictures(video, Piece::Chunk { chunk, early_us }, PIECE, &mut report).await? == frames {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Says how many of the frames are encoded.
pub(super) fn report(reporter: &Reporter, frames: u64, total: u64, note: &str) {
    let percent = u8::try_from((frames * 100 / total.max(1)).min(99)).unwrap_or(99);
    reporter.progress(f32::from(percent) / 100.0, note);
}

fn duration_us(run: &TaskRun) -> Option<i64> {
    run.results.get(&TaskKind::Probe.whole())?.get("duration_ms")?.as_i64()?.checked_mul(1_000)
}

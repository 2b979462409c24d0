//! Cuts a piece out of a recording, to the frame: from the first frame at or after `start_ms` to the last before `end_ms`.
//!
//! Result: `{"status": "complete", "blob", "bytes", "start_ms", "end_ms", "duration_ms", "frames", "width", "height"}`;
//! `frames`, width and height are null for a recording without pictures.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::encode::{Range, Work};
use super::inspect::Media;
use super::ledger::part;
use super::source;
use super::tools::Tools;
use super::{EncoderArgs, failure, piece};
use crate::blob::BlobStore;
use crate::domain::job::ClipAsked;
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

const OUTPUT: &str = "clip.mp4";
/// How far a track of the clip may start from its beginning: the least that people notice.
const LATE_US_MAX: i64 = 33_000;

pub(super) struct ClipRunner {
    pub tools: Arc<Tools>,
    pub blobs: BlobStore,
}

impl Runner for ClipRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Clip]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.tools.are_here() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.clip(run, reporter))
    }
}

/// What is cut out, on the recording's time from its start, and how many frames that is.
fn range(media: &Media, asked: ClipAsked) -> Option<Range> {
    let micros = |ms: u64| i64::try_from(ms).ok()?.checked_mul(1_000);
    let (start_us, end_us) = (micros(asked.start_ms)?, micros(asked.end_ms)?.min(media.duration_us));
    let Some(video) = media.video.as_ref().filter(|_| !media.untimed) else {
        return (start_us < end_us).then_some(Range { start_us, end_us, frames: None });
    };
    let time_us = |pts: i64| video.time_base.us(pts) - media.start_us;
    let inside = media.packets.iter().map(|packet| time_us(packet.pts)).filter(|us| (start_us..end_us).contains(us));
    let times: Vec<i64> = inside.collect();
    let (first, last) = (*times.first()?, *times.last()?);
    Some(Range { start_us: first, end_us: last + video.frame_us, frames: u64::try_from(times.len()).ok() })
}

impl ClipRunner {
    async fn clip(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let asked = ClipAsked::of_input(&run.input).map_err(failure::input_invalid)?;
        let args = EncoderArgs::of_input(&run.input).map_err(failure::input_invalid)?;
        let source = source::source(run, &self.blobs)?;
        let folder = source::work_folder(run)?;
        reporter.progress(0.0, "probing");
        let media = self.tools.inspect(&source.path, reporter).await?;
        let none = || {
            failure::input_invalid(format!(
                "start_ms: nothing of the recording, {} ms long, is there",
                media.duration_us / 1000
            ))
        };
        let range = range(&media, asked).ok_or_else(none)?;
        let work =
            Work { tools: &self.tools, input: &source.path, folder: &folder, media: &media, args: &args, reporter };
        let total = range.frames.unwrap_or(1);
        let mut report = |progress: super::tools::Progress| piece::report(reporter, progress.frame, total, "encoding");
        work.range(range, OUTPUT, &mut report).await?;
        let output = self.tools.inspect(&folder.join(part(OUTPUT)), reporter).await?;
        check(&media, &output, range)?;
        let blob = source::keep(&self.blobs, &folder.join(part(OUTPUT))).await?;
        Ok(json!({
            "status": "complete",
            "blob": blob.hash.as_str(),
            "bytes": blob.bytes,
            "start_ms": range.start_us / 1000,
            "end_ms": range.end_us / 1000,
            "duration_ms": output.duration_us / 1000,
            "frames": range.frames,
            "width": output.video.as_ref().map(|video| video.width),
            "height": output.video.as_ref().map(|video| video.height),
        }))
    }
}

fn check(media: &Media, output: &Media, range: Range) -> Result<(), TaskError> {
    let wrong = |what: String| Err(failure::mismatch(format!("the clip is not what was planned: {what}")));
    if (media.video.is_some(), media.audio.is_some()) != (output.video.is_some(), output.audio.is_some()) {
        return wrong("a track is missing".to_owned());
    }
    let found = u64::try_from(output.packets.len()).unwrap_or(u64::MAX);
    if let Some(frames) = range.frames.filter(|frames| *frames != found) {
        return wrong(format!("{found} frames, {frames} planned"));
    }
    let starts = [output.video.as_ref().map(|video| video.start_us), output.audio.as_ref().map(|audio| audio.start_us)];
    if let Some(late) = starts.into_iter().flatten().find(|start| start.abs() > LATE_US_MAX) {
        return wrong(format!("a track starts at {late} us"));
    }
    Ok(())
}

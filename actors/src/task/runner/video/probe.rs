//! Looks at a recording and says what can be done with it.
//!
//! Result: `{"status": "complete"|"partial", "duration_ms", "missing_ms", "container", "video": {"codec", "width",
//! "height", "pixel_format", "frames", "rotation", "key_frame_gap_ms"} | null, "audio": {"codec", "channels",
//! "sample_rate", "start_ms"} | null, "decision": "pass_through"|"transcode", "reasons": [..],
//! "split": {"chunks", "has_sound", "recipe", "plan"} | null}`; `split` is there when the pictures are encoded in chunks.
//! What cannot be read fails with `media_unreadable` and the finding, once.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::decide::{key_frame_gap_us, reasons};
use super::inspect::Media;
use super::source;
use super::split::Split;
use super::tools::Tools;
use super::{EncoderArgs, failure};
use crate::blob::BlobStore;
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

pub(super) struct ProbeRunner {
    pub tools: Arc<Tools>,
    pub blobs: BlobStore,
}

impl Runner for ProbeRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Probe]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.tools.are_here() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(async move {
            let source = source::source(run, &self.blobs)?;
            reporter.progress(0.0, "probing");
            let media = self.tools.inspect(&source.path, reporter).await?;
            let args = EncoderArgs::of_input(&run.input).map_err(failure::input_invalid)?;
            let split = Split::of(&media, &args, &self.tools.config);
            Ok(described(&media, split.as_ref()))
        })
    }
}

/// `complete`, or `partial` when the file declares more than it holds.
pub(super) fn completeness(media: &Media) -> &'static str {
    if media.missing_us > 0 { "partial" } else { "complete" }
}

fn described(media: &Media, split: Option<&Split>) -> Value {
    let reasons = reasons(media);
    let video = media.video.as_ref().map(|video| {
        json!({
            "codec": video.codec,
            "width": video.width,
            "height": video.height,
            "pixel_format": video.pixel_format,
            "frames": media.packets.len(),
            "rotation": video.rotation,
            "key_frame_gap_ms": key_frame_gap_us(media) / 1000,
        })
    });
    let audio = media.audio.as_ref().map(|audio| {
        json!({
            "codec": audio.codec,
            "channels": audio.channels,
            "sample_rate": audio.sample_rate,
            "start_ms": (audio.start_us - media.start_us) / 1000,
        })
    });
    json!({
        "status": completeness(media),
        "duration_ms": media.duration_us / 1000,
        "missing_ms": media.missing_us / 1000,
        "container": media.container,
        "video": video,
        "audio": audio,
        "decision": if reasons.is_empty() { "pass_through" } else { "transcode" },
        "reasons": reasons,
        "split": split.map(Split::described),
    })
}

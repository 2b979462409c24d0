//! Makes a still picture: not the first frame, which is often black, but one a tenth into the recording.
//!
//! Result: `{"status": "ok", "blob", "bytes", "content_type": "image/jpeg", "width", "height", "at_ms"}`, or
//! `{"status": "unavailable", "reason": "no video"}`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::inspect::{Media, Video};
use super::ledger::part;
use super::source::{self, Source};
use super::tools::{Call, Tools, input_args};
use super::{failure, picture};
use crate::blob::BlobStore;
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// The earliest useful moment.
const AT_US_MIN: i64 = 1_000_000;

pub(super) struct ThumbnailRunner {
    pub tools: Arc<Tools>,
    pub blobs: BlobStore,
}

impl Runner for ThumbnailRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Thumbnail]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.tools.are_here() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.thumbnail(run, reporter))
    }
}

impl ThumbnailRunner {
    async fn thumbnail(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let source = source::source(run, &self.blobs)?;
        let folder = source::work_folder(run)?;
        reporter.progress(0.0, "probing");
        let media = self.tools.inspect(&source.path, reporter).await?;
        let Some(video) = &media.video else {
            return Ok(json!({ "status": "unavailable", "reason": "no video" }));
        };
        let later_us = (media.duration_us / 10).max(AT_US_MIN);
        let mut at_us = if later_us < media.duration_us { later_us } else { 0 };
        let name = "thumbnail.jpg";
        let mut frames = self.still(&source, &media, video, at_us, &folder.join(part(name)), reporter).await?;
        if frames == 0 && at_us > 0 {
            // The pictures may end before the sound does.
            at_us = 0;
            frames = self.still(&source, &media, video, at_us, &folder.join(part(name)), reporter).await?;
        }
        if frames == 0 {
            return Err(failure::unreadable("none of its pictures can be decoded"));
        }
        let blob = source::keep(&self.blobs, &folder.join(part(name))).await?;
        let (width, height) = picture::size(video);
        Ok(json!({
            "status": "ok",
            "blob": blob.hash.as_str(),
            "bytes": blob.bytes,
            "content_type": "image/jpeg",
            "width": width,
            "height": height,
            "at_ms": at_us / 1000,
        }))
    }

    async fn still(
        &self,
        source: &Source,
        media: &Media,
        video: &Video,
        at_us: i64,
        file: &std::path::Path,
        reporter: &Reporter,
    ) -> Result<u64, TaskError> {
        let folder = file.parent().expect("the file lies in the task's folder");
        let name = file.file_name().and_then(|name| name.to_str()).expect("the name is ours");
        let mut args = vec!["-threads".to_owned(), "1".to_owned()];
        args.extend(["-ss".to_owned(), format!("{}us", at_us)]);
        args.extend(input_args(&source.path));
        args.extend(["-map".to_owned(), format!("0:{}", video.index), "-vf".to_owned(), picture::filters(video)]);
        let output = ["-frames:v", "1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "3", "-f", "mjpeg", name];
        args.extend(output.map(str::to_owned));
        let call = Call { args, input: Some(&source.path), folder, length: media.length() };
        Ok(self.tools.ffmpeg(call, reporter, &mut |_| {}).await?.frame)
    }
}

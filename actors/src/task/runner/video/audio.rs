//! Makes the sound that speech engines take: 16 kHz, one channel, or a file for each channel of the recording.
//!
//! Input beside the recording: `channels` (`mono`, the default, or `split`), `format` (`wav`, the default, or `flac`).
//! Result: `{"status": "ok", "sample_rate", "duration_ms", "format", "files": [{"channel", "bytes"}], "blobs": [..]}`,
//! `blobs` in the order of `files`, `channel` null for all channels mixed; or `{"status": "unavailable", "reason": "no
//! audio"}`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::encode::{Work, words};
use super::inspect::Audio;
use super::ledger::part;
use super::source;
use super::speech::SAMPLE_RATE;
use super::tools::{Progress, Tools, input_args};
use super::{EncoderArgs, failure, piece};
use crate::blob::BlobStore;
use crate::domain::job::SoundAsked;
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// The most channels that are taken apart.
const CHANNELS_MAX: u32 = 8;

pub(super) struct AudioRunner {
    pub tools: Arc<Tools>,
    pub blobs: BlobStore,
}

impl Runner for AudioRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Audio]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.tools.are_here() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.audio(run, reporter))
    }
}

impl AudioRunner {
    async fn audio(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let asked = SoundAsked::of_input(&run.input).map_err(failure::input_invalid)?;
        let source = source::source(run, &self.blobs)?;
        let folder = source::work_folder(run)?;
        reporter.progress(0.0, "probing");
        let media = self.tools.inspect(&source.path, reporter).await?;
        let Some(audio) = &media.audio else {
            return Ok(json!({ "status": "unavailable", "reason": "no audio" }));
        };
        let channels: Vec<Option<u32>> = match asked.split {
            true if audio.channels > CHANNELS_MAX => {
                return Err(failure::unsupported(format!("more than {CHANNELS_MAX} channels")));
            }
            true => (0..audio.channels).map(Some).collect(),
            false => vec![None],
        };
        let args = EncoderArgs::default();
        let work =
            Work { tools: &self.tools, input: &source.path, folder: &folder, media: &media, args: &args, reporter };
        let total = u64::try_from(media.duration_us).unwrap_or_default();
        let mut report = |progress: Progress| {
            piece::report(reporter, u64::try_from(progress.out_us).unwrap_or_default(), total, "reading the sound");
        };
        work.call(arguments(&work, audio, asked, &channels), &mut report).await?;
        let (mut files, mut blobs, mut duration_us) = (vec![], vec![], 0);
        for (index, channel) in channels.into_iter().enumerate() {
            let file = folder.join(name(index));
            duration_us = self.tools.inspect(&file, reporter).await?.duration_us;
            let blob = source::keep(&self.blobs, &file).await?;
            files.push(json!({ "channel": channel, "bytes": blob.bytes }));
            blobs.push(blob.hash.as_str().to_owned());
        }
        Ok(json!({
            "status": "ok",
            "sample_rate": SAMPLE_RATE,
            "duration_ms": duration_us / 1000,
            "format": asked.format(),
            "files": files,
            "blobs": blobs,
        }))
    }
}

fn name(index: usize) -> String {
    part(&format!("sound-{index}"))
}

/// Sound that starts late keeps its place: silence is put before it.
fn arguments(work: &Work<'_>, audio: &Audio, asked: SoundAsked, channels: &[Option<u32>]) -> Vec<String> {
    let mut args: Vec<String> = words("-threads 1").collect();
    args.extend(input_args(work.input));
    for (index, channel) in channels.iter().enumerate() {
        let pick = channel.map(|channel| format!("pan=mono|c0=c{channel},")).unwrap_or_default();
        args.extend(words(&format!("-map 0:{} -vn -sn -dn -ac 1 -af", audio.index)));
        args.push(format!("{pick}aresample={SAMPLE_RATE}:async=1:first_pts=0"));
        let codec = if asked.is_flac { "flac" } else { "pcm_s16le" };
        args.extend(words(&format!("-sample_fmt s16 -c:a {codec} -map_metadata -1 -bitexact -f {}", asked.format())));
        args.push(name(index));
    }
    args
}

//! The ffmpeg calls that make a normalised recording: chunks of the picture, the whole sound, and the join.
//!
//! # Decisions
//! - Workers read the whole input and seek to a key frame. A file cut into segments first breaks open groups of
//!   pictures at the edges and shifts variable frame rates by up to 120 ms.
//! - Sound is encoded in one piece: each cut would add the encoder's silence, 8 to 27 ms.
//! - One thread: a task takes one core's slot, and a chunk's bytes then do not depend on the machine.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::inspect::{Audio, Media, Video};
use super::ledger::part;
use super::plan::Chunk;
use super::tools::{Call, Progress, Tools, input_args};
use super::{EncoderArgs, failure, picture};
use crate::task::runner::{Reporter, TaskError};

/// Seconds between key frames.
pub(super) const KEY_FRAME_SECONDS: i64 = 2;
/// Ticks of the output's clock in a second.
const TIMESCALE: &str = "90000";
/// What the joined list may name: our own chunks.
const JOINED_FORMATS: &str = "concat,mov,mp4,m4a,3gp,3g2,mj2";

/// One recording being worked on.
pub(super) struct Work<'a> {
    pub tools: &'a Tools,
    pub input: &'a Path,
    pub folder: &'a Path,
    pub media: &'a Media,
    pub args: &'a EncoderArgs,
    pub reporter: &'a Reporter,
}

/// A piece of a recording, on its time from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// When its first frame is shown.
    pub start_us: i64,
    pub end_us: i64,
    /// None: there are no pictures to count.
    pub frames: Option<u64>,
}

/// Which frames to encode.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    /// A chunk that starts at a key frame; `early_us` seeks before it, for files whose times are imprecise.
    Chunk { chunk: &'a Chunk, early_us: i64 },
    /// The beginning: no seek is needed.
    First(&'a Chunk),
    /// Everything there is, however many frames that makes.
    Whole,
}

pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split_whitespace().map(str::to_owned)
}

/// Microseconds as ffmpeg reads them.
fn seconds(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    format!("{sign}{}.{:06}", us.unsigned_abs() / 1_000_000, us.unsigned_abs() % 1_000_000)
}

impl Work<'_> {
    /// Encodes pictures into a part file; answers how many.
    pub(super) async fn pictures(
        &self,
        video: &Video,
        piece: Piece<'_>,
        name: &str,
        on_progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<u64, TaskError> {
        let mut args: Vec<String> = words("-threads 1 -filter_threads 1").collect();
        let frames = match piece {
            Piece::Chunk { chunk, early_us } => {
                args.extend(["-ss".to_owned(), seconds(chunk.start_us - self.media.start_us - early_us)]);
                Some(chunk.frames)
            }
            Piece::First(chunk) => Some(chunk.frames),
            Piece::Whole => None,
        };
        args.extend(input_args(self.input));
        args.extend(words(&format!("-map 0:{} -an -sn -dn", video.index)));
        args.extend(frames.iter().flat_map(|frames| ["-frames:v".to_owned(), frames.to_string()]));
        args.extend(["-vf".to_owned(), picture::filters(video)]);
        args.extend(words("-fps_mode passthrough -enc_time_base -1"));
        args.extend(self.encoder(video));
        args.extend(words(&format!("-map_metadata -1 -video_track_timescale {TIMESCALE} -f mp4 {}", part(name))));
        Ok(self.call(args, on_progress).await?.frame)
    }

    /// Encodes the whole sound into a part file. Sound that starts late keeps its place: silence is put before it.
    pub(super) async fn sound(&self, audio: &Audio, name: &str) -> Result<(), TaskError> {
        let mut args: Vec<String> = words("-threads 1").collect();
        args.extend(input_args(self.input));
        args.extend(words(&format!("-map 0:{} -vn -sn -dn -af aresample=async=1:first_pts=0", audio.index)));
        args.extend(words("-c:a aac -b:a 96k -ac 2 -ar 48000"));
        args.extend(self.args.audio.iter().cloned());
        args.extend(words("-map_metadata -1 -f mp4"));
        args.push(part(name));
        self.call(args, &mut |_| {}).await.map(|_| ())
    }

    /// Encodes pictures and sound of a piece into a part file.
    pub(super) async fn range(
        &self,
        range: Range,
        name: &str,
        on_progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), TaskError> {
        let mut args: Vec<String> = words("-threads 1 -filter_threads 1 -ss").collect();
        args.push(seconds(range.start_us));
        args.extend(input_args(self.input));
        let mut length_us = range.end_us - range.start_us;
        if let Some(video) = &self.media.video {
            // The frame that starts where the piece ends is not in it, however its time is rounded.
            length_us -= video.frame_us / 2;
            args.extend(words(&format!("-map 0:{} -vf", video.index)));
            args.push(picture::timed_filters(video));
            args.extend(words("-fps_mode passthrough -enc_time_base -1"));
            args.extend(self.encoder(video));
        }
        if let Some(audio) = &self.media.audio {
            args.extend(words(&format!("-map 0:{} -af aresample=async=1:first_pts=0", audio.index)));
            args.extend(words("-c:a aac -b:a 96k -ac 2 -ar 48000"));
            args.extend(self.args.audio.iter().cloned());
        }
        args.extend(["-t".to_owned(), seconds(length_us)]);
        args.extend(words("-sn -dn -map_metadata -1 -movflags +faststart"));
        args.extend(words(&format!("-video_track_timescale {TIMESCALE} -f mp4 {}", part(name))));
        self.call(args, on_progress).await.map(|_| ())
    }

    /// The encoder of pictures, with what the client asked for.
    fn encoder(&self, video: &Video) -> Vec<String> {
        let mut args: Vec<String> =
            words("-c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p -profile:v high").collect();
        args.extend(words("-threads 1 -sc_threshold 0 -force_key_frames"));
        args.push(format!("expr:gte(t,n_forced*{KEY_FRAME_SECONDS})"));
        args.extend(self.args.video.iter().cloned());
        if video.hdr {
            args.extend(words("-colorspace bt709 -color_primaries bt709 -color_trc bt709"));
        }
        args
    }

    /// Puts the streams into an MP4 as they are.
    pub(super) async fn remux(&self, name: &str) -> Result<(), TaskError> {
        let mut args = input_args(self.input);
        let streams = [self.media.video.as_ref().map(|v| v.index), self.media.audio.as_ref().map(|a| a.index)];
        args.extend(streams.into_iter().flatten().flat_map(|index| ["-map".to_owned(), format!("0:{index}")]));
        args.extend(words("-c copy -map_metadata -1 -movflags +faststart -f mp4"));
        args.push(part(name));
        self.call(args, &mut |_| {}).await.map(|_| ())
    }

    /// Joins finished pieces into a part file. `chunks` holds each picture file and how long it lasts.
    pub(super) async fn join(
        &self,
        chunks: &[(String, Option<i64>)],
        sound: Option<&str>,
        name: &str,
    ) -> Result<(), TaskError> {
        let mut list = "ffconcat version 1.0\n".to_owned();
        for (chunk, duration_us) in chunks {
            writeln!(list, "file {chunk}").expect("a text grows");
            if let Some(us) = duration_us {
                writeln!(list, "duration {}", seconds(*us)).expect("a text grows");
            }
        }
        fs::write(self.folder.join("list.txt"), list).map_err(|error| failure::storage(&error))?;
        let mut args: Vec<String> = vec![];
        if !chunks.is_empty() {
            let delay_us = self.media.video.as_ref().map_or(0, |video| video.start_us - self.media.start_us);
            args.extend(["-itsoffset".to_owned(), seconds(delay_us.max(0))]);
            args.extend(words(&format!("-protocol_whitelist file -format_whitelist {JOINED_FORMATS}")));
            args.extend(words("-f concat -safe 1 -i list.txt"));
        }
        args.extend(sound.iter().flat_map(|sound| ["-i".to_owned(), (*sound).to_owned()]));
        let inputs = usize::from(!chunks.is_empty()) + usize::from(sound.is_some());
        args.extend((0..inputs).flat_map(|input| ["-map".to_owned(), input.to_string()]));
        args.extend(words(&format!("-c copy -movflags +faststart -video_track_timescale {TIMESCALE} -f mp4")));
        args.push(part(name));
        self.call(args, &mut |_| {}).await.map(|_| ())
    }

    /// Runs ffmpeg on this recording, in this folder.
    pub(super) async fn call(
        &self,
        args: Vec<String>,
        on_progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Progress, TaskError> {
        let call = Call { args, input: Some(self.input), folder: self.folder, length: self.media.length() };
        self.tools.ffmpeg(call, self.reporter, on_progress).await
    }
}

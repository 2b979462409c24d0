//! Makes an HLS ladder of the normalised recording: its own picture as it is, smaller ones beside it, the sound once.
//!
//! Result: `{"status": "ok", "blob", "bytes", "duration_ms", "segments", "renditions": [{"width", "height", "bandwidth",
//! "average_bandwidth", "codec", "playlist", "media", "media_bytes"}], "blobs": [..]}`; `blob` is the master playlist,
//! `blobs` are all others, and width and height are null for sound. Each rendition is one fMP4 file read by ranges.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::encode::{Work, words};
use super::inspect::{Media, Video};
use super::playlist::{AAC_CODEC, MediaPlaylist, Rendition, h264_codec, master};
use super::source;
use super::tools::{Progress, Tools, input_args};
use super::{EncoderArgs, failure, piece};
use crate::blob::{Blob, BlobStore};
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// The short sides of the smaller pictures; those not well below the source's are left out.
const RUNGS: [u32; 4] = [720, 480, 360, 240];
const RUNGS_MAX: usize = 3;
/// How they are encoded; no key frames but those of the source.
const RUNG_ENCODER: &str =
    "-c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p -profile:v high -threads 1 -sc_threshold 0 -g 9999";
/// What segments aim at; they end at key frames.
const SEGMENT_SECONDS: u32 = 6;
/// How far the segments of two renditions may be apart: times are written in whole microseconds.
const APART_US_MAX: i64 = 1_000;
/// What is read of a file to find its configuration.
const HEAD_BYTES: u64 = 64 << 10;

pub(super) struct HlsRunner {
    pub tools: Arc<Tools>,
    pub blobs: BlobStore,
}

impl Runner for HlsRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Hls]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.tools.are_here() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.ladder(run, reporter))
    }
}

/// Width and height of each smaller picture.
fn rungs(video: &Video) -> Vec<(u32, u32)> {
    let (width, height) = (u64::from(video.width), u64::from(video.height));
    let short = width.min(height).max(1);
    let lower = RUNGS.into_iter().map(u64::from).filter(|rung| rung * 10 <= short * 8);
    let even = |side: u64| u32::try_from((side / 2 * 2).max(2)).expect("it is smaller than the source's");
    lower.map(|rung| (even(width * rung / short), even(height * rung / short))).take(RUNGS_MAX).collect()
}

impl HlsRunner {
    async fn ladder(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let source = source::normalized(run, &self.blobs)?;
        let folder = source::work_folder(run)?;
        reporter.progress(0.0, "probing");
        let media = self.tools.inspect(&source.path, reporter).await?;
        let args = EncoderArgs::of_input(&run.input).map_err(failure::input_invalid)?;
        let work =
            Work { tools: &self.tools, input: &source.path, folder: &folder, media: &media, args: &args, reporter };
        let rungs = media.video.as_ref().map(rungs).unwrap_or_default();
        let total = u64::try_from(media.packets.len()).unwrap_or(u64::MAX);
        let mut report = |progress: Progress| piece::report(reporter, progress.frame, total, "encoding");
        work.call(arguments(&work, &rungs), &mut report).await?;
        reporter.progress(0.99, "checking");
        self.described(&work, &rungs).await
    }

    /// Keeps what was written, once it is checked: the files, then the playlists that name them, then the master.
    async fn described(&self, work: &Work<'_>, rungs: &[(u32, u32)]) -> Result<Value, TaskError> {
        let own = work.media.video.as_ref().map(|video| (video.width, video.height));
        let sizes: Vec<Option<(u32, u32)>> = own.into_iter().chain(rungs.iter().copied()).map(Some).collect();
        let sound = work.media.audio.as_ref().map(|_| None);
        let (mut renditions, mut shown, mut blobs) = (vec![], vec![], vec![]);
        let mut first: Option<MediaPlaylist> = None;
        for (index, size) in sizes.into_iter().chain(sound).enumerate() {
            let (file, list) = (format!("r{index}.mp4"), format!("r{index}.m3u8"));
            let codec = if size.is_some() { codec_of(&work.folder.join(&file))? } else { AAC_CODEC.to_owned() };
            let text = fs::read_to_string(work.folder.join(&list)).map_err(|error| failure::storage(&error))?;
            let media = source::keep(&self.blobs, &work.folder.join(&file)).await?;
            let read = MediaPlaylist::read(&text, &file, &format!("{}.mp4", media.hash.as_str()));
            let read = read.ok_or_else(|| failure::mismatch("a playlist is not what was planned"))?;
            check(work.media, &read, first.as_ref(), size.is_some())?;
            let playlist = self.keep_text(&work.folder.join(&list), read.text()).await?;
            shown.push(json!({
                "width": size.map(|(width, _)| width),
                "height": size.map(|(_, height)| height),
                "bandwidth": read.peak_bits,
                "average_bandwidth": read.average_bits(),
                "codec": codec,
                "playlist": playlist.hash.as_str(),
                "media": media.hash.as_str(),
                "media_bytes": media.bytes,
            }));
            blobs.extend([playlist.hash.as_str().to_owned(), media.hash.as_str().to_owned()]);
            let (peak_bits, average_bits) = (read.peak_bits, read.average_bits());
            renditions.push(Rendition {
                name: format!("{}.m3u8", playlist.hash.as_str()),
                codec,
                peak_bits,
                average_bits,
                size,
            });
            first.get_or_insert(read);
        }
        let (pictures, sounds): (Vec<_>, Vec<_>) = renditions.into_iter().partition(|one| one.size.is_some());
        let text = master(&pictures, sounds.first());
        let master = self.keep_text(&work.folder.join("master.m3u8"), &text).await?;
        Ok(json!({
            "status": "ok",
            "blob": master.hash.as_str(),
            "bytes": master.bytes,
            "duration_ms": work.media.duration_us / 1000,
            "segments": first.map_or(0, |first| first.ends_us.len()),
            "renditions": shown,
            "blobs": blobs,
        }))
    }

    async fn keep_text(&self, file: &Path, text: &str) -> Result<Blob, TaskError> {
        fs::write(file, text).map_err(|error| failure::storage(&error))?;
        source::keep(&self.blobs, file).await
    }
}

/// One decode for all smaller pictures, whose key frames are where the source's are: segments end together.
fn arguments(work: &Work<'_>, rungs: &[(u32, u32)]) -> Vec<String> {
    let mut args: Vec<String> = words("-threads 1 -filter_complex_threads 1").collect();
    args.extend(input_args(work.input));
    let mut streams = vec![];
    if let Some(video) = &work.media.video {
        if !rungs.is_empty() {
            let splits: String = (1..=rungs.len()).map(|rung| format!("[s{rung}]")).collect();
            let scale = |(rung, (width, height)): (usize, &(u32, u32))| {
                format!("[s{rung}]scale={width}:{height},setsar=1[v{rung}]")
            };
            let scales: Vec<String> = (1..).zip(rungs).map(scale).collect();
            args.push("-filter_complex".to_owned());
            args.push(format!("[0:{}]split={}{splits};{}", video.index, rungs.len(), scales.join(";")));
        }
        args.extend(words(&format!("-map 0:{} -c:v:0 copy", video.index)));
        streams.push("v:0".to_owned());
        let encoder: Vec<String> = words(RUNG_ENCODER).chain(work.args.video.iter().cloned()).collect();
        for rung in 1..=rungs.len() {
            args.extend(words(&format!("-map [v{rung}] -force_key_frames:v:{rung} source")));
            args.extend(of_stream(rung, &encoder));
            streams.push(format!("v:{rung}"));
        }
        args.extend(words("-fps_mode passthrough -enc_time_base -1"));
    }
    if let Some(audio) = &work.media.audio {
        args.extend(words(&format!("-map 0:{} -c:a copy", audio.index)));
        streams.push("a:0".to_owned());
    }
    args.extend(words("-map_metadata -1 -f hls -hls_playlist_type vod -hls_segment_type fmp4"));
    args.extend(words(&format!(
        "-hls_flags independent_segments+single_file -hls_time {SEGMENT_SECONDS} -var_stream_map"
    )));
    args.push(streams.join(" "));
    args.extend(words("-hls_segment_filename r%v.mp4 r%v.m3u8"));
    args
}

/// Options with their values, for one of the picture streams only: the first one is not encoded.
fn of_stream(stream: usize, options: &[String]) -> impl Iterator<Item = String> + '_ {
    let name = move |name: &String| format!("{}:v:{stream}", name.strip_suffix(":v").unwrap_or(name));
    options.chunks_exact(2).flat_map(move |pair| [name(&pair[0]), pair[1].clone()])
}

/// Segments last as long as the recording, start with key frames, and end where those of the first rendition do.
fn check(
    media: &Media,
    list: &MediaPlaylist,
    first: Option<&MediaPlaylist>,
    has_pictures: bool,
) -> Result<(), TaskError> {
    let wrong = |what: String| Err(failure::mismatch(format!("the output is not what was planned: {what}")));
    let end_us = list.ends_us.last().copied().unwrap_or_default();
    let Some(video) = media.video.as_ref().filter(|_| has_pictures) else { return Ok(()) };
    let (Some(start), Some(last)) = (media.packets.first(), media.packets.last()) else { return Ok(()) };
    let base = video.time_base;
    let length_us = base.us(last.pts) - base.us(start.pts) + video.frame_us;
    if (end_us - length_us).abs() > video.frame_us + APART_US_MAX {
        return wrong(format!("segments of {end_us} us, {length_us} us in the recording"));
    }
    let near = |a: i64, b: i64| (a - b).abs() <= APART_US_MAX;
    let keys = media.packets.iter().filter(|packet| packet.key);
    let keys_us: Vec<i64> = keys.map(|packet| base.us(packet.pts) - base.us(start.pts)).collect();
    for end_us in &list.ends_us[..list.ends_us.len() - 1] {
        let first_near = keys_us.partition_point(|key_us| *key_us < end_us - APART_US_MAX);
        if !keys_us.get(first_near).is_some_and(|key_us| near(*key_us, *end_us)) {
            return wrong(format!("no key frame at {end_us} us"));
        }
    }
    let same = |first: &MediaPlaylist| {
        first.ends_us.len() == list.ends_us.len() && first.ends_us.iter().zip(&list.ends_us).all(|(a, b)| near(*a, *b))
    };
    if first.is_some_and(|first| !same(first)) {
        return wrong("the renditions' segments end at different times".to_owned());
    }
    Ok(())
}

fn codec_of(file: &Path) -> Result<String, TaskError> {
    let mut head = vec![];
    let read = File::open(file).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.map_err(|error: io::Error| failure::storage(&error))?;
    h264_codec(&head).ok_or_else(|| failure::mismatch("a rendition has no H.264 configuration"))
}

#[cfg(test)]
mod tests {
    use super::super::plan::TimeBase;
    use super::*;

    #[test]
    fn rungs_are_below_the_source_either_way_up_and_even() {
        let of = |width, height| {
            rungs(&Video {
                index: 0,
                codec: String::new(),
                width,
                height,
                pixel_format: String::new(),
                time_base: TimeBase { numerator: 1, denominator: 25 },
                start_us: 0,
                frame_us: 40_000,
                rotation: 0,
                sample_aspect: (1, 1),
                interlaced: false,
                hdr: false,
            })
        };
        assert_eq!(of(1920, 1080), [(1280, 720), (852, 480), (640, 360)]);
        assert_eq!(of(1080, 1920), [(720, 1280), (480, 852), (360, 640)]);
        assert_eq!(of(1280, 720), [(852, 480), (640, 360), (426, 240)]);
        assert_eq!(of(640, 360), [(426, 240)]);
        assert_eq!(of(320, 180), []);
    }
}

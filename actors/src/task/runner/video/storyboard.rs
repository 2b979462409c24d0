//! Makes a sheet of small pictures for a player's time line, and the WebVTT that says which one belongs to which time.
//!
//! Result: `{"status": "ok", "blob", "bytes", "content_type": "image/jpeg", "columns", "rows", "width", "height",
//! "pictures", "blobs": {"vtt"}}` with the size of one picture, or `{"status": "unavailable", "reason": "no video"}`.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::encode::{Work, words};
use super::inspect::{Media, Video};
use super::ledger::part;
use super::source;
use super::tools::{Tools, input_args};
use super::{EncoderArgs, failure, picture};
use crate::blob::BlobStore;
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// Small pictures on the sheet.
const PICTURES_MAX: i64 = 100;
const COLUMNS: usize = 10;
/// The width of one.
const WIDTH: u32 = 160;
/// The least time between two.
const INTERVAL_US_MIN: i64 = 1_000_000;
const SHEET: &str = "sheet.jpg";
/// Half of the shortest time between two frames.
const NEAR_US: i64 = 4_000;

pub(super) struct StoryboardRunner {
    pub tools: Arc<Tools>,
    pub blobs: BlobStore,
}

impl Runner for StoryboardRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Storyboard]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.tools.are_here() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.storyboard(run, reporter))
    }
}

/// Which frames are shown: their times from the file's start, and whether all are key frames.
#[derive(Debug, PartialEq, Eq)]
struct Picked {
    times_us: Vec<i64>,
    are_keys: bool,
}

/// Key frames, when there are enough of them: decoding nothing else takes a thirtieth of the time.
fn pick(media: &Media, video: &Video) -> Picked {
    let interval_us = (media.duration_us / PICTURES_MAX).max(INTERVAL_US_MIN);
    let spaced = |only_keys: bool| {
        let packets = media.packets.iter().filter(|packet| !only_keys || packet.key);
        let mut times_us: Vec<i64> = vec![];
        for time_us in packets.map(|packet| video.time_base.us(packet.pts) - media.start_us) {
            if times_us.last().is_none_or(|last| time_us - last >= interval_us) {
                times_us.push(time_us);
            }
        }
        times_us.truncate(usize::try_from(PICTURES_MAX).unwrap_or(usize::MAX));
        times_us
    };
    let (keys, all) = (spaced(true), spaced(false));
    if keys.len() * 4 >= all.len() {
        Picked { times_us: keys, are_keys: true }
    } else {
        Picked { times_us: all, are_keys: false }
    }
}

impl StoryboardRunner {
    async fn storyboard(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let source = source::source(run, &self.blobs)?;
        let folder = source::work_folder(run)?;
        reporter.progress(0.0, "probing");
        let media = self.tools.inspect(&source.path, reporter).await?;
        let Some(video) = media.video.as_ref().filter(|_| !media.untimed && !media.packets.is_empty()) else {
            return Ok(json!({ "status": "unavailable", "reason": "no video" }));
        };
        let args = EncoderArgs::default();
        let work =
            Work { tools: &self.tools, input: &source.path, folder: &folder, media: &media, args: &args, reporter };
        let picked = pick(&media, video);
        let (columns, rows) = (picked.times_us.len().min(COLUMNS), picked.times_us.len().div_ceil(COLUMNS));
        let (width, height) = small(picture::size(video));
        reporter.progress(0.1, "picking pictures");
        let made = work.call(arguments(&work, video, &picked, (columns, rows), (width, height)), &mut |_| {}).await?;
        if made.frame != u64::try_from(picked.times_us.len()).unwrap_or(u64::MAX) {
            return Err(failure::mismatch(format!("{} pictures, {} planned", made.frame, picked.times_us.len())));
        }
        let blob = source::keep(&self.blobs, &folder.join(part(SHEET))).await?;
        let vtt = folder.join("storyboard.vtt");
        fs::write(&vtt, cues(&picked.times_us, media.duration_us, blob.hash.as_str(), (width, height)))
            .map_err(|error| failure::storage(&error))?;
        let vtt = source::keep(&self.blobs, &vtt).await?;
        Ok(json!({
            "status": "ok",
            "blob": blob.hash.as_str(),
            "bytes": blob.bytes,
            "content_type": "image/jpeg",
            "columns": columns,
            "rows": rows,
            "width": width,
            "height": height,
            "pictures": picked.times_us.len(),
            "blobs": { "vtt": vtt.hash.as_str() },
        }))
    }
}

/// The size of a small picture of this shape.
fn small((width, height): (u32, u32)) -> (u32, u32) {
    let scaled = u64::from(height) * u64::from(WIDTH) / u64::from(width.max(1));
    (WIDTH, u32::try_from((scaled / 2 * 2).max(2)).unwrap_or(WIDTH))
}

fn arguments(
    work: &Work<'_>,
    video: &Video,
    picked: &Picked,
    (columns, rows): (usize, usize),
    (width, height): (u32, u32),
) -> Vec<String> {
    let mut args: Vec<String> = words("-threads 1 -filter_threads 1").collect();
    if picked.are_keys {
        args.extend(words("-skip_frame nokey"));
    }
    args.extend(input_args(work.input));
    let seconds = |us: i64| format!("{}.{:06}", us.max(0) / 1_000_000, us.max(0) % 1_000_000);
    let near = |us: &i64| format!("between(t,{},{})", seconds(us - NEAR_US), seconds(us + NEAR_US));
    let wanted: Vec<String> = picked.times_us.iter().map(near).collect();
    let select = format!("select='{}'", wanted.join("+"));
    let shape = picture::conversion(video);
    let graph = format!("[0:{}]{select},{shape}scale={width}:{height},setsar=1,split[each][all]", video.index);
    args.extend(["-filter_complex".to_owned(), format!("{graph};[all]tile={columns}x{rows}[sheet]")]);
    // The first output is only counted: a sheet does not tell how many of its places are filled.
    args.extend(words("-map [each] -fps_mode passthrough -f null - -map [sheet] -fps_mode passthrough -frames:v 1"));
    args.extend(words("-c:v mjpeg -pix_fmt yuvj420p -q:v 4 -f mjpeg"));
    args.push(part(SHEET));
    args
}

/// WebVTT whose cues name a part of the sheet each, by the hash that stands beside it.
fn cues(times_us: &[i64], duration_us: i64, sheet: &str, (width, height): (u32, u32)) -> String {
    let stamp = |us: i64| {
        let ms = us / 1000;
        format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
    };
    let mut text = "WEBVTT\n".to_owned();
    for (index, start_us) in times_us.iter().enumerate() {
        let end_us = times_us.get(index + 1).copied().unwrap_or(duration_us.max(start_us + 1_000));
        let start_us = if index == 0 { 0 } else { *start_us };
        let place = |at: usize, side: u32| u64::try_from(at).unwrap_or(u64::MAX).saturating_mul(u64::from(side));
        let (x, y) = (place(index % COLUMNS, width), place(index / COLUMNS, height));
        let (start, end) = (stamp(start_us), stamp(end_us));
        writeln!(text, "\n{start} --> {end}\n{sheet}.jpg#xywh={x},{y},{width},{height}").expect("a text grows");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_follow_each_other_over_the_whole_length() {
        let times: Vec<i64> = (0..11).map(|n| n * 2_000_000 + 40_000).collect();
        let text = cues(&times, 23_500_000, "ab", (160, 90));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..4], ["WEBVTT", "", "00:00:00.000 --> 00:00:02.040", "ab.jpg#xywh=0,0,160,90"]);
        assert_eq!(lines[lines.len() - 2..], ["00:00:20.040 --> 00:00:23.500", "ab.jpg#xywh=0,90,160,90"]);
        assert_eq!(small((1080, 1920)), (160, 284));
        assert_eq!(small((1920, 1080)), (160, 90));
    }
}

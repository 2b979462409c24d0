//! What a recording holds: ffprobe's answer, typed, and every packet's time. Reads without decoding.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::failure;
use super::plan::{Packet, TimeBase};
use super::tools::Tools;
use crate::task::runner::{Reporter, TaskError};

/// ffprobe's answer for 32 streams is far shorter.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Packets of four hours at 120 pictures a second.
const PACKETS_MAX: usize = 1_800_000;
/// Rates above this are no recordings of anything.
const FRAMES_PER_SECOND_MAX: i64 = 120;
/// A track that ends this much before its declared end was cut.
const MISSING_US_MIN: i64 = 1_000_000;
const SECOND_US: i64 = 1_000_000;

/// A recording.
#[derive(Debug, Clone)]
pub(super) struct Media {
    pub container: String,
    /// Where its clock starts.
    pub start_us: i64,
    pub duration_us: i64,
    /// How much of what the file declares is not in it.
    pub missing_us: i64,
    pub video: Option<Video>,
    pub audio: Option<Audio>,
    /// Packets of the video, else of the audio, in the order of their times.
    pub packets: Vec<Packet>,
    /// Whether packets without a time were met; then no plan can be made from times.
    pub untimed: bool,
    /// Whether an edit list hides packets.
    pub edited: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Video {
    pub index: u32,
    pub codec: String,
    pub width: u32,
    pub height: u32,
    pub pixel_format: String,
    pub time_base: TimeBase,
    pub start_us: i64,
    /// One picture at the average rate.
    pub frame_us: i64,
    /// Degrees the picture is turned for display.
    pub rotation: i32,
    /// Width and height of a sample.
    pub sample_aspect: (u32, u32),
    pub interlaced: bool,
    /// High dynamic range, by its transfer curve.
    pub hdr: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Audio {
    pub index: u32,
    pub codec: String,
    pub channels: u32,
    pub sample_rate: u32,
    pub start_us: i64,
}

impl Media {
    pub(super) fn length(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.duration_us).unwrap_or_default())
    }
}

impl Tools {
    /// What the headers of a file say; refuses what is no recording. Its packets are not looked at.
    pub(super) async fn look(&self, input: &Path, reporter: &Reporter) -> Result<Media, TaskError> {
        self.answer(input, reporter).await?.media()
    }

    async fn answer(&self, input: &Path, reporter: &Reporter) -> Result<Answer, TaskError> {
        let mut json = String::new();
        let args = ["-show_format", "-show_streams", "-of", "json"];
        let mut take = |line: &str| {
            if json.len() < ANSWER_BYTES_MAX {
                json.push_str(line);
            }
        };
        self.ffprobe(input, &args, reporter, &mut take).await?;
        serde_json::from_str(&json).map_err(|_| failure::unreadable("it cannot be described"))
    }

    /// Looks at a file and all its packets; refuses what is no recording or beyond the limits.
    pub(super) async fn inspect(&self, input: &Path, reporter: &Reporter) -> Result<Media, TaskError> {
        let answer = self.answer(input, reporter).await?;
        let mut media = answer.media()?;
        self.scan(input, &mut media, &answer, reporter).await?;
        let max = self.config.duration_max;
        if media.length() > max {
            let message = format!("the recording is {} s long, at most {} s", media.length().as_secs(), max.as_secs());
            return Err(failure::too_long(message));
        }
        Ok(media)
    }

    async fn scan(
        &self,
        input: &Path,
        media: &mut Media,
        answer: &Answer,
        reporter: &Reporter,
    ) -> Result<(), TaskError> {
        let index = media.video.as_ref().map_or_else(|| media.audio.as_ref().map(|a| a.index), |v| Some(v.index));
        let index = index.ok_or_else(|| failure::unreadable("it holds neither sound nor pictures"))?;
        let stream = answer.stream(index);
        let select = index.to_string();
        let args = ["-select_streams", &select, "-show_entries", "packet=pts,flags", "-of", "csv=p=0"];
        let mut count = 0;
        let mut take = |line: &str| {
            count += 1;
            if count <= PACKETS_MAX {
                media.take_packet(line);
            }
        };
        self.ffprobe(input, &args, reporter, &mut take).await?;
        if count > PACKETS_MAX {
            return Err(failure::too_long(format!("the recording has more than {PACKETS_MAX} packets")));
        }
        media.packets.sort_unstable_by_key(|packet| packet.pts);
        media.measure(stream);
        Ok(())
    }
}

impl Media {
    /// Takes `pts,flags`, where flags hold K for a key frame and D for a packet that is not shown.
    fn take_packet(&mut self, line: &str) {
        let mut fields = line.trim().split(',');
        let (Some(pts), Some(flags)) = (fields.next(), fields.next()) else { return };
        if flags.contains('D') {
            self.edited = true;
            return;
        }
        self.untimed |= pts.parse::<i64>().is_err();
        self.packets.push(Packet { pts: pts.parse().unwrap_or_default(), key: flags.contains('K') });
    }

    /// Sets the times from the packets seen: headers may be wrong or absent.
    fn measure(&mut self, stream: &Stream) {
        let base = stream.time_base();
        let (Some(first), Some(last)) = (self.packets.first(), self.packets.last()) else { return };
        let frame_us = self.video.as_ref().map_or(0, |video| video.frame_us);
        let end_us = base.us(last.pts) + frame_us;
        if !self.untimed {
            self.duration_us = self.duration_us.max(end_us - self.start_us);
        }
        if let Some(declared) = stream.duration.as_deref().and_then(us).filter(|_| !self.untimed) {
            let missing = declared - (end_us - base.us(first.pts));
            if missing >= MISSING_US_MIN {
                self.missing_us = missing;
                self.duration_us = end_us - self.start_us;
            }
        }
    }
}

/// ffprobe's answer. Numbers come as texts, and any of them may be absent.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    streams: Vec<Stream>,
    format: Format,
}

#[derive(Debug, Deserialize)]
struct Format {
    #[serde(default)]
    format_name: String,
    start_time: Option<String>,
    duration: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stream {
    index: u32,
    codec_type: String,
    codec_name: String,
    width: u32,
    height: u32,
    pix_fmt: String,
    time_base: String,
    avg_frame_rate: String,
    sample_aspect_ratio: String,
    field_order: String,
    color_transfer: String,
    sample_rate: String,
    channels: u32,
    start_time: Option<String>,
    duration: Option<String>,
    disposition: Disposition,
    side_data_list: Vec<SideData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Disposition {
    default: u8,
    attached_pic: u8,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SideData {
    rotation: Option<f64>,
}

impl Answer {
    fn stream(&self, index: u32) -> &Stream {
        self.streams.iter().find(|stream| stream.index == index).expect("the index came from this answer")
    }

    fn media(&self) -> Result<Media, TaskError> {
        // A cover picture is a video stream too.
        let pictures = self.streams.iter().filter(|s| s.codec_type == "video" && s.disposition.attached_pic == 0);
        let sounds = self.streams.iter().filter(|s| s.codec_type == "audio");
        let start_us = self.format.start_time.as_deref().and_then(us).unwrap_or_default();
        let picked = pictures.max_by_key(|s| (s.disposition.default, u64::from(s.width) * u64::from(s.height)));
        Ok(Media {
            container: self.format.format_name.clone(),
            start_us,
            duration_us: self.format.duration.as_deref().and_then(us).unwrap_or_default(),
            missing_us: 0,
            video: picked.map(|stream| stream.video(start_us)).transpose()?,
            audio: sounds.max_by_key(|s| (s.disposition.default, s.channels)).map(|stream| stream.audio(start_us)),
            packets: vec![],
            untimed: false,
            edited: false,
        })
    }
}

impl Stream {
    fn time_base(&self) -> TimeBase {
        let (numerator, denominator) = ratio(&self.time_base, '/').unwrap_or((1, 1_000_000));
        TimeBase { numerator, denominator }
    }

    fn start(&self, otherwise: i64) -> i64 {
        self.start_time.as_deref().and_then(us).unwrap_or(otherwise)
    }

    fn video(&self, start_us: i64) -> Result<Video, TaskError> {
        if self.codec_name.is_empty() || self.width == 0 || self.height == 0 {
            return Err(failure::unreadable("its pictures are of an unknown kind"));
        }
        let rate = ratio(&self.avg_frame_rate, '/');
        if rate.is_some_and(|(pictures, seconds)| pictures / seconds > FRAMES_PER_SECOND_MAX) {
            return Err(failure::unsupported(format!("more than {FRAMES_PER_SECOND_MAX} pictures a second")));
        }
        let aspect = ratio(&self.sample_aspect_ratio, ':').unwrap_or((1, 1));
        let side = |number: i64| u32::try_from(number).unwrap_or(1);
        let rotation = self.side_data_list.iter().find_map(|data| data.rotation).unwrap_or_default();
        Ok(Video {
            index: self.index,
            codec: self.codec_name.clone(),
            width: self.width,
            height: self.height,
            pixel_format: self.pix_fmt.clone(),
            time_base: self.time_base(),
            start_us: self.start(start_us),
            frame_us: rate.map_or(SECOND_US / 25, |(pictures, seconds)| SECOND_US * seconds / pictures),
            rotation: format!("{rotation:.0}").parse().unwrap_or_default(),
            sample_aspect: (side(aspect.0), side(aspect.1)),
            interlaced: !matches!(&*self.field_order, "" | "progressive" | "unknown"),
            hdr: matches!(&*self.color_transfer, "arib-std-b67" | "smpte2084"),
        })
    }

    fn audio(&self, start_us: i64) -> Audio {
        Audio {
            index: self.index,
            codec: self.codec_name.clone(),
            channels: self.channels,
            sample_rate: self.sample_rate.parse().unwrap_or_default(),
            start_us: self.start(start_us),
        }
    }
}

/// Two positive numbers with a mark between them.
fn ratio(text: &str, mark: char) -> Option<(i64, i64)> {
    let (first, second) = text.split_once(mark)?;
    let (first, second) = (first.parse().ok()?, second.parse().ok()?);
    (first > 0 && second > 0).then_some((first, second))
}

/// Microseconds of a text such as `-1.440000`.
fn us(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = format!("{fraction:0<6}");
    let fraction: i64 = fraction.get(..6)?.parse().ok()?;
    Some(sign * (seconds.parse::<i64>().ok()?.checked_mul(SECOND_US)? + fraction))
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;

//! Whether a recording can be passed through as it is, or must be encoded again; and why. Pure.

use super::inspect::Media;

/// Browsers play up to this everywhere, either way up.
const LONG_SIDE_MAX: u32 = 1920;
const SHORT_SIDE_MAX: u32 = 1080;
/// Players seek to key frames; farther apart feels broken.
const KEY_FRAME_GAP_US_MAX: i64 = 10_000_000;
/// Tracks that start this far from zero need their times rewritten.
const START_US_MAX: i64 = 100_000;

/// Why a recording must be encoded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    Container,
    VideoCodec,
    PixelFormat,
    Rotation,
    Sar,
    Resolution,
    Gop,
    Hdr,
    Interlaced,
    EditList,
    Timestamps,
    AudioCodec,
    Channels,
}

/// All reasons against passing it through; none means that it may be.
pub(super) fn reasons(media: &Media) -> Vec<Reason> {
    let near_zero = |us: i64| us.abs() <= START_US_MAX;
    let mut found = vec![(Reason::Container, !media.container.split(',').any(|name| name == "mp4"))];
    if let Some(video) = &media.video {
        let (long, short) = (video.width.max(video.height), video.width.min(video.height));
        found.extend([
            (Reason::VideoCodec, video.codec != "h264"),
            (Reason::PixelFormat, video.pixel_format != "yuv420p"),
            (Reason::Rotation, video.rotation != 0),
            (Reason::Sar, video.sample_aspect.0 != video.sample_aspect.1),
            (Reason::Resolution, long > LONG_SIDE_MAX || short > SHORT_SIDE_MAX || long % 2 + short % 2 > 0),
            (Reason::Gop, key_frame_gap_us(media) > KEY_FRAME_GAP_US_MAX),
            (Reason::Hdr, video.hdr),
            (Reason::Interlaced, video.interlaced),
            (Reason::EditList, media.edited),
            (Reason::Timestamps, media.untimed || !near_zero(video.start_us)),
        ]);
    }
    if let Some(audio) = &media.audio {
        found.extend([
            (Reason::AudioCodec, audio.codec != "aac"),
            (Reason::Channels, audio.channels > 2),
            (Reason::Timestamps, !near_zero(audio.start_us)),
        ]);
    }
    let mut reasons: Vec<_> = found.into_iter().filter_map(|(reason, holds)| holds.then_some(reason)).collect();
    reasons.dedup();
    reasons
}

/// The longest way from a key frame to the next, or to the end.
pub(super) fn key_frame_gap_us(media: &Media) -> i64 {
    let Some(video) = &media.video else { return 0 };
    let keys = media.packets.iter().filter(|packet| packet.key);
    let times: Vec<_> = keys.chain(media.packets.last()).map(|packet| video.time_base.us(packet.pts)).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::inspect::{Audio, Video};
    use super::super::plan::{Packet, TimeBase};
    use super::*;

    fn fine() -> Media {
        let video = Video {
            index: 0,
            codec: "h264".to_owned(),
            width: 1080,
            height: 1920,
            pixel_format: "yuv420p".to_owned(),
            time_base: TimeBase { numerator: 1, denominator: 25 },
            start_us: 0,
            frame_us: 40_000,
            rotation: 0,
            sample_aspect: (1, 1),
            interlaced: false,
            hdr: false,
        };
        let audio = Audio { index: 1, codec: "aac".to_owned(), channels: 2, sample_rate: 48_000, start_us: 0 };
        Media {
            container: "mov,mp4,m4a,3gp,3g2,mj2".to_owned(),
            start_us: 0,
            duration_us: 20_000_000,
            missing_us: 0,
            video: Some(video),
            audio: Some(audio),
            packets: (0..500).map(|pts| Packet { pts, key: pts % 250 == 0 }).collect(),
            untimed: false,
            edited: false,
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Media, &mut Video, &mut Audio), expected: &[Reason]) {
        let mut media = fine();
        let (mut video, mut audio) = (media.video.take().unwrap(), media.audio.take().unwrap());
        change(&mut media, &mut video, &mut audio);
        let media = Media { video: Some(video), audio: Some(audio), ..media };
        assert_eq!(reasons(&media), expected);
    }

    #[test]
    fn each_reason_alone_is_enough() {
        check(|_, _, _| {}, &[]);
        check(|m, _, _| m.container = "matroska,webm".to_owned(), &[Reason::Container]);
        check(|_, v, _| v.codec = "hevc".to_owned(), &[Reason::VideoCodec]);
        check(|_, v, _| v.pixel_format = "yuv444p".to_owned(), &[Reason::PixelFormat]);
        check(|_, v, _| v.rotation = -90, &[Reason::Rotation]);
        check(|_, v, _| v.sample_aspect = (4, 3), &[Reason::Sar]);
        check(|_, v, _| v.width = 1082, &[Reason::Resolution]);
        check(|_, v, _| v.width = 1079, &[Reason::Resolution]);
        check(|m, _, _| m.packets.iter_mut().skip(1).for_each(|p| p.key = false), &[Reason::Gop]);
        check(|_, v, _| v.hdr = true, &[Reason::Hdr]);
        check(|_, v, _| v.interlaced = true, &[Reason::Interlaced]);
        check(|m, _, _| m.edited = true, &[Reason::EditList]);
        check(|_, v, a| (v.start_us, a.start_us) = (1_400_000, 1_400_000), &[Reason::Timestamps]);
        check(|_, _, a| a.start_us = 1_440_000, &[Reason::Timestamps]);
        check(|_, _, a| a.codec = "opus".to_owned(), &[Reason::AudioCodec]);
        check(|_, _, a| a.channels = 6, &[Reason::Channels]);
    }

    #[test]
    fn a_recording_without_pictures_is_judged_by_its_sound() {
        assert_eq!(reasons(&Media { video: None, ..fine() }), []);
    }
}

//! Whether an output is what was planned. An exit code proves nothing: ffmpeg leaves short files behind and says zero.

use super::encode::KEY_FRAME_SECONDS;
use super::failure;
use super::inspect::Media;
use crate::task::runner::TaskError;

/// How far a track may start from where it did in the source: the least that people notice.
const OFFSET_US_MAX: i64 = 33_000;
/// Times are rounded to the output's clock.
const ROUNDING_US: i64 = 1_000;

/// Compares an output with its source. `frames` is what was planned; none when the source is damaged.
pub(super) fn verify(source: &Media, output: &Media, frames: Option<u64>, encoded: bool) -> Result<(), TaskError> {
    let wrong = |what: String| Err(failure::mismatch(format!("the output is not what was planned: {what}")));
    if (source.video.is_some(), source.audio.is_some()) != (output.video.is_some(), output.audio.is_some()) {
        return wrong("a track is missing".to_owned());
    }
    let Some((before, after)) = source.video.as_ref().zip(output.video.as_ref()) else { return Ok(()) };
    let found = u64::try_from(output.packets.len()).expect("a count fits in 64 bits");
    if frames.is_some_and(|frames| frames != found) {
        return wrong(format!("{found} frames, {} planned", frames.unwrap_or_default()));
    }
    let moved = (after.start_us - output.start_us) - (before.start_us - source.start_us);
    if moved.abs() > OFFSET_US_MAX {
        return wrong(format!("pictures moved by {moved} us"));
    }
    let span = |media: &Media| {
        Some(media.video.as_ref()?.time_base.us(media.packets.last()?.pts - media.packets.first()?.pts))
    };
    let (long, short) = (span(source).unwrap_or_default(), span(output).unwrap_or_default());
    if frames.is_some() && !source.untimed && (long - short).abs() > before.frame_us + ROUNDING_US {
        return wrong(format!("{short} us of pictures, {long} us in the source"));
    }
    let mut key_us = None;
    for packet in &output.packets {
        let us = after.time_base.us(packet.pts);
        if packet.key {
            key_us = Some(us);
        }
        let since = key_us.map(|key_us| us - key_us);
        if encoded && since.is_none_or(|since| since > KEY_FRAME_SECONDS * 1_000_000 + ROUNDING_US) {
            return wrong(format!("no key frame within {KEY_FRAME_SECONDS} s at {us} us"));
        }
    }
    Ok(())
}

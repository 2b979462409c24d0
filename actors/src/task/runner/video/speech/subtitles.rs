//! Subtitles in the two common forms. Pure.

use std::fmt::Write as _;

use super::Segment;

fn time(ms: u64, mark: char) -> String {
    format!("{:02}:{:02}:{:02}{mark}{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// `SubRip`: what old players read.
pub(in super::super) fn srt(segments: &[Segment]) -> String {
    let mut text = String::new();
    for (index, segment) in segments.iter().enumerate() {
        let (start, end) = (time(segment.start_ms, ','), time(segment.end_ms, ','));
        let who = segment.channel.map(|channel| format!("Channel {}: ", channel + 1)).unwrap_or_default();
        writeln!(text, "{}\n{start} --> {end}\n{who}{}\n", index + 1, segment.text).expect("a text grows");
    }
    text
}

/// WebVTT: what browsers read. Marks of its own in the text are escaped.
pub(in super::super) fn vtt(segments: &[Segment]) -> String {
    let mut text = "WEBVTT\n\n".to_owned();
    for segment in segments {
        let (start, end) = (time(segment.start_ms, '.'), time(segment.end_ms, '.'));
        let who = segment.channel.map(|channel| format!("<v Channel {}>", channel + 1)).unwrap_or_default();
        let said = segment.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        writeln!(text, "{start} --> {end}\n{who}{said}\n").expect("a text grows");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_times_and_parties() {
        let segment = |start_ms, text: &str, channel| Segment {
            start_ms,
            end_ms: start_ms + 1500,
            text: text.to_owned(),
            words: vec![],
            channel,
        };
        let segments = [segment(0, "Hello.", None), segment(3_723_004, "1 < 2", Some(1))];
        assert_eq!(
            srt(&segments),
            "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n2\n01:02:03,004 --> 01:02:04,504\nChannel 2: 1 < 2\n\n"
        );
        assert_eq!(
            vtt(&segments),
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello.\n\n01:02:03.004 --> 01:02:04.504\n<v Channel 2>1 &lt; 2\n\n"
        );
    }
}

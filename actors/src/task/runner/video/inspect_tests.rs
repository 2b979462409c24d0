//! What ffprobe says, and what is made of it.

use super::*;

fn media(streams: &str, format: &str) -> Result<Media, TaskError> {
    let text = format!(r#"{{"streams": [{streams}], "format": {{{format}}}}}"#);
    serde_json::from_str::<Answer>(&text).unwrap().media()
}

const PICTURE: &str = r#"{"index": 1, "codec_type": "video", "codec_name": "h264", "width": 640, "height": 360,
    "pix_fmt": "yuv420p", "time_base": "1/15360", "avg_frame_rate": "30/1", "disposition": {"default": 1},
    "side_data_list": [{"side_data_type": "Display Matrix", "rotation": -90}], "unheard_of": {}}"#;
const COVER: &str = r#"{"index": 0, "codec_type": "video", "codec_name": "mjpeg", "width": 3000, "height": 3000,
    "disposition": {"default": 1, "attached_pic": 1}}"#;

#[test]
fn texts_become_microseconds() {
    let cases =
        [("1.440000", Some(1_440_000)), ("-0.5", Some(-500_000)), ("7", Some(7_000_000)), ("N/A", None), ("", None)];
    for (text, expected) in cases {
        assert_eq!(us(text), expected, "{text}");
    }
    assert_eq!(us("99999999999999999.0"), None, "a time beyond all clocks");
}

#[test]
fn a_cover_is_no_video() {
    let media = media(&format!("{COVER},{PICTURE}"), r#""format_name": "mov", "start_time": "1.4""#).unwrap();
    let video = media.video.unwrap();
    assert_eq!((video.index, video.rotation, video.frame_us, video.start_us), (1, -90, 33_333, 1_400_000));
    assert_eq!(media.duration_us, 0, "unknown until the packets were seen");
}

#[test]
fn absurd_claims_are_refused() {
    let fast = PICTURE.replace("30/1", "90000/1");
    assert_eq!(media(&fast, "").unwrap_err().code, "media_unsupported");
    let flat = PICTURE.replace("640", "0");
    assert_eq!(media(&flat, "").unwrap_err().code, "media_unreadable");
}

#[test]
fn a_track_shorter_than_declared_is_missing_its_end() {
    let declared = PICTURE.replace(r#""index": 1,"#, r#""index": 1, "duration": "20.0","#);
    let answer: Answer =
        serde_json::from_str(&format!(r#"{{"streams": [{declared}], "format": {{"duration": "20.0"}}}}"#)).unwrap();
    let mut media = answer.media().unwrap();
    (0..360).for_each(|frame: i64| media.take_packet(&format!("{},K_\n", frame * 512)));
    media.measure(answer.stream(1));
    assert_eq!((media.missing_us, media.duration_us), (8_000_000, 12_000_000));
}

#[test]
fn hidden_and_untimed_packets_are_noticed() {
    let mut media = media(PICTURE, "").unwrap();
    ["0,KD\n", "512,K__\n", "N/A,__\n", "\n"].iter().for_each(|line| media.take_packet(line));
    assert!(media.edited && media.untimed);
    assert_eq!(media.packets.len(), 2);
}

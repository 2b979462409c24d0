//! Recordings that come out wrong when nobody thought of them, a small file each.

use serde_json::{Value, json};

use crate::support::{Bench, fixture, frames, said};

/// Normalises a recording; it comes out with all its frames, and such that browsers play it.
async fn comes_out(make: &str, name: &str) -> (Bench, Value, Value) {
    let bench = Bench::new();
    let blob = bench.make(make, name);
    let probe = bench.made("probe", &blob).await;
    let result = bench.made("normalize", &blob).await;
    assert_eq!((&result["status"], &result["missing_frames"]), (&json!("complete"), &json!(0)), "{result}");
    let again = bench.made("probe", result["blob"].as_str().expect("a blob")).await;
    assert_eq!((&again["decision"], &again["reasons"]), (&json!("pass_through"), &json!([])), "{again}");
    assert_eq!(probe["video"]["frames"], again["video"]["frames"], "{probe} {again}");
    (bench, probe, result)
}

fn streams(bench: &Bench, result: &Value) -> String {
    let show = "-v error -show_entries stream=codec_type,codec_name,channels,color_transfer,pix_fmt,start_time,duration -of compact=p=0:nk=1 FILE";
    said("/usr/bin/ffprobe", show, &bench.path(result))
}

#[tokio::test]
async fn open_groups_of_pictures_lose_no_frame_at_the_cuts() {
    let make = "-f lavfi -i testsrc2=s=320x180:r=25:d=24 -c:v libx264 -preset medium -x264-params open-gop=1:keyint=50:min-keyint=50:scenecut=0:bframes=3";
    let (bench, _, result) = comes_out(make, "open.mkv").await;
    assert!(result["chunks"].as_u64().unwrap() >= 3 && result["one_pass"].is_null(), "{result}");
    let times: Vec<f64> = frames(&bench.path(&result)).into_iter().map(|frame| frame.0).collect();
    assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 0.04).abs() < 0.0015), "{times:?}");
}

#[tokio::test]
async fn a_stream_that_starts_at_an_hour_starts_at_zero() {
    let make = "-f lavfi -i testsrc2=s=320x180:r=25:d=12 -f lavfi -i sine=d=12 -c:v libx264 -preset ultrafast -g 50 -c:a aac -output_ts_offset 3600 -f mpegts";
    let (bench, probe, result) = comes_out(make, "hour.ts").await;
    assert!(probe["reasons"].as_array().unwrap().contains(&json!("container")), "{probe}");
    assert!(result["chunks"].as_u64().unwrap() >= 2 && result["one_pass"].is_null(), "{result}");
    assert!(frames(&bench.path(&result))[0].0 < 0.1, "{result}");
    assert!((result["duration_ms"].as_i64().unwrap() - 12_000).abs() < 150, "{result}");
}

#[tokio::test]
async fn a_recording_without_sound_has_none_after() {
    let make = "-f lavfi -i testsrc2=s=320x180:r=25:d=12 -c:v mpeg4 -g 50";
    let (_, probe, result) = comes_out(make, "mute.avi").await;
    assert_eq!((&probe["audio"], &result["audio_codec"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn of_two_sounds_the_default_one_is_taken() {
    let make = "-f lavfi -i testsrc2=s=320x180:r=25:d=6 -f lavfi -i sine=f=300:d=6 -f lavfi -i sine=f=3000:d=6 -map 0 -map 1 -map 2 -c:v mpeg4 -c:a aac -disposition:a:0 0 -disposition:a:1 default";
    let (bench, _, result) = comes_out(make, "two.mkv").await;
    let sounds = streams(&bench, &result).lines().filter(|line| line.contains("audio")).count();
    assert_eq!(sounds, 1);
    // What is left above 2 kHz is loud only in the second one.
    let level = said(
        "/usr/bin/ffmpeg",
        "-hide_banner -i FILE -map 0:a -af highpass=f=2000,volumedetect -f null -",
        &bench.path(&result),
    );
    let mean: f64 = level.split("mean_volume: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(mean > -30.0, "{level}");
}

#[tokio::test]
async fn a_cover_picture_is_no_video() {
    let bench = Bench::new();
    let cover = bench.dir.path().join("cover.jpg");
    crate::support::ffmpeg("-f lavfi -i testsrc2=s=200x200 -frames:v 1", &cover);
    let sound = fixture("call_dual_channel.m4a");
    let make = format!(
        "-i {} -i {} -map 0:a -map 1:v -c:a copy -c:v mjpeg -disposition:v attached_pic",
        sound.display(),
        cover.display()
    );
    let blob = bench.make(&make, "song.m4a");
    let probe = bench.made("probe", &blob).await;
    assert_eq!(probe["video"], Value::Null, "{probe}");
    let result = bench.made("normalize", &blob).await;
    assert_eq!((&result["width"], &result["audio_codec"]), (&Value::Null, &json!("aac")), "{result}");
}

#[tokio::test]
async fn high_dynamic_range_becomes_ordinary() {
    let make = "-f lavfi -i testsrc2=s=320x180:r=25:d=4 -vf format=yuv420p10le -c:v libx264 -preset ultrafast -profile:v high10 -color_primaries bt2020 -color_trc arib-std-b67 -colorspace bt2020nc";
    let (bench, probe, result) = comes_out(make, "hlg.mp4").await;
    let reasons = probe["reasons"].as_array().unwrap();
    assert!(reasons.contains(&json!("hdr")) && reasons.contains(&json!("pixel_format")), "{probe}");
    let shown = streams(&bench, &result);
    assert!(shown.contains("bt709") && shown.contains("yuv420p|"), "{shown}");
}

#[tokio::test]
async fn a_length_that_nobody_wrote_down_is_measured() {
    let bench = Bench::new();
    let piped = bench.dir.path().join("piped.webm");
    let make =
        "-f lavfi -i testsrc2=s=320x180:r=25:d=12 -c:v libvpx -deadline realtime -cpu-used 8 -g 50 -f webm -live 1";
    crate::support::ffmpeg(make, &piped);
    let duration = said("/usr/bin/ffprobe", "-v error -show_entries format=duration -of csv=p=0 FILE", &piped);
    assert_eq!(duration.trim(), "N/A", "the file does not say it");
    let blob = bench.keep(&piped);
    let probe = bench.made("probe", &blob).await;
    assert!((probe["duration_ms"].as_i64().unwrap() - 12_000).abs() < 100, "{probe}");
    let result = bench.made("normalize", &blob).await;
    assert_eq!((&result["missing_frames"], &result["one_pass"]), (&json!(0), &Value::Null), "{result}");
    assert!(result["chunks"].as_u64().unwrap() >= 2, "{result}");
}

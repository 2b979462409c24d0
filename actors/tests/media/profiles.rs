//! What is made of a recording beside the recording itself: ladders, sound, sheets, clips.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use steward_actors::blob::BlobHash;
use steward_actors::domain::task::TaskKind;
use steward_actors::task::runner::Retry;

use crate::support::{Bench, fixture, frames, said};

/// A picture that changes, with sound, that may stay as it is.
const PLAIN: &str = "-f lavfi -i testsrc2=s=1280x720:r=30:d=20 -f lavfi -i sine=d=20 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 60 -keyint_min 60 -sc_threshold 0 -c:a aac -movflags +faststart";

/// The blob that a result names, as a file.
fn file(bench: &Bench, hash: &Value) -> PathBuf {
    bench.blobs.path(&BlobHash::parse(hash.as_str().expect("a hash")).expect("a hash"))
}

/// Puts blobs beside each other under their names, as a client reads them.
fn folder(bench: &Bench, result: &Value) -> PathBuf {
    let folder = bench.dir.path().join("served");
    fs::create_dir_all(&folder).expect("a folder");
    let names = result["blobs"].as_array().expect("a list").iter().chain([&result["blob"]]);
    for name in names {
        for end in ["m3u8", "mp4"] {
            let beside = folder.join(format!("{}.{end}", name.as_str().expect("a hash")));
            fs::copy(file(bench, name), beside).expect("the blob is there");
        }
    }
    folder
}

/// How alike a piece of a sheet and a frame of a recording are, from 0 to 1.
fn alike(sheet: &Path, crop: &str, recording: &Path, at: f64) -> f64 {
    let graph = format!("[0:v]crop={crop},format=yuv420p[a];[1:v]scale=160:90,format=yuv420p[b];[a][b]ssim");
    let args = format!("-hide_banner -i FILE -ss {at} -i {} -lavfi {graph} -frames:v 1 -f null -", recording.display());
    let printed = said("/usr/bin/ffmpeg", &args, sheet);
    let found = printed.split("All:").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    found.unwrap_or_else(|| panic!("{printed}"))
}

#[tokio::test]
async fn a_ladder_plays_from_its_master_and_its_renditions_switch_together() {
    let bench = Bench::new();
    let blob = bench.make(PLAIN, "plain.mp4");
    let result = bench.made("hls", &blob).await;
    let sizes: Vec<_> = result["renditions"].as_array().unwrap().iter().map(|one| one["height"].as_u64()).collect();
    assert_eq!(sizes, [Some(720), Some(480), Some(360), Some(240), None], "{result}");
    assert_eq!(result["segments"], json!(4), "20 s in pieces of 6");
    let folder = folder(&bench, &result);
    let master = folder.join(format!("{}.m3u8", result["blob"].as_str().unwrap()));
    let text = fs::read_to_string(&master).unwrap();
    assert_eq!(text.matches("#EXT-X-STREAM-INF").count(), 4, "{text}");
    assert!(text.contains("CODECS=\"avc1.42c01f,mp4a.40.2\",RESOLUTION=1280x720,AUDIO=\"sound\""), "{text}");
    // A player takes it whole: every rendition has every frame, and decodes without a word.
    let play = "-v error -i FILE -map 0:v -map 0:a -f null -";
    assert_eq!(said("/usr/bin/ffmpeg", play, &master), "");
    let count =
        "-v error -count_packets -show_entries stream=height,nb_read_packets -select_streams v -of csv=p=0 FILE";
    let printed = said("/usr/bin/ffprobe", count, &master);
    let mut counts: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).collect();
    counts.sort_unstable();
    counts.dedup();
    assert_eq!(counts, ["240,600", "360,600", "480,600", "720,600"], "{printed}");
    let ends = |one: &Value| {
        let text = fs::read_to_string(folder.join(format!("{}.m3u8", one["playlist"].as_str().unwrap()))).unwrap();
        text.lines().filter(|line| line.starts_with("#EXTINF")).map(str::to_owned).collect::<Vec<_>>()
    };
    let renditions = result["renditions"].as_array().unwrap();
    assert!(renditions[..4].iter().all(|one| ends(one) == ends(&renditions[0])), "{result}");
    let bits = |one: &Value| one["bandwidth"].as_u64().unwrap();
    assert!(renditions[..4].windows(2).all(|pair| bits(&pair[0]) > bits(&pair[1])), "{result}");
}

#[tokio::test]
async fn a_ladder_of_sound_alone_is_one_rendition() {
    let bench = Bench::new();
    let blob = bench.keep(&fixture("call_dual_channel.m4a"));
    let result = bench.made("hls", &blob).await;
    let folder = folder(&bench, &result);
    let master = folder.join(format!("{}.m3u8", result["blob"].as_str().unwrap()));
    assert_eq!(said("/usr/bin/ffmpeg", "-v error -i FILE -f null -", &master), "");
    assert_eq!(result["renditions"].as_array().unwrap().len(), 1, "{result}");
}

#[tokio::test]
async fn sound_comes_mixed_or_by_channel() {
    let bench = Bench::new();
    let blob = bench.keep(&fixture("call_dual_channel.m4a"));
    for (asked, files, codec) in
        [(json!({}), 1, "pcm_s16le"), (json!({"channels": "split", "format": "flac"}), 2, "flac")]
    {
        let mut input = asked;
        input["blob"] = json!(blob);
        let job = bench.job("audio", input).await.unwrap();
        let result = job.tasks[&TaskKind::Audio.whole()].result.clone().unwrap();
        assert_eq!(result["files"].as_array().unwrap().len(), files, "{result}");
        let duration = result["duration_ms"].as_i64().unwrap();
        assert!((duration - 35_500).abs() < 100, "{result}");
        for hash in result["blobs"].as_array().unwrap() {
            let show = "-v error -show_entries stream=codec_name,sample_rate,channels -of csv=p=0 FILE";
            assert_eq!(said("/usr/bin/ffprobe", show, &file(&bench, hash)).trim(), format!("{codec},16000,1"));
        }
    }
    // The agent speaks first, on the left.
    let split = bench.job("audio", json!({"blob": blob, "channels": "split"})).await.unwrap();
    let blobs = split.tasks[&TaskKind::Audio.whole()].result.clone().unwrap()["blobs"].clone();
    let loud_from = |hash: &Value| {
        let said = said(
            "/usr/bin/ffmpeg",
            "-hide_banner -i FILE -af silencedetect=n=-40dB:d=0.5 -f null -",
            &file(&bench, hash),
        );
        let ends = said.split("silence_end: ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        let starts =
            said.split("silence_start: ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        if starts.is_some_and(|starts| starts < 0.1) { ends.unwrap_or(f64::MAX) } else { 0.0 }
    };
    assert!(loud_from(&blobs[0]) < loud_from(&blobs[1]), "{blobs}");
    let silent = bench.make("-f lavfi -i testsrc2=s=320x180:r=25:d=2 -c:v libx264 -preset ultrafast", "silent.mp4");
    assert_eq!(bench.made("audio", &silent).await, json!({ "status": "unavailable", "reason": "no audio" }));
}

#[tokio::test]
async fn a_storyboard_shows_what_is_on_at_its_times() {
    let bench = Bench::new();
    let source = fixture("meeting_360p_25s.mp4");
    let result = bench.made("storyboard", &bench.keep(&source)).await;
    assert_eq!(
        (&result["width"], &result["height"], &result["rows"]),
        (&json!(160), &json!(90), &json!(1)),
        "{result}"
    );
    let vtt = fs::read_to_string(file(&bench, &result["blobs"]["vtt"])).unwrap();
    let cues: Vec<&str> = vtt.lines().filter(|line| line.contains("#xywh=")).collect();
    assert_eq!(Some(cues.len()), result["pictures"].as_u64().and_then(|n| usize::try_from(n).ok()), "{vtt}");
    let starts: Vec<f64> =
        vtt.lines().filter_map(|line| line.split_once(" --> ")?.0.rsplit(':').next()?.parse().ok()).collect();
    assert!(cues.len() >= 6 && starts[1] > 3.9, "{vtt}");
    let sheet = file(&bench, &result["blob"]);
    for (cue, start) in cues.iter().zip(&starts) {
        let place: Vec<&str> = cue.split_once("#xywh=").unwrap().1.split(',').collect();
        let crop = [place[2], place[3], place[0], place[1]].join(":");
        let found = alike(&sheet, &crop, &source, *start);
        assert!(found > 0.9, "{cue} at {start}: {found}");
    }
    let silent = bench.keep(&fixture("speech_librivox_16k.wav"));
    assert_eq!(bench.made("storyboard", &silent).await["status"], "unavailable");
}

#[tokio::test]
async fn a_clip_is_cut_to_the_frame_and_in_step() {
    let bench = Bench::new();
    let source = fixture("sync_flash_beep_2997_30s.mp4");
    let blob = bench.keep(&source);
    let input = |start_ms: u64, end_ms: u64| json!({"blob": blob, "start_ms": start_ms, "end_ms": end_ms});
    let job = bench.job("clip", input(9_500, 15_100)).await.unwrap();
    let result = job.tasks[&TaskKind::Clip.whole()].result.clone().unwrap();
    let inside: Vec<f64> =
        frames(&source).into_iter().map(|frame| frame.0).filter(|at| (9.5..15.1).contains(at)).collect();
    let cut = frames(&bench.path(&result));
    assert_eq!(cut.len(), inside.len(), "{result}");
    for ((at, _), before) in cut.iter().zip(&inside) {
        assert!((at - (before - inside[0])).abs() < 0.002, "{at} {before}");
    }
    let offsets = crate::normalize::offsets(&bench.path(&result));
    assert!(offsets.len() >= 2 && offsets.iter().all(|offset| offset.abs() < 0.033 + 0.02), "{offsets:?}");
    let beyond = bench.job("clip", input(40_000, 41_000)).await.unwrap_err();
    assert_eq!((beyond.code, beyond.retry), ("input_invalid", Retry::Never), "{beyond}");
    assert!(beyond.message.contains("start_ms") && beyond.message.contains("30030"), "{beyond}");
    let last = bench.job("clip", input(29_000, 90_000)).await.unwrap();
    let last = last.tasks[&TaskKind::Clip.whole()].result.clone().unwrap();
    assert_eq!(last["frames"], json!(30), "what there is of it: {last}");
}

#[tokio::test]
async fn a_client_may_say_how_it_is_encoded() {
    let bench = Bench::new();
    let blob = bench.keep(&fixture("meeting_360p_25s.mp4"));
    let made = async |args: Value| {
        let job = bench.job("normalize", json!({"blob": blob, "ffmpeg_args": args})).await.unwrap();
        job.tasks[&TaskKind::Normalize.whole()].result.clone().unwrap()
    };
    let (small, large) = (made(json!(["-crf", "40", "-profile:v", "main"])).await, made(json!(["-crf", "18"])).await);
    assert_eq!((&small["pass_through"], &large["pass_through"]), (&json!(false), &json!(false)));
    assert!(small["bytes"].as_u64().unwrap() * 3 < large["bytes"].as_u64().unwrap() * 2, "{small} {large}");
    let profile = "-v error -select_streams v -show_entries stream=profile -of csv=p=0 FILE";
    assert_eq!(said("/usr/bin/ffprobe", profile, &bench.path(&small)).trim(), "Main");
    let hostile = json!({"blob": blob, "ffmpeg_args": ["-i", "/etc/passwd"]});
    let error = bench.job("normalize", hostile).await.unwrap_err();
    assert_eq!((error.code, error.retry), ("input_invalid", Retry::Never), "{error}");
}

//! Recordings come out playable, in step, and the same however often the work was interrupted.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use steward_actors::blob::BlobHash;
use steward_actors::domain::task::{TaskId, TaskKind};
use steward_actors::task::runner::{Report, Retry, TaskRun};

use crate::support::{Bench, fixture, frames, said};

/// The least offset that people notice.
const OFFSET_MAX: f64 = 0.033;

/// The fixture with other sound, so that it must be encoded again.
fn flashes(bench: &Bench) -> String {
    let args = format!("-i {} -c:v copy -c:a libmp3lame", fixture("sync_flash_beep_2997_30s.mp4").display());
    bench.make(&args, "flashes.mp4")
}

/// When the picture turns white, and when the beep starts.
fn signals(file: &Path) -> (Vec<f64>, Vec<f64>) {
    let bright = "-v error -f lavfi -i movie=FILE,signalstats -show_entries frame=pts_time:frame_tags=lavfi.signalstats.YAVG -of csv=p=0";
    let lines = said("/usr/bin/ffprobe", bright, file);
    let luma = lines.lines().filter_map(|line| {
        let (time, luma) = line.split_once(',')?;
        Some((time.parse::<f64>().ok()?, luma.trim_end_matches(',').parse::<f64>().ok()?))
    });
    let luma: Vec<_> = luma.collect();
    let rises = luma.windows(2).filter(|pair| pair[0].1 < 100.0 && pair[1].1 >= 100.0).map(|pair| pair[1].0);
    let quiet = said("/usr/bin/ffmpeg", "-hide_banner -i FILE -vn -af silencedetect=n=-30dB:d=0.3 -f null -", file);
    let loud = quiet.lines().filter_map(|line| line.split_once("silence_end: ")?.1.split(' ').next()?.parse().ok());
    (rises.collect(), loud.collect())
}

/// How far each beep is behind its flash.
pub(crate) fn offsets(file: &Path) -> Vec<f64> {
    let (flashes, beeps) = signals(file);
    let nearest = |flash: &f64| beeps.iter().map(|beep| beep - flash).min_by(|a, b| a.abs().total_cmp(&b.abs()));
    flashes.iter().filter_map(nearest).filter(|offset| offset.abs() < 0.9).collect()
}

#[tokio::test]
async fn chunks_join_without_a_trace() {
    let bench = Bench::new();
    let result = bench.made("normalize", &flashes(&bench)).await;
    let output = bench.path(&result);
    assert_eq!((&result["video_codec"], &result["audio_codec"]), (&json!("h264"), &json!("aac")));
    assert_eq!((&result["status"], &result["pass_through"]), (&json!("complete"), &json!(false)));
    assert!(result["chunks"].as_u64().unwrap() >= 4, "{result}");
    let frames = frames(&output);
    assert_eq!(frames.len(), 900);
    for (at, (time, _)) in (0_u32..).zip(&frames) {
        assert!((time - f64::from(at) * 1001.0 / 30_000.0).abs() < 0.001, "frame {at} at {time}");
    }
    let keys: Vec<f64> = frames.iter().filter(|frame| frame.1).map(|frame| frame.0).collect();
    assert!(keys.windows(2).all(|pair| pair[1] - pair[0] < 2.04), "{keys:?}");
    let source = offsets(&fixture("sync_flash_beep_2997_30s.mp4"));
    let offsets = offsets(&output);
    assert!(source.len() >= 12 && offsets.len() == source.len(), "{source:?} {offsets:?}");
    for (before, after) in source.iter().zip(&offsets) {
        assert!((after - before).abs() < OFFSET_MAX, "{source:?} {offsets:?}");
    }
}

/// Else a long recording would be taken for one that stands still.
#[tokio::test]
async fn a_tool_at_work_is_heard_also_where_its_progress_is_not_shown() {
    let bench = Bench::new();
    let blob = bench.make("-f lavfi -i sine=d=60 -c:a libmp3lame", "tone.mp3");
    let ended = bench.run(&bench.task(TaskKind::Audio, &blob), |_, _| {}).await;
    ended.result.unwrap();
    assert!(ended.reports.iter().any(|report| matches!(report, Report::GetsOn)), "{:?}", ended.reports);
}

#[tokio::test]
async fn work_that_is_done_again_elsewhere_makes_the_same_bytes() {
    let bench = Bench::new();
    let blob = flashes(&bench);
    let job = bench.job("normalize", json!({ "blob": blob })).await.unwrap();
    let (second, whole) = (TaskKind::Encode.part(2), TaskKind::Normalize.whole());
    // Nothing but results and blobs goes from one node to another: the folder is another node's.
    fs::remove_dir_all(bench.dir.path().join("scratch")).unwrap();
    for task in [second, TaskKind::Sound.whole(), whole] {
        let run = TaskRun { task, results: job.results_for(task), ..bench.task(task.kind, &blob) };
        let interrupted = bench.run(&run, |report, cancel| {
            if matches!(report, Report::Progress { .. }) {
                cancel.cancel();
            }
        });
        if task != TaskKind::Sound.whole() {
            assert_eq!(interrupted.await.result.map_err(|error| error.retry), Err(Retry::Cancelled), "{task}");
        }
        assert_eq!(
            bench.run(&run, |_, _| {}).await.result.unwrap(),
            job.tasks[&task].result.clone().unwrap(),
            "{task}"
        );
    }
    // Done anew from the start, it may find a recording that needs no pieces.
    let mut run = TaskRun { task: second, results: job.results_for(second), ..bench.task(second.kind, &blob) };
    for probe in [
        json!({"split": null}),
        json!({"split": {"chunks": 1, "has_sound": true, "recipe": "r", "plan": [[0, 1, null]]}}),
    ] {
        run.results.insert(TaskKind::Probe.whole(), probe);
        assert_eq!(bench.run(&run, |_, _| {}).await.result.unwrap()["blob"], Value::Null);
    }
    let encoded = job.results_for(whole).into_keys().filter(|task| task.kind == TaskKind::Encode).count();
    assert!(encoded >= 4, "each chunk is a task");
    assert_eq!(
        job.results_for(second).into_keys().collect::<Vec<_>>(),
        [TaskKind::Fetch.whole(), TaskKind::Probe.whole()]
    );
}

#[tokio::test]
async fn pieces_that_do_not_fit_are_not_joined() {
    let bench = Bench::new();
    let blob = flashes(&bench);
    let job = bench.job("normalize", json!({ "blob": blob })).await.unwrap();
    let whole = TaskKind::Normalize.whole();
    let joined = job.tasks[&whole].result.clone().unwrap();
    assert_eq!(joined["one_pass"], Value::Null, "{joined}");
    let with = |change: &dyn Fn(&mut Value), task: TaskId| {
        let mut results = job.results_for(whole);
        change(results.get_mut(&task).unwrap());
        TaskRun { results, ..bench.task(TaskKind::Normalize, &blob) }
    };
    let [second, third] = [TaskKind::Encode.part(2), TaskKind::Encode.part(3)];
    let of_third = job.tasks[&third].result.as_ref().unwrap()["blob"].clone();
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, Change<'_>); 3] = [
        ("encode-2 of 5 chunks was done with other settings", &|piece| piece["recipe"] = json!("another")),
        ("encode-2 of 5 chunks has not the planned number", &|piece| piece["blob"] = Value::Null),
        ("the output is not what was planned", &|piece| piece["blob"] = of_third.clone()),
    ];
    for (why, change) in cases {
        fs::remove_dir_all(bench.dir.path().join("scratch")).unwrap();
        let made = bench.run(&with(change, second), |_, _| {}).await.result.unwrap();
        assert!(made["one_pass"].as_str().unwrap().contains(why), "{made}");
        assert_eq!((&made["status"], &made["chunks"]), (&json!("complete"), &json!(1)), "{made}");
        assert_eq!(frames(&bench.path(&made)).len(), 900);
    }
}

#[tokio::test]
async fn what_browsers_play_already_is_passed_through() {
    let bench = Bench::new();
    let blob = bench.keep(&fixture("meeting_360p_25s.mp4"));
    let probe = bench.done(TaskKind::Probe, &blob).await;
    assert_eq!((&probe["decision"], &probe["reasons"]), (&json!("pass_through"), &json!([])));
    let result = bench.made("normalize", &blob).await;
    assert_eq!((&result["pass_through"], &result["chunks"]), (&json!(true), &json!(0)));
    assert_eq!(frames(&bench.path(&result)).len(), frames(&fixture("meeting_360p_25s.mp4")).len());
}

#[tokio::test]
async fn sound_that_starts_late_keeps_its_place() {
    let bench = Bench::new();
    let make = "-f lavfi -i testsrc2=s=320x180:r=25:d=8 -itsoffset 1.44 -f lavfi -i sine=d=6 -c:v libx264 -preset ultrafast -c:a aac";
    let blob = bench.make(make, "late.mp4");
    let probe = bench.done(TaskKind::Probe, &blob).await;
    assert_eq!(probe["reasons"], json!(["timestamps"]), "{probe}");
    let result = bench.made("normalize", &blob).await;
    let (_, beeps) = signals(&bench.path(&result));
    assert!((beeps[0] - 1.44).abs() < OFFSET_MAX, "{beeps:?}");
}

/// Encodes a recording and checks what comes out.
async fn becomes(make: &str, name: &str, reason: &str, size: (u32, u32)) -> (Bench, Value) {
    let bench = Bench::new();
    let blob = bench.make(make, name);
    let probe = bench.done(TaskKind::Probe, &blob).await;
    assert!(probe["reasons"].as_array().expect("a list").contains(&json!(reason)), "{probe}");
    let result = bench.made("normalize", &blob).await;
    assert_eq!((&result["width"], &result["height"]), (&json!(size.0), &json!(size.1)), "{result}");
    let again = bench.done(TaskKind::Probe, result["blob"].as_str().expect("a blob")).await;
    assert_eq!((&again["decision"], &again["reasons"]), (&json!("pass_through"), &json!([])), "{again}");
    assert_eq!(probe["video"]["frames"], again["video"]["frames"]);
    (bench, result)
}

#[tokio::test]
async fn odd_sizes_and_full_colour_become_what_browsers_play() {
    let make = "-f lavfi -i testsrc2=s=641x361:r=25:d=3 -c:v libx264 -preset ultrafast -pix_fmt yuv444p";
    becomes(make, "odd.mp4", "pixel_format", (640, 360)).await;
}

#[tokio::test]
async fn turned_pictures_are_turned_upright() {
    let bench = Bench::new();
    let flat = bench.dir.path().join("flat.mp4");
    crate::support::ffmpeg(
        "-f lavfi -i testsrc2=s=640x360:r=25:d=3 -c:v libx264 -preset ultrafast -pix_fmt yuv420p",
        &flat,
    );
    let make = format!("-i {} -c copy -metadata:s:v rotate=90", flat.display());
    becomes(&make, "turned.mp4", "rotation", (360, 640)).await;
}

#[tokio::test]
async fn a_varying_frame_rate_keeps_every_frame_at_its_time() {
    // Every seventh picture for ten seconds, then all of them: a screen recording.
    let make = "-f lavfi -i testsrc2=s=320x180:r=30:d=20 -vf select='gt(t,10)+not(mod(n,7))' -fps_mode passthrough -c:v libvpx -deadline realtime -cpu-used 8 -g 60";
    let (bench, result) = becomes(make, "screen.webm", "video_codec", (320, 180)).await;
    let (before, after) = (frames(&bench.dir.path().join("screen.webm")), frames(&bench.path(&result)));
    assert!(result["chunks"].as_u64().unwrap() > 1, "{result}");
    for ((source, _), (output, _)) in before.iter().zip(&after) {
        assert!((source - before[0].0 - output).abs() < 0.002, "{source} became {output}");
    }
}

#[tokio::test]
async fn a_stream_that_starts_at_an_hour_is_cut_where_it_should() {
    let make = "-f lavfi -i testsrc2=s=320x180:r=25:d=16 -f lavfi -i sine=d=16 -c:v libx264 -preset ultrafast -g 50 -bf 2 -pix_fmt yuv420p -c:a aac -output_ts_offset 3600";
    let (_bench, result) = becomes(make, "broadcast.ts", "container", (320, 180)).await;
    assert!(result["chunks"].as_u64().unwrap() > 1, "{result}");
}

#[tokio::test]
async fn sound_alone_is_a_recording_too() {
    let bench = Bench::new();
    let blob = bench.keep(&fixture("speech_librivox_16k.wav"));
    let result = bench.made("normalize", &blob).await;
    assert_eq!((&result["video_codec"], &result["audio_codec"]), (&Value::Null, &json!("aac")));
    let duration = result["duration_ms"].as_i64().unwrap();
    assert!((duration - 24_730).abs() < 60, "{result}");
    let thumbnail = bench.done(TaskKind::Thumbnail, &blob).await;
    assert_eq!(thumbnail, json!({ "status": "unavailable", "reason": "no video" }));
}

#[tokio::test]
async fn a_thumbnail_shows_the_recording() {
    let bench = Bench::new();
    let blob = bench.keep(&fixture("meeting_360p_25s.mp4"));
    let result = bench.done(TaskKind::Thumbnail, &blob).await;
    assert_eq!((&result["width"], &result["height"], &result["at_ms"]), (&json!(640), &json!(360), &json!(2473)));
    let bytes = fs::read(bench.path(&result)).unwrap();
    assert!(bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]), "a whole JPEG");
}

#[tokio::test]
async fn a_recording_cut_short_is_partial() {
    let bench = Bench::new();
    let whole = bench.dir.path().join("whole.mp4");
    crate::support::ffmpeg(
        &format!(
            "-i {} -c:v copy -c:a libmp3lame -movflags +faststart",
            fixture("sync_flash_beep_2997_30s.mp4").display()
        ),
        &whole,
    );
    let bytes = fs::read(&whole).unwrap();
    let cut = bench.dir.path().join("cut.mp4");
    fs::write(&cut, &bytes[..bytes.len() * 6 / 10]).unwrap();
    let blob = bench.keep(&cut);
    let probe = bench.done(TaskKind::Probe, &blob).await;
    assert_eq!(probe["status"], json!("partial"), "{probe}");
    let result = bench.made("normalize", &blob).await;
    assert_eq!(result["status"], json!("partial"), "{result}");
    let missing = result["missing_ms"].as_i64().unwrap();
    assert!((missing + result["duration_ms"].as_i64().unwrap() - 30_030).abs() < 200 && missing > 5000, "{result}");
}

#[tokio::test]
async fn a_damaged_recording_gives_what_can_be_read() {
    let bench = Bench::new();
    let whole = bench.blobs.path(&BlobHash::parse(&flashes(&bench)).unwrap());
    let mut bytes = fs::read(whole).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..].iter_mut().step_by(211).take(400).for_each(|byte| *byte ^= 0x55);
    let damaged = bench.dir.path().join("damaged.mp4");
    fs::write(&damaged, bytes).unwrap();
    let result = bench.made("normalize", &bench.keep(&damaged)).await;
    let (found, missing) = (frames(&bench.path(&result)).len(), result["missing_frames"].as_u64().unwrap());
    assert_eq!(found + usize::try_from(missing).unwrap(), 900, "{result}");
    assert!(found > 700, "{result}");
}

#[tokio::test]
async fn what_is_no_recording_is_refused_once() {
    let bench = Bench::new();
    let secret = bench.dir.path().join("secret.ts");
    crate::support::ffmpeg("-f lavfi -i testsrc2=s=320x180:r=25:d=2 -c:v libx264 -preset ultrafast", &secret);
    let hostile = [
        ("html", "<!doctype html><title>404</title>".to_owned()),
        ("empty", String::new()),
        ("hls", format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n", secret.display())),
        ("concat", format!("ffconcat version 1.0\nfile {}\n", secret.display())),
    ];
    for (name, content) in hostile {
        let file = bench.dir.path().join(name);
        fs::write(&file, content).unwrap();
        let blob = bench.keep(&file);
        for kind in [TaskKind::Probe, TaskKind::Normalize, TaskKind::Thumbnail] {
            let error = bench.failed(kind, &blob).await;
            assert_eq!((error.code, error.retry), ("media_unreadable", Retry::Never), "{name}: {error}");
            assert!(!error.message.contains('/'), "a path in {error}");
        }
    }
    let error = bench.failed(TaskKind::Probe, &"0".repeat(64)).await;
    assert_eq!((error.code, error.retry), ("blob_absent", Retry::BackOff));
    let error = bench.failed(TaskKind::Probe, "../../etc/passwd").await;
    assert_eq!((error.code, error.retry), ("input_invalid", Retry::Never));
}

#[tokio::test]
async fn a_recording_beyond_the_limit_is_refused_before_work() {
    let mut bench = Bench::new();
    bench.config.duration_max = std::time::Duration::from_secs(10);
    let blob = bench.keep(&fixture("meeting_360p_25s.mp4"));
    let error = bench.failed(TaskKind::Probe, &blob).await;
    assert_eq!((error.code, error.retry), ("media_too_long", Retry::Never));
}

#[tokio::test]
async fn fetch_names_a_blob_that_is_there_and_reaches_no_inner_address() {
    let bench = Bench::new();
    let blob = bench.keep(&fixture("meeting_360p_25s.mp4"));
    let result = bench.done(TaskKind::Fetch, &blob).await;
    assert_eq!(result, json!({ "blob": blob, "bytes": 566_168, "content_type": null }));
    let mut task = bench.task(TaskKind::Fetch, &blob);
    task.input = json!({ "url": "http://169.254.169.254/latest/meta-data" });
    let error = bench.run(&task, |_, _| {}).await.result.unwrap_err();
    assert_eq!((error.code, error.retry), ("egress_refused", Retry::Never), "{error}");
}

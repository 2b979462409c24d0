//! `ctl job show`: a job as people read it. A bar for each task, what the probe found, and what came out.

use serde_json::{Map, Value, json};
use steward_proto::job::v1 as pb;

use super::client::Client;
use super::show;

/// The length of a bar in characters, between its borders.
const BAR_WIDTH: usize = 24;
/// Full, and the eighths of the character at a bar's end.
const CELLS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
const FULL: char = '█';
/// Progress is told in single precision: 0.29 arrives as a little less.
const ROUNDED: f64 = 1e-6;

/// Prints a job; as JSON everything that is known of it.
pub(super) fn print(client: &mut Client, job: &pb::Job) -> anyhow::Result<()> {
    if client.json {
        return client.out.one(true, &show::job(job));
    }
    let tasks: Vec<Value> = job.tasks.iter().map(show::task).collect();
    client.out.one(false, &head(job))?;
    client.out.line("")?;
    let rows: Vec<Value> = job.tasks.iter().zip(&tasks).map(|(task, shown)| row(task, shown)).collect();
    client.out.rows(false, &rows, &["task", "progress", "state", "attempt", "note"])?;
    let results: Vec<Value> = tasks.iter().flat_map(results).collect();
    if results.is_empty() {
        return Ok(());
    }
    client.out.line("")?;
    client.out.rows(false, &results, &["result", "of", "blob"])
}

/// A job in a list: with the recording it is about, in one line.
pub(super) fn listed(job: &pb::Job) -> Value {
    let mut shown = show::job_row(job);
    let probed = job.tasks.iter().find(|task| task.kind == "probe").map(|task| show::parsed(&task.result_json));
    if let Some(facts) = probed.filter(Value::is_object) {
        shown["recording"] = json!(recording(&facts));
        shown["decision"] = json!(decision(&facts));
    }
    shown
}

/// The job without what is empty.
fn head(job: &pb::Job) -> Value {
    let shown = listed(job);
    let fields = shown.as_object().into_iter().flatten();
    let told = fields.filter(|(_, value)| !value.is_null() && **value != json!(0));
    Value::Object(told.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

/// A task with its bar. Why it failed or waits to be tried again tells more than what it was at.
fn row(task: &pb::Task, shown: &Value) -> Value {
    let has_succeeded = task.state() == pb::TaskState::Succeeded;
    let note = match shown["error_code"].as_str() {
        Some(code) => format!("{code}: {}", shown["error_message"].as_str().unwrap_or_default()),
        None if has_succeeded => String::new(),
        None => task.note.clone(),
    };
    let share = if has_succeeded { 1.0 } else { f64::from(task.progress) };
    json!({
        "task": task.kind,
        "progress": bar(share),
        "state": shown["state"],
        "attempt": task.attempt,
        "note": note,
    })
}

/// A bar and its percentage, which is 100 at the end only.
fn bar(share: f64) -> String {
    let eighths = (0..BAR_WIDTH * CELLS.len()).filter(|eighth| reaches(share, *eighth + 1, BAR_WIDTH * CELLS.len()));
    let eighths = eighths.count();
    let mut cells: String = std::iter::repeat_n(FULL, eighths / CELLS.len()).collect();
    if eighths < BAR_WIDTH * CELLS.len() {
        cells.push(CELLS[eighths % CELLS.len()]);
    }
    let percent = (1..=100).filter(|percent| reaches(share, *percent, 100)).count();
    format!("▕{cells:BAR_WIDTH$}▏{percent:>3}%")
}

/// Whether a share is at least so many parts of a whole.
fn reaches(share: f64, parts: usize, whole: usize) -> bool {
    let of = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    share + ROUNDED >= of(parts) / of(whole)
}

/// What was probed, in one line: container, length, picture, sound, and what is missing.
fn recording(facts: &Value) -> String {
    let mut parts = vec![text(&facts["container"]), length(&facts["duration_ms"])];
    let video = &facts["video"];
    if video.is_object() {
        let size = format!("{}x{}", video["width"], video["height"]);
        let turned = video["rotation"].as_i64().filter(|turned| *turned != 0);
        let turned = turned.map(|turned| format!(", turned by {turned}°")).unwrap_or_default();
        parts.push(format!("{} {size}, {} pictures{turned}", text(&video["codec"]), video["frames"]));
    }
    let audio = &facts["audio"];
    if audio.is_object() {
        let channels =
            if audio["channels"] == 1 { "1 channel".to_owned() } else { format!("{} channels", audio["channels"]) };
        parts.push(format!("{} {channels}, {} Hz", text(&audio["codec"]), audio["sample_rate"]));
    }
    if facts["missing_ms"].as_u64().is_some_and(|missing| missing > 0) {
        parts.push(format!("{} missing", length(&facts["missing_ms"])));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

/// Whether it is passed through, or why not.
fn decision(facts: &Value) -> String {
    let reasons: Vec<String> = facts["reasons"].as_array().into_iter().flatten().map(text).collect();
    match reasons.is_empty() {
        true => text(&facts["decision"]),
        false => format!("{}: {}", text(&facts["decision"]), reasons.join("; ")),
    }
}

/// What a task left: the blob it is about first, then the others, by their names where they have some.
fn results(task: &Value) -> Vec<Value> {
    let result = &task["result"];
    let row = |name: &str, blob: &Value| json!({"result": name, "of": task["task"], "blob": blob});
    let own = result["blob"].as_str().map(|_| row(&about(result), &result["blob"]));
    let named = result["blobs"].as_object().into_iter().flatten().map(|(name, blob)| row(name, blob));
    let listed = result["blobs"].as_array().into_iter().flatten().map(|blob| row("", blob));
    own.into_iter().chain(named).chain(listed).collect()
}

/// Kind, size and length of a blob, as far as its task told them.
fn about(result: &Value) -> String {
    let mut parts = vec![text(&result["content_type"]), text(&result["video_codec"]), text(&result["audio_codec"])];
    if result["width"].is_u64() {
        parts.push(format!("{}x{}", result["width"], result["height"]));
    }
    parts.push(length(&result["duration_ms"]));
    parts.push(result["bytes"].as_u64().map(|bytes| format!("{bytes} bytes")).unwrap_or_default());
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A length such as 1:02:03.450; empty without one.
fn length(ms: &Value) -> String {
    let Some(ms) = ms.as_u64() else { return String::new() };
    let (s, ms) = (ms / 1000, ms % 1000);
    let (hours, minutes, s) = (s / 3600, s / 60 % 60, s % 60);
    format!("{hours}:{minutes:02}:{s:02}.{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_and_is_full_at_the_end_only() {
        let empty = " ".repeat(BAR_WIDTH);
        assert_eq!(bar(0.0), format!("▕{empty}▏  0%"));
        assert_eq!(bar(0.5), format!("▕{}{}▏ 50%", "█".repeat(12), " ".repeat(12)));
        assert_eq!(bar(0.999), format!("▕{}▉▏ 99%", "█".repeat(BAR_WIDTH - 1)));
        assert_eq!(bar(1.0), format!("▕{}▏100%", "█".repeat(BAR_WIDTH)));
        for share in [f64::NAN, -1.0] {
            assert_eq!(bar(share), format!("▕{empty}▏  0%"), "{share}");
        }
        for percent in 0..=100_u16 {
            let drawn = bar(f64::from(f32::from(percent) / 100.0));
            assert_eq!(drawn.chars().count(), BAR_WIDTH + 6, "{drawn}");
            assert!(drawn.ends_with(&format!("{percent:>3}%")), "{drawn}");
        }
    }

    #[test]
    fn a_recording_is_told_in_one_line() {
        let facts = json!({"status": "complete", "container": "mov,mp4", "duration_ms": 3_723_450, "missing_ms": 1_500,
            "video": {"codec": "h264", "width": 320, "height": 180, "frames": 900, "rotation": 90},
            "audio": {"codec": "aac", "channels": 2, "sample_rate": 48_000},
            "decision": "transcode", "reasons": ["picture: vp9 is not h264", "the picture is turned"]});
        assert_eq!(
            recording(&facts),
            "mov,mp4; 1:02:03.450; h264 320x180, 900 pictures, turned by 90°; aac 2 channels, 48000 Hz; 0:00:01.500 missing"
        );
        assert_eq!(decision(&facts), "transcode: picture: vp9 is not h264; the picture is turned");
        let voice = json!({"container": "wav", "duration_ms": 0, "missing_ms": 0, "video": null,
            "audio": {"codec": "pcm_s16le", "channels": 1, "sample_rate": 16_000}, "decision": "pass_through"});
        assert_eq!(recording(&voice), "wav; 0:00:00.000; pcm_s16le 1 channel, 16000 Hz");
        assert_eq!(decision(&voice), "pass_through");
    }

    #[test]
    fn results_name_all_blobs() {
        let task = json!({"task": "storyboard", "result": {"blob": "aa", "blobs": {"vtt": "bb"}, "bytes": 9662,
            "content_type": "image/jpeg", "width": 160, "height": 90}});
        let wanted = [
            json!({"result": "image/jpeg, 160x90, 9662 bytes", "of": "storyboard", "blob": "aa"}),
            json!({"result": "vtt", "of": "storyboard", "blob": "bb"}),
        ];
        assert_eq!(results(&task), wanted);
        let ladder = json!({"task": "hls", "result": {"blob": "aa", "blobs": ["bb", "cc"]}});
        let blobs: Vec<Value> = results(&ladder).into_iter().map(|row| row["blob"].clone()).collect();
        assert_eq!(blobs, ["aa", "bb", "cc"]);
        assert!(results(&json!({"task": "probe", "result": {"status": "complete"}})).is_empty());
        assert!(results(&json!({"task": "encode-1"})).is_empty());
    }
}

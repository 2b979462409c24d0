//! Media tools and process tables, as an observer beside the node uses them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The root of the checkout.
///
/// # Panics
/// When this crate lies elsewhere than the workspace says.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace").to_owned()
}

/// What ffprobe says about a file.
#[derive(Clone, Debug)]
pub struct Media {
    /// Of each track, in order.
    pub codecs: Vec<String>,
    pub duration_ms: u64,
}

/// Looks at bytes with ffprobe.
///
/// # Panics
/// When they are no media.
#[must_use]
pub fn probe(bytes: &[u8]) -> Media {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    fs::write(file.path(), bytes).expect("the file can be written");
    let args = ["-v", "error", "-print_format", "json", "-show_format", "-show_streams"];
    let output = Command::new("ffprobe").args(args).arg(file.path()).output().expect("ffprobe is installed");
    assert!(output.status.success(), "ffprobe: {}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("ffprobe prints JSON");
    let tracks = found["streams"].as_array().expect("there are tracks");
    let codecs = tracks.iter().map(|track| track["codec_name"].as_str().unwrap_or_default().to_owned()).collect();
    let seconds = found["format"]["duration"].as_str().unwrap_or_default();
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let part: u64 = format!("{part:0<3}")[..3].parse().unwrap_or(0);
    Media { codecs, duration_ms: whole.parse::<u64>().unwrap_or(0) * 1000 + part }
}

/// A recording repeated, without encoding it again: long enough to be caught at work.
///
/// # Panics
/// When ffmpeg refuses.
#[must_use]
pub fn looped(recording: &Path, times: u32) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let made = folder.path().join("looped.webm");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-stream_loop", &(times - 1).to_string(), "-i"])
        .arg(recording)
        .args(["-c", "copy"])
        .arg(&made)
        .output()
        .expect("ffmpeg is installed");
    assert!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
    fs::read(made).expect("ffmpeg has made the file")
}

/// The processes below one, as `name` and process id. Children of children count.
#[must_use]
pub fn children_of(pid: u32) -> Vec<(String, u32)> {
    let table: Vec<(u32, u32, String)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name stands in parentheses and may hold anything.
            let (_, rest) = stat.split_once('(')?;
            let (name, rest) = rest.rsplit_once(") ")?;
            Some((pid, rest.split(' ').nth(1)?.parse().ok()?, name.to_owned()))
        })
        .collect();
    let mut found: Vec<(String, u32)> = vec![];
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (pid, _, name) in table.iter().filter(|(_, of, _)| *of == parent) {
            parents.push(*pid);
            found.push((name.clone(), *pid));
        }
    }
    found
}

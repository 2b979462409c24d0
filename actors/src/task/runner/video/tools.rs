//! ffmpeg and ffprobe: the flags every call has, the sandbox around it, and how its progress is read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{VideoConfig, failure};
use crate::sandbox::{ChildError, Exit, Finished, Policy, Sandbox, Watch};
use crate::task::runner::{Reporter, TaskError};

/// Longest silence of a tool at work.
const STALL: Duration = Duration::from_secs(30);
/// Time for any call, on top of what its length allows.
const WALL_BASE: Duration = Duration::from_secs(60);
/// Seconds of work a second of recording may take.
const WALL_FACTOR: u32 = 20;
/// Time for a look at a file, packet scan included.
const PROBE_WALL: Duration = Duration::from_secs(60);
/// What a call writes may grow to this, and by this much for each second of recording, in one file or many: far more than
/// any encoder setting here makes.
const OUTPUT_BYTES_BASE: u64 = 256 << 20;
const OUTPUT_BYTES_PER_SECOND: u64 = 4 << 20;
/// The longest line a tool may print.
const LINE_BYTES_MAX: usize = 4 << 10;
/// A picture of 8192 by 4352.
const PIXELS_MAX: &str = "35651584";
const STREAMS_MAX: &str = "32";
/// Formats that hold one recording. Playlists, which name other files, are not among them.
const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,ogg,wav,mp3,aac,flac,amr,caf,aiff";

/// The tools and how they are confined.
#[derive(Debug)]
pub(super) struct Tools {
    pub config: VideoConfig,
    sandbox: Sandbox,
}

/// One run of ffmpeg.
pub(super) struct Call<'a> {
    /// Everything between the flags all calls share and the progress flags.
    pub args: Vec<String>,
    /// The only file it may read besides those in its folder.
    pub input: Option<&'a Path>,
    /// Where it runs and writes.
    pub folder: &'a Path,
    /// How much recording it works on; bounds its time and output.
    pub length: Duration,
}

/// Where ffmpeg is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub frame: u64,
    pub out_us: i64,
    /// Whether it said that it is done.
    pub ended: bool,
}

/// The options before `-i` that keep ffmpeg to one recording, and the file.
pub(super) fn input_args(input: &Path) -> Vec<String> {
    let mut args: Vec<String> = guard().map(str::to_owned).into();
    args.extend(["-i".to_owned(), format!("file:{}", input.display())]);
    args
}

fn guard() -> [&'static str; 8] {
    [
        "-protocol_whitelist",
        "file,pipe",
        "-format_whitelist",
        FORMATS,
        "-max_pixels",
        PIXELS_MAX,
        "-max_streams",
        STREAMS_MAX,
    ]
}

impl Tools {
    pub(super) fn new(config: VideoConfig) -> Self {
        Self { sandbox: Sandbox::new(config.sandbox.clone()), config }
    }

    /// Whether they are installed.
    pub(super) fn are_here(&self) -> bool {
        [&self.config.ffmpeg, &self.config.ffprobe].into_iter().all(|tool| tool.is_file())
    }

    /// Runs ffmpeg to its end; succeeds when it both ended well and said so.
    pub(super) async fn ffmpeg(
        &self,
        call: Call<'_>,
        reporter: &Reporter,
        on_progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Progress, TaskError> {
        let flags = ["-hide_banner", "-nostdin", "-v", "error", "-y", "-progress", "pipe:1", "-stats_period", "0.5"];
        let args = flags.map(str::to_owned).into_iter().chain(call.args).collect();
        let wall = WALL_BASE + call.length * WALL_FACTOR;
        let output_bytes_max = OUTPUT_BYTES_BASE + OUTPUT_BYTES_PER_SECOND * call.length.as_secs();
        let policy = Policy {
            program: self.config.ffmpeg.clone(),
            args,
            read: call.input.map(Path::to_owned).into_iter().collect(),
            write: Some(call.folder.to_owned()),
            cpu_seconds_max: wall.as_secs(),
            memory_bytes_max: self.config.memory_bytes_max,
            file_bytes_max: output_bytes_max,
            folder_bytes_max: output_bytes_max,
        };
        let (mut lines, mut progress) = (Lines::default(), Progress::default());
        let mut output = |bytes: &[u8]| {
            let before = progress;
            lines.feed(bytes, |line| progress.read(line));
            if progress != before {
                reporter.gets_on();
                on_progress(progress);
            }
            progress != before
        };
        let watch = Watch { stall: STALL, wall, output: &mut output };
        let finished = self.run(&policy, watch, reporter).await?;
        match (finished.exit, progress.ended) {
            (Exit::Code(0), true) => Ok(progress),
            (Exit::Code(0), false) => Err(failure::mismatch("the media tool left without saying that it was done")),
            (Exit::Code(_) | Exit::Signal(_), _) => Err(failure::exited(&finished)),
        }
    }

    /// Runs ffprobe on a file, handing over each line it prints.
    pub(super) async fn ffprobe(
        &self,
        input: &Path,
        args: &[&str],
        reporter: &Reporter,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), TaskError> {
        let mut all: Vec<String> = ["-hide_banner", "-v", "error"].map(str::to_owned).into();
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        all.extend(input_args(input));
        let policy = Policy {
            program: self.config.ffprobe.clone(),
            args: all,
            read: vec![input.to_owned()],
            write: None,
            cpu_seconds_max: PROBE_WALL.as_secs(),
            memory_bytes_max: self.config.memory_bytes_max,
            file_bytes_max: 0,
            folder_bytes_max: 0,
        };
        let mut lines = Lines::default();
        let mut output = |bytes: &[u8]| {
            lines.feed(bytes, &mut *on_line);
            true
        };
        let watch = Watch { stall: STALL, wall: PROBE_WALL, output: &mut output };
        let finished = self.run(&policy, watch, reporter).await?;
        if finished.exit == Exit::Code(0) { Ok(()) } else { Err(failure::exited(&finished)) }
    }

    async fn run(&self, policy: &Policy, watch: Watch<'_>, reporter: &Reporter) -> Result<Finished, TaskError> {
        let program: PathBuf = policy.program.file_name().map(PathBuf::from).unwrap_or_default();
        match self.sandbox.run(policy, watch, reporter.cancelled()).await {
            Ok(finished) => {
                if finished.exit != Exit::Code(0) {
                    let stderr = &finished.stderr_tail;
                    tracing::warn!(?program, exit = ?finished.exit, stderr, args = ?policy.args, "media tool failed");
                }
                Ok(finished)
            }
            // Somebody wanted that.
            Err(error @ ChildError::Cancelled) => Err(failure::ended(&error)),
            Err(error) => {
                tracing::warn!(?program, error = ?error, args = ?policy.args, "media tool was stopped");
                Err(failure::ended(&error))
            }
        }
    }
}

impl Progress {
    /// Takes one `key=value` line. Values may be `N/A`.
    fn read(&mut self, line: &str) {
        match line.trim().split_once('=') {
            Some(("frame", value)) => self.frame = value.parse().unwrap_or(self.frame),
            Some(("out_time_us", value)) => self.out_us = value.parse().unwrap_or(self.out_us),
            Some(("progress", value)) => self.ended = value == "end",
            Some(_) | None => {}
        }
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.0.len());
            self.0.extend(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                take(&String::from_utf8_lossy(&self.0));
                self.0.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_progress_however_it_is_cut() {
        let printed =
            b"frame=12\nfps=N/A\nout_time_us=480000\nprogress=continue\nframe=N/A\nout_time_us=N/A\nprogress=end\n";
        for size in [1, 3, 7, printed.len()] {
            let (mut lines, mut progress) = (Lines::default(), Progress::default());
            printed.chunks(size).for_each(|bytes| lines.feed(bytes, |line| progress.read(line)));
            assert_eq!(progress, Progress { frame: 12, out_us: 480_000, ended: true }, "pieces of {size}");
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut lines = Lines::default();
        (0..100).for_each(|_| lines.feed(&[b'x'; 1000], |_| panic!("no line ended")));
        assert_eq!(lines.0.len(), LINE_BYTES_MAX);
    }
}

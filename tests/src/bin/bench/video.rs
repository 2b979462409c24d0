//! A recording that must be encoded: what it costs in chunks against one ffmpeg with the same settings, and how much sooner
//! three nodes are done than one, each held to half a core.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use serde_json::Value;
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_proto::job::v1::ReadBlobRequest;
use steward_proto::job::v1::job_service_client::JobServiceClient;

use crate::cluster::nodes::{Cluster, NODES, etcd_is_installed};
use crate::figure::{Figure, Report, Want, real};
use crate::meter::Meter;
use crate::node::{Api, Node};
use crate::recording::{ACCOUNT, done, upload};
use crate::{Settings, figure, tasks};

const FIXTURE: &str = "tests/fixtures/media/meeting_360p_25s.mp4";
/// Twelve chunks of 32 s: the first key frames after 30 s.
const SECONDS: &str = "384";
/// What the node is told to do, said to ffmpeg alone.
const SAME: &str = "-vf setpts=PTS-STARTPTS,scale=640:360,setsar=1,format=yuv420p -fps_mode passthrough -enc_time_base -1 \
    -c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p -profile:v high -threads 1 -sc_threshold 0 \
    -force_key_frames expr:gte(t,n_forced*2) -af aresample=async=1:first_pts=0 -c:a aac -b:a 96k -ac 2 -ar 48000 \
    -map_metadata -1 -movflags +faststart -video_track_timescale 90000";
const SHARDS: usize = 8;
/// Where groups are held to a share of the cores.
const GROUPS: &str = "/sys/fs/cgroup/cpu";
/// What a node that starts within such a group finds by itself: it is put there when it runs.
const ONE_SLOT: &str = "tasks.cpu_slots=1";
/// Of each 100 ms.
const HALF_CORE: &str = "50000";

/// CPU and size of the chunked encode, and how alike the picture is, against the same in one piece.
const CPU_MAX: f64 = 1.15;
const SIZE_MAX: f64 = 1.01;
const SSIM_LESS_MAX: f64 = -0.001;
const SPREAD_MIN: f64 = 2.5;

/// The recording, and what came of it.
struct Bench {
    folder: tempfile::TempDir,
    source: PathBuf,
}

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# video: a recording of 384 s, 640x360, that must be encoded for its sound");
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let source = folder.path().join("source.mp4");
    let make = format!("-stream_loop -1 -i {FIXTURE} -t {SECONDS} -map 0:v -map 0:a -c:v copy -c:a libmp3lame");
    ffmpeg(&make, &source)?;
    let bench = Bench { folder, source };
    bench.cost(settings, report).await?;
    bench.spread(settings, report).await
}

impl Bench {
    async fn cost(&self, settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
        let (mut ours, mut theirs, mut sizes, mut alike) = (vec![], vec![], vec![], vec![]);
        let one = self.folder.path().join("one.mp4");
        for run in 0..settings.runs {
            let meter = Meter::start(&[std::process::id()])?;
            ffmpeg(&format!("-threads 1 -i {} {SAME}", self.source.display()), &one)?;
            theirs.push(meter.stop()?.cpu_s);
            let node = Node::start(&settings.steward, &[])?;
            tasks::raised(&node).await?;
            let api = node.api().await?;
            let blob = upload(&api, &self.source).await?;
            let meter = Meter::start(&[node.pid()])?;
            let (job, result) = done(&api, "normalize", &blob).await?;
            let usage = meter.stop()?;
            ours.push(usage.cpu_s);
            let chunks = job.tasks.iter().filter(|task| task.kind.starts_with("encode-")).count();
            ensure!(chunks == 12 && result["one_pass"].is_null(), "{chunks} chunks: {result}");
            let chunked = self.folder.path().join("chunked.mp4");
            fetch(&api, &result, &chunked).await?;
            let frames = [&one, &chunked].map(|file| frames(file));
            ensure!(frames[0] > 9_000 && frames[0] == frames[1], "frames of one piece and of chunks: {frames:?}");
            sizes.push(real(fs::metadata(&chunked)?.len()) / real(fs::metadata(&one)?.len()));
            alike.push(self.ssim(&chunked)? - self.ssim(&one)?);
            let (cpu, whole, others) = (ours[run], theirs[run], usage.other_cores);
            figure::say(&format!(
                "# run {run}: {cpu:.1} CPU-s in chunks, {whole:.1} in one piece; others {others:.2} cores"
            ));
        }
        let figure = |metric, runs: &[f64]| Figure::new("video", "12 chunks of 32 s", metric, runs);
        report.add(figure("cpu_s", &ours).versus("one ffmpeg", &theirs).want(Want::AtMost(CPU_MAX)));
        report.add(figure("bytes of one ffmpeg's", &sizes).want(Want::AtMost(SIZE_MAX)));
        report.add(figure("ssim over one ffmpeg's", &alike).want(Want::AtLeast(SSIM_LESS_MAX)));
        Ok(())
    }

    async fn spread(&self, settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
        if !etcd_is_installed() || !Path::new(GROUPS).join("cpu.cfs_quota_us").exists() {
            figure::say("# no etcd, or no groups of processes to hold to half a core: nodes are not compared");
            return Ok(());
        }
        let (mut alone, mut three) = (vec![], vec![]);
        for run in 0..settings.runs {
            let one = Node::start(&settings.steward, &[ONE_SLOT])?;
            tasks::raised(&one).await?;
            alone.push(self.seconds(std::slice::from_ref(&one)).await?);
            drop(one);
            let cluster = Cluster::start_with(settings, SHARDS, NODES, &[ONE_SLOT]).await?;
            tasks::raised(&cluster.nodes[0]).await?;
            three.push(self.seconds(&cluster.nodes).await?);
            figure::say(&format!("# run {run}: {:.1} s on one node, {:.1} s on three", alone[run], three[run]));
        }
        let ratios: Vec<f64> = alone.iter().zip(&three).map(|(one, three)| one / three).collect();
        report.add(Figure::new("video", "one node of half a core", "wall_s", &alone));
        report.add(Figure::new("video", "three nodes of half a core", "wall_s", &three));
        let times = Figure::new("video", "three nodes of half a core", "times as fast as one", &ratios);
        report.add(times.want(Want::AtLeast(SPREAD_MIN)));
        Ok(())
    }

    /// How long the job takes on these nodes.
    async fn seconds(&self, nodes: &[Node]) -> anyhow::Result<f64> {
        let api = nodes[0].api().await?;
        let blob = upload(&api, &self.source).await?;
        let _groups = nodes.iter().map(|node| Group::half_a_core(node.pid())).collect::<anyhow::Result<Vec<_>>>()?;
        let clock = SystemClock::new();
        let (job, result) = done(&api, "normalize", &blob).await?;
        let seconds = clock.monotonic().as_secs_f64();
        ensure!(result["one_pass"].is_null(), "{result}");
        ensure!(job.tasks.iter().all(|task| task.attempt == 1), "work was done again: {job:?}");
        Ok(seconds)
    }

    fn ssim(&self, file: &Path) -> anyhow::Result<f64> {
        let graph = "[0:v]settb=AVTB,setpts=PTS-STARTPTS[a];[1:v]settb=AVTB,setpts=PTS-STARTPTS[b];[a][b]ssim";
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-nostdin", "-i"]).arg(file).arg("-i").arg(&self.source);
        let output = command.args(["-lavfi", graph, "-f", "null", "-"]).output().context("no ffmpeg")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let found = said.split("All:").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        found.with_context(|| format!("ffmpeg does not compare: {said}"))
    }
}

/// Processes that are held to a share of the cores together, until this goes.
struct Group(PathBuf);

impl Group {
    /// Takes a process and what it starts from now on.
    fn half_a_core(pid: u32) -> anyhow::Result<Self> {
        let folder = Path::new(GROUPS).join(format!("steward-bench-{pid}"));
        fs::create_dir(&folder).context("no group can be made: run as root")?;
        let group = Self(folder);
        for (file, text) in [("cpu.cfs_quota_us", HALF_CORE), ("cgroup.procs", &*pid.to_string())] {
            fs::write(group.0.join(file), text).with_context(|| format!("a group's {file} cannot be set"))?;
        }
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group goes when it is empty: what it held is the parent's again.
        let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            fs::write(Path::new(GROUPS).join("cgroup.procs"), pid).ok(); // It may have ended.
        }
        fs::remove_dir(&self.0).ok(); // It stays for whoever looks.
    }
}

/// Writes what was made into a file.
async fn fetch(api: &Api, result: &Value, file: &Path) -> anyhow::Result<()> {
    let hash = result["blob"].as_str().context("the result names no blob")?.to_owned();
    let request = ReadBlobRequest { account_id: ACCOUNT.to_owned(), hash };
    let mut chunks = JobServiceClient::new(api.clone()).read_blob(request).await.context("no blob")?.into_inner();
    let mut bytes = vec![];
    while let Some(chunk) = chunks.next().await {
        bytes.extend(chunk.context("the blob broke off")?.chunk);
    }
    fs::write(file, bytes).context("the blob cannot be written")
}

fn ffmpeg(args: &str, output: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y"]).args(args.split_whitespace()).arg(output);
    ensure!(command.status().context("no ffmpeg")?.success(), "ffmpeg {args} failed");
    Ok(())
}

/// How many pictures a file has.
fn frames(file: &Path) -> usize {
    let mut command = Command::new("ffprobe");
    command.args("-v error -select_streams v:0 -show_entries packet=flags -of csv=p=0".split(' ')).arg(file);
    command.output().map_or(0, |output| String::from_utf8_lossy(&output.stdout).lines().count())
}

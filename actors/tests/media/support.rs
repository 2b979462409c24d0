//! What these tests share: the sandbox helper, and the test recordings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use steward_actors::blob::{BlobHash, BlobStore};
use steward_actors::domain::account::{Event, JobChange};
use steward_actors::domain::ids::{AccountId, JobId};
use steward_actors::domain::job::{Job, JobKind, Split, TaskState};
use steward_actors::domain::task::TaskKind;
use steward_actors::egress::{Egress, EgressPolicy};
use steward_actors::sandbox::SandboxConfig;
use steward_actors::task::runner::video::speech::{EngineConfig, Engines, LOCAL};
use steward_actors::task::runner::video::{VideoConfig, runners};
use steward_actors::task::runner::{Report, Reporter, TaskError, TaskRun};
use steward_cluster::clock::{SystemClock, Timestamp};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The example of this crate that plays `steward sandbox-exec`.
pub(crate) fn sandbox_config() -> SandboxConfig {
    let test = std::env::current_exe().expect("a test has a path");
    let target = test.parent().and_then(Path::parent).expect("tests are built in target/<profile>/deps");
    let helper = target.join("examples/sandbox_exec");
    assert!(helper.exists(), "build the helper first: cargo build -p steward-actors --examples");
    SandboxConfig { helper, require: true }
}

/// A recording of `tests/fixtures/media`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/media").join(name).canonicalize().expect(name)
}

/// The folder of installed models, when there is one.
pub(crate) fn models() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.models");
    if !folder.exists() {
        eprintln!("skipped: no models in .models (make test installs them)");
    }
    folder.exists().then_some(folder)
}

/// Blobs, scratch folders and runners of one node.
pub(crate) struct Bench {
    pub dir: TempDir,
    pub blobs: BlobStore,
    pub config: VideoConfig,
    /// Where models are looked for; none by default.
    pub models: PathBuf,
    pub engines: Vec<EngineConfig>,
}

/// What came of a task.
pub(crate) struct Ended {
    pub result: Result<Value, TaskError>,
    pub reports: Vec<Report>,
}

impl Bench {
    /// Chunks of five seconds, however short the recording is.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let blobs = BlobStore::open(dir.path().join("blobs")).expect("a folder for blobs");
        let config = VideoConfig { chunk_seconds: 5, one_chunk_below_seconds: 0, ..VideoConfig::new(sandbox_config()) };
        Self { dir, blobs, config, models: PathBuf::from("/nowhere"), engines: vec![] }
    }

    /// Puts a copy of a file into the blob store.
    pub(crate) fn keep(&self, file: &Path) -> String {
        let copy = self.dir.path().join("copy");
        fs::copy(file, &copy).expect("the file is there");
        self.blobs.keep(&copy).expect("it is kept").hash.as_str().to_owned()
    }

    /// Makes a recording with ffmpeg and puts it into the blob store.
    pub(crate) fn make(&self, args: &str, name: &str) -> String {
        let file = self.dir.path().join(name);
        ffmpeg(args, &file);
        self.keep(&file)
    }

    pub(crate) fn path(&self, result: &Value) -> PathBuf {
        self.blobs.path(&BlobHash::parse(result["blob"].as_str().expect("a blob")).expect("a hash"))
    }

    /// A first attempt at a task on a blob.
    pub(crate) fn task(&self, kind: TaskKind, blob: &str) -> TaskRun {
        TaskRun {
            account: AccountId::parse("acme").expect("an id"),
            job: JobId::parse("job").expect("an id"),
            task: kind.whole(),
            attempt: 1,
            input: json!({ "blob": blob }),
            results: BTreeMap::new(),
            checkpoint: None,
            scratch: self.dir.path().join("scratch"),
        }
    }

    /// Runs an attempt; `watch` sees each report and may cancel.
    pub(crate) async fn run(&self, task: &TaskRun, mut watch: impl FnMut(&Report, &CancellationToken)) -> Ended {
        let clock = Arc::new(SystemClock::new());
        let allow_networks = vec!["127.0.0.0/8".parse().expect("a network")];
        let egress = Arc::new(Egress::new(EgressPolicy { allow_networks, ..EgressPolicy::default() }));
        let speech = Engines::new(&self.models, self.engines.clone(), LOCAL.to_owned(), &egress);
        let all = runners(self.config.clone(), self.blobs.clone(), egress, speech, clock);
        let runner = all.iter().find(|runner| runner.kinds().contains(&task.task.kind)).expect("a runner for the kind");
        let cancel = CancellationToken::new();
        let (reporter, mut receiver) = Reporter::new(cancel.clone());
        let mut reports = vec![];
        let run = async {
            let result = runner.run(task, &reporter).await;
            drop(reporter);
            result
        };
        let listen = async {
            while let Some(report) = receiver.recv().await {
                watch(&report, &cancel);
                reports.push(report);
            }
        };
        let (result, ()) = tokio::join!(run, listen);
        Ended { result, reports }
    }

    pub(crate) async fn done(&self, kind: TaskKind, blob: &str) -> Value {
        self.run(&self.task(kind, blob), |_, _| {}).await.result.expect("the task succeeds")
    }

    /// Runs all tasks of a job, one after the other, in the order its plan and its probe's split ask for.
    pub(crate) async fn job(&self, kind: &str, input: Value) -> Result<Job, TaskError> {
        let mut job = Job::requested(JobKind::parse(kind).expect("a kind"), input.clone(), 1, 0, Timestamp(1));
        let id = JobId::parse("job").expect("an id");
        let ready = |job: &Job| job.tasks.iter().find(|(_, task)| task.state == TaskState::Ready).map(|(id, _)| *id);
        while let Some(task) = ready(&job) {
            let results = job.results_for(task);
            let run = TaskRun { task, results, input: input.clone(), ..self.task(task.kind, "") };
            let result = self.run(&run, |_, _| {}).await.result?;
            let split = Split::of_probe(&result).filter(|_| job.tasks.contains_key(&TaskKind::Normalize.whole()));
            let done = Event::TaskSucceeded { job: id.clone(), task, attempt: 1, result, blobs: vec![] };
            let split = split.map(|split| Event::JobChanged { job: id.clone(), change: JobChange::Split(split) });
            [done].into_iter().chain(split).for_each(|event| job.evolve(Timestamp(1), &event));
        }
        Ok(job)
    }

    /// What a job makes of a recording in the end.
    pub(crate) async fn made(&self, kind: &str, blob: &str) -> Value {
        let job = self.job(kind, json!({ "blob": blob })).await.expect("all tasks succeed");
        let last = TaskKind::parse(kind).expect("a kind").whole();
        job.tasks[&last].result.clone().expect("the last task has a result")
    }

    pub(crate) async fn failed(&self, kind: TaskKind, blob: &str) -> TaskError {
        self.run(&self.task(kind, blob), |_, _| {}).await.result.expect_err("the task fails")
    }
}

/// Runs ffmpeg as anybody would, outside the sandbox.
pub(crate) fn ffmpeg(args: &str, output: &Path) {
    let mut command = Command::new("/usr/bin/ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y"]).args(args.split_whitespace()).arg(output);
    assert!(command.status().expect("ffmpeg is installed").success(), "ffmpeg {args}");
}

/// What a tool prints on both outputs.
pub(crate) fn said(program: &str, args: &str, file: &Path) -> String {
    let args = args.replace("FILE", file.to_str().expect("a plain path"));
    let output = Command::new(program).args(args.split_whitespace()).output().expect("the tool is installed");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Times of the frames of a video in seconds, in order, with whether they are key frames.
pub(crate) fn frames(file: &Path) -> Vec<(f64, bool)> {
    let args = "-v error -select_streams v:0 -show_entries packet=pts_time,flags -of csv=p=0 FILE";
    let frame = |line: &str| {
        let mut fields = line.split(',');
        Some((fields.next()?.parse().ok()?, fields.next()?.contains('K')))
    };
    let mut frames: Vec<(f64, bool)> = said("/usr/bin/ffprobe", args, file).lines().filter_map(frame).collect();
    frames.sort_by(|a, b| a.0.total_cmp(&b.0));
    frames
}

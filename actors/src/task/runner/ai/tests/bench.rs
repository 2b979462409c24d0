//! A worker's side of a runner, for tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::blob::{BlobHash, BlobStore};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::task::TaskKind;
use crate::egress::{Egress, EgressPolicy};
use crate::task::runner::ai::{AiConfig, DocumentRef, DocumentSource, ProviderConfig, runners};
use crate::task::runner::{AiCall, Report, Reporter, Runner, TaskError, TaskRun};

/// The account of every test.
pub(super) const ACCOUNT: &str = "acme";

/// The repository's folder of that name.
pub(super) fn in_workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The folder of real weights; says loudly when the test can not run.
pub(super) fn models(test: &str) -> Option<PathBuf> {
    let folder = in_workspace(".models");
    let present = folder.join("smollm2.gguf").is_file() && folder.join("minilm/model.safetensors").is_file();
    if !present {
        eprintln!("skipped: {test} needs the model weights in .models");
    }
    present.then_some(folder)
}

/// All runners over one folder, and the account's documents.
pub(super) struct Bench {
    runners: Vec<Arc<dyn Runner>>,
    shelf: Arc<Shelf>,
    pub(super) folder: TempDir,
}

#[derive(Default)]
struct Shelf(Mutex<Vec<DocumentRef>>);

impl DocumentSource for Shelf {
    fn documents(&self, account: &AccountId) -> Result<Vec<DocumentRef>, String> {
        if account.as_str() == ACCOUNT { Ok(self.0.lock().clone()) } else { Ok(vec![]) }
    }
}

/// What a runner did.
pub(super) struct Outcome {
    pub(super) result: Result<Value, TaskError>,
    pub(super) calls: Vec<AiCall>,
    pub(super) checkpoints: Vec<Value>,
    pub(super) progress: Vec<f32>,
}

impl Outcome {
    /// The result of a task that did not fail.
    #[track_caller]
    pub(super) fn value(&self) -> &Value {
        self.result.as_ref().unwrap_or_else(|error| panic!("the task failed: {error}"))
    }

    /// The error of a task that failed.
    #[track_caller]
    pub(super) fn error(&self) -> &TaskError {
        self.result.as_ref().expect_err("the task should have failed")
    }
}

impl Bench {
    /// Runners over these models.
    pub(super) fn new(models_dir: PathBuf, providers: Vec<ProviderConfig>, defaults: (&str, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = EgressPolicy { allow_networks: vec!["127.0.0.0/8".parse().unwrap()], ..EgressPolicy::default() };
        let config = AiConfig {
            models_dir,
            providers,
            default_chat: defaults.0.to_owned(),
            default_embed: defaults.1.to_owned(),
        };
        let blobs = BlobStore::open(folder.path().join("blobs")).unwrap();
        let shelf = Arc::new(Shelf::default());
        let source: Arc<dyn DocumentSource> = shelf.clone();
        Self { runners: runners(config, blobs, Arc::new(Egress::new(policy)), source), shelf, folder }
    }

    /// Runners over the local models.
    pub(super) fn local(models_dir: PathBuf) -> Self {
        Self::new(models_dir, vec![], ("local/smollm2-135m", "local/minilm-l6"))
    }

    /// A first attempt at a task.
    pub(super) fn task(&self, kind: TaskKind, input: Value) -> TaskRun {
        TaskRun {
            account: AccountId::parse(ACCOUNT).unwrap(),
            job: JobId::parse("job-1").unwrap(),
            task: kind.whole(),
            attempt: 1,
            input,
            results: BTreeMap::new(),
            checkpoint: None,
            scratch: self.folder.path().join("scratch"),
        }
    }

    /// Runs a task with this input to its end.
    pub(super) async fn run(&self, kind: TaskKind, input: Value) -> Outcome {
        self.attempt(&self.task(kind, input), &CancellationToken::new(), |_| {}).await
    }

    /// Runs one attempt; `watch` hears every report.
    pub(super) async fn attempt(
        &self,
        run: &TaskRun,
        cancel: &CancellationToken,
        mut watch: impl FnMut(&Report),
    ) -> Outcome {
        let runner = self.runners.iter().find(|runner| runner.kinds().contains(&run.task.kind)).unwrap();
        let (reporter, mut reports) = Reporter::new(cancel.clone());
        let (mut calls, mut checkpoints, mut progress) = (vec![], vec![], vec![]);
        let mut note = |report: Report| {
            watch(&report);
            match report {
                Report::Ai(call) => calls.push(call),
                Report::Checkpoint(state) => checkpoints.push(state),
                Report::Progress { fraction, .. } => progress.push(fraction),
                Report::GetsOn => {}
            }
        };
        let mut work = runner.run(run, &reporter);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                Some(report) = reports.recv() => note(report),
            }
        };
        while let Ok(report) = reports.try_recv() {
            note(report);
        }
        Outcome { result, calls, checkpoints, progress }
    }

    /// The JSON in a blob that a result names.
    #[track_caller]
    pub(super) fn large<T: DeserializeOwned>(&self, blob: &Value) -> T {
        let hash = blob.as_str().expect("the result names a blob");
        let file = self.folder.path().join("blobs").join(&hash[..2]).join(hash);
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }

    /// Indexes a text and puts the document on the account's shelf, as the shell does. Gives the document's text.
    pub(super) async fn shelve(&self, document: &str, mut input: Value) -> String {
        input["document"] = json!(document);
        let indexed = self.run(TaskKind::Index, input).await;
        let indexed = indexed.value();
        assert_eq!(indexed["document"], document);
        let blob = BlobHash::parse(indexed["blob"].as_str().unwrap()).unwrap();
        let stored: Value = self.large(&indexed["blob"]);
        let title = indexed["title"].as_str().unwrap().to_owned();
        self.shelf.0.lock().push(DocumentRef { document: document.to_owned(), title, blob });
        stored["text"].as_str().unwrap().to_owned()
    }
}

/// The transcript of the recording in the fixtures, as the transcript runner gives it.
pub(super) fn speech() -> Value {
    let file = in_workspace("tests/fixtures/media/speech_librivox_16k.json");
    let speech: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let ms = |seconds: &Value| format!("{:.0}", seconds.as_f64().unwrap() * 1000.0).parse::<u64>().unwrap();
    let segment =
        |said: &Value| json!({ "start_ms": ms(&said["start"]), "end_ms": ms(&said["end"]), "text": said["text"] });
    json!({ "segments": speech["utterances"].as_array().unwrap().iter().map(segment).collect::<Vec<_>>() })
}

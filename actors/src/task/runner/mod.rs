//! What a worker runs for a leased task. One runner serves one or more kinds of task.
//!
//! # Invariants
//! - **R1 again**: a runner may be started again for the same task at any time, with the last checkpoint it reported;
//!   it must come to the same result and may reuse whatever it finds in its scratch folder after checking it.
//! - **R2 cancel**: a runner returns within three seconds of [`Reporter::cancelled`] and leaves no child process.
//! - **R3 heard**: a runner says that it gets on before `tasks.silence_s_max` is over, or is stopped.
//! - **R4 no account state**: a runner sees its input and its scratch folder; results go back as commands. One that needs
//!   more of its account takes nothing from other nodes ([`Runner::takes`]).

pub mod ai;
pub mod video;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::{AccountId, JobId};
use crate::domain::task::{TaskId, TaskKind};

/// Reports queued between a runner and its worker; a runner that outpaces the worker loses progress notes, never checkpoints.
pub const REPORTS_MAX: usize = 64;

/// One attempt at one task.
#[derive(Debug, Clone)]
pub struct TaskRun {
    pub account: AccountId,
    pub job: JobId,
    pub task: TaskId,
    pub attempt: u32,
    /// What the client or playbook asked for, validated when the job was accepted.
    pub input: Value,
    /// Results of the job's finished tasks.
    pub results: BTreeMap<TaskId, Value>,
    /// What an earlier attempt reported last.
    pub checkpoint: Option<Value>,
    /// A folder for this job alone, made by whoever writes to it. It outlives attempts and restarts, and goes when the job
    /// ends.
    pub scratch: PathBuf,
}

/// A call of a model, for the account's feed.
#[derive(Debug, Clone, PartialEq)]
pub struct AiCall {
    pub operation: &'static str,
    pub provider: String,
    pub model: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub latency: Duration,
}

/// What a runner says while it works.
#[derive(Debug)]
pub enum Report {
    /// How far it is (0 to 1) and what it is doing.
    Progress { fraction: f32, note: String },
    /// It gets on, with nothing to tell.
    GetsOn,
    /// Where a later attempt can go on.
    Checkpoint(Value),
    /// A model was called.
    Ai(AiCall),
}

/// The runner's line to its worker.
#[derive(Debug, Clone)]
pub struct Reporter {
    reports: mpsc::Sender<Report>,
    cancel: CancellationToken,
}

impl Reporter {
    /// A reporter and the end its worker reads.
    #[must_use]
    pub fn new(cancel: CancellationToken) -> (Self, mpsc::Receiver<Report>) {
        let (reports, receiver) = mpsc::channel(REPORTS_MAX);
        (Self { reports, cancel }, receiver)
    }

    /// Says how far the task is. Dropped when the worker is behind: the next one says more.
    pub fn progress(&self, fraction: f32, note: impl Into<String>) {
        self.reports.try_send(Report::Progress { fraction, note: note.into() }).ok();
    }

    /// Says that the task gets on, so that nobody takes its silence for a standstill.
    pub fn gets_on(&self) {
        self.reports.try_send(Report::GetsOn).ok(); // With a full channel there is other news.
    }

    /// Records where a later attempt can go on. Returns once the worker has taken it.
    pub async fn checkpoint(&self, state: Value) {
        self.reports.send(Report::Checkpoint(state)).await.ok(); // The worker is gone: so is this attempt.
    }

    /// Records a model call.
    pub async fn ai(&self, call: AiCall) {
        self.reports.send(Report::Ai(call)).await.ok(); // As above.
    }

    /// Resolves when the task is cancelled or its lease is lost.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Whether the task is cancelled; for loops that do not await.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

/// Why an attempt failed, and whether another one may succeed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct TaskError {
    /// A stable word for programs, such as `media_unreadable`.
    pub code: &'static str,
    /// A sentence for people; never holds a path or a secret.
    pub message: String,
    pub retry: Retry,
}

/// Whether another attempt makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same input fails the same way.
    Never,
    /// With the usual back-off.
    BackOff,
    /// Not before this long (a server said so).
    After(Duration),
    /// The task was cancelled; nobody waits for it.
    Cancelled,
}

/// Does the work of one or more kinds of task.
pub trait Runner: Send + Sync + 'static {
    /// The kinds this runner serves.
    fn kinds(&self) -> &'static [TaskKind];

    /// Those of them it can run here for accounts that other nodes lead: their tools and models are here, and a run names
    /// everything they need.
    fn takes(&self) -> &'static [TaskKind];

    /// Runs one attempt to its end.
    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>>;
}

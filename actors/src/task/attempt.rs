//! One attempt at one task: takes the lease, runs the runner, reports what it says.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::Value;
use steward_cluster::clock::Clock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::board::TaskBoard;
use super::in_hand::{ReadyTask, TaskKey};
use super::runner::{Report, Reporter, Retry, Runner, TaskError, TaskRun};
use crate::blob::{BlobHash, BlobStore, CopyError};
use crate::domain::account::{AiCalled, Asked, Command, Rejection, ReleaseReason, RetryAsked, TaskRef, blobs_of};
use crate::domain::job::{Failure, Job};
use crate::elsewhere::Commands;
use crate::shard::{ExecuteError, ReadError};
use crate::{metrics, supervisor};

/// Progress notes of one attempt are at least this far apart, unless they end it.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// How often this node's replica is looked at for a lease that another node gave, and the wait between.
const CATCH_UP_LOOKS_MAX: u32 = 250;
const CATCH_UP_WAIT: Duration = Duration::from_millis(20);
/// The longest any attempt may take.
const ATTEMPT_WALL_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// Characters of a note or message that go into an event.
const TEXT_CHARS_MAX: usize = 500;

/// What every attempt of this process shares.
pub(super) struct Bench {
    pub(super) commands: Commands,
    pub(super) board: Arc<TaskBoard>,
    pub(super) blobs: BlobStore,
    pub(super) clock: Arc<dyn Clock>,
    /// Names this process as a holder of leases.
    pub(super) worker: String,
    pub(super) draining: CancellationToken,
}

/// Runs one attempt to its end. Whatever happens, the board is told.
pub(super) async fn attempt(bench: Arc<Bench>, runner: Arc<dyn Runner>, ready: ReadyTask, cancel: CancellationToken) {
    let started = bench.clock.monotonic();
    let kind = ready.key.task;
    let outcome = bench.leased(runner, &ready, cancel).await;
    metrics::task_ended(kind.as_str(), outcome, bench.clock.monotonic().saturating_sub(started));
    bench.board.ended(&ready.key);
}

impl Bench {
    async fn leased(&self, runner: Arc<dyn Runner>, ready: &ReadyTask, cancel: CancellationToken) -> &'static str {
        let TaskKey { account, job, task } = ready.key.clone();
        let command = Command::StartTask { job: job.clone(), task, worker: self.worker.clone() };
        if let Err(error) = self.execute(&ready.key, command).await {
            tracing::debug!(%account, %job, task = task.as_str(), %error, "a lease was not given");
            return "not_leased";
        }
        self.board.leased(&ready.key);
        let found = match self.started(&ready.key, ready.attempt).await {
            Ok(Some(found)) => found,
            Ok(None) => return self.give_back(ready).await,
            Err(error) => {
                tracing::error!(%account, %job, %error, "a job cannot be read");
                return "job_unreadable";
            }
        };
        let scratch = self.board.scratch(&account, &job);
        let checkpoint = found.tasks.get(&task).and_then(|task| task.checkpoint.clone());
        let results = found.results();
        let run = TaskRun {
            account,
            job,
            kind: task,
            attempt: ready.attempt,
            input: found.input,
            results,
            checkpoint,
            scratch,
        };
        let outcome = match (self.may_read(&run), std::fs::create_dir_all(&run.scratch)) {
            (false, _) => Err(foreign_blob()),
            (true, Ok(())) => self.with_blobs(runner, &run, cancel).await,
            (true, Err(error)) => Err(scratch_error(&error)),
        };
        self.report(&ready.key, ready.attempt, outcome).await
    }

    /// The job, once this node's replica knows of the attempt: a lease that another node gave shows here a little later.
    async fn started(&self, key: &TaskKey, attempt: u32) -> Result<Option<Job>, ReadError> {
        let reads = self.commands.reads();
        let knows = |job: &Job| job.tasks.get(&key.task).is_some_and(|task| task.attempt >= attempt);
        for _ in 0..CATCH_UP_LOOKS_MAX {
            if let Some(job) = reads.job(&key.account, &key.job)?.filter(knows) {
                return Ok(Some(job));
            }
            tokio::time::sleep(CATCH_UP_WAIT).await;
        }
        Ok(None)
    }

    /// A node whose replica does not catch up cannot do the work.
    async fn give_back(&self, ready: &ReadyTask) -> &'static str {
        let TaskKey { account, job, task } = ready.key.clone();
        tracing::warn!(%account, %job, task = task.as_str(), "a lease is given back: this node does not see the job");
        let task = TaskRef { job: job.clone(), task, attempt: ready.attempt };
        let command = Command::ReleaseTask { task, reason: ReleaseReason::Drained };
        if let Err(error) = self.execute(&ready.key, command).await {
            tracing::warn!(%account, %job, %error, "a lease could not be given back");
        }
        "job_not_seen"
    }

    /// Whether the blob the input names, if any, is the account's own. Blobs are stored once for all accounts, so a hash
    /// that leaked must open nothing.
    fn may_read(&self, run: &TaskRun) -> bool {
        let Some(named) = run.input.get("blob").and_then(Value::as_str) else { return true };
        let owned = |hash| self.commands.reads().owns_blob(&run.account, &hash);
        BlobHash::parse(named).is_some_and(|hash| {
            owned(hash).unwrap_or_else(|error| {
                tracing::error!(account = %run.account, %error, "the owner of a blob cannot be read");
                false
            })
        })
    }

    /// Brings the blobs the attempt works on, runs it, and copies those its result names before anything names them.
    async fn with_blobs(
        &self,
        runner: Arc<dyn Runner>,
        run: &TaskRun,
        cancel: CancellationToken,
    ) -> Result<Value, TaskError> {
        for hash in run.results.values().chain([&run.input]).flat_map(named) {
            self.blobs.bring(&hash).await.map_err(|error| not_copied("a blob cannot be brought", &error))?;
        }
        let result = self.run(runner, run, cancel).await?;
        for hash in named(&result) {
            let spread = self.blobs.spread(&run.account, &hash).await;
            spread.map_err(|error| not_copied("a blob cannot be copied", &error))?;
        }
        Ok(result)
    }

    /// The runner and the forwarder of its reports, side by side. A panic of the runner fails the attempt only.
    async fn run(&self, runner: Arc<dyn Runner>, run: &TaskRun, cancel: CancellationToken) -> Result<Value, TaskError> {
        let (reporter, reports) = Reporter::new(cancel.clone());
        let working = async {
            let running = AssertUnwindSafe(runner.run(run, &reporter)).catch_unwind();
            let outcome = tokio::time::timeout(ATTEMPT_WALL_MAX, running).await;
            drop(reporter); // Ends the forwarder once it has read everything.
            match outcome {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(panic)) => Err(panicked(panic.as_ref())),
                Err(_) => Err(TaskError {
                    code: "attempt_too_long",
                    message: format!("the attempt took more than {} s", ATTEMPT_WALL_MAX.as_secs()),
                    retry: Retry::BackOff,
                }),
            }
        };
        let (outcome, ()) = tokio::join!(working, self.forward(run, reports, &cancel));
        outcome
    }

    /// Turns reports into commands. A refused one means the lease is lost: the runner is told to stop.
    async fn forward(&self, run: &TaskRun, mut reports: mpsc::Receiver<Report>, cancel: &CancellationToken) {
        let key = TaskKey { account: run.account.clone(), job: run.job.clone(), task: run.kind };
        let at = TaskRef { job: run.job.clone(), task: run.kind, attempt: run.attempt };
        let mut last_progress: Option<Duration> = None;
        while let Some(report) = reports.recv().await {
            let task = at.clone();
            let command = match report {
                Report::Progress { fraction, note } => {
                    let now = self.clock.monotonic();
                    if last_progress.is_some_and(|last| now.saturating_sub(last) < PROGRESS_EVERY) {
                        continue;
                    }
                    last_progress = Some(now);
                    Command::ReportProgress { task, permille: permille(fraction), note: shorten(&note) }
                }
                Report::Checkpoint(state) => Command::ReportCheckpoint { task, state },
                Report::Ai(call) => {
                    let latency_ms = u64::try_from(call.latency.as_millis()).unwrap_or(u64::MAX);
                    let call = AiCalled {
                        operation: call.operation.to_owned(),
                        provider: call.provider,
                        model: call.model,
                        input_tokens: call.input_tokens,
                        output_tokens: call.output_tokens,
                        latency_ms,
                    };
                    Command::ReportAiCall { task, call }
                }
            };
            if let Err(ExecuteError::Rejected(rejection)) = self.execute(&key, command).await {
                refused(&key, &rejection, "a worker's report was refused");
                cancel.cancel();
            }
        }
    }

    async fn report(&self, key: &TaskKey, attempt: u32, outcome: Result<Value, TaskError>) -> &'static str {
        let task = TaskRef { job: key.job.clone(), task: key.task, attempt };
        let (command, word) = match outcome {
            Ok(result) => (Command::ReportSuccess { task, result }, "succeeded"),
            Err(TaskError { retry: Retry::Cancelled, .. }) if self.draining.is_cancelled() => {
                (Command::ReleaseTask { task, reason: ReleaseReason::Drained }, "drained")
            }
            Err(TaskError { retry: Retry::Cancelled, .. }) => return "cancelled", // Its job has ended.
            Err(TaskError { code, message, retry }) => {
                let retry = match retry {
                    Retry::Never | Retry::Cancelled => RetryAsked::Never,
                    Retry::BackOff => RetryAsked::BackOff,
                    Retry::After(wait) => RetryAsked::AfterMs(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                };
                let failure = Failure { code: code.to_owned(), message: shorten(&message) };
                (Command::ReportFailure { task, failure, retry }, "failed")
            }
        };
        match self.execute(key, command).await {
            Ok(()) => word,
            Err(ExecuteError::Rejected(rejection)) => {
                refused(key, &rejection, "a worker's result was refused");
                "refused"
            }
            Err(error) => {
                tracing::warn!(account = %key.account, job = %key.job, %error, "a worker's result found no leader");
                "unreported"
            }
        }
    }

    /// Executes a worker's command, wherever its account is led. Safe to repeat: the attempt fences it.
    pub(super) async fn execute(&self, key: &TaskKey, command: Command) -> Result<(), ExecuteError> {
        let asked = Asked {
            command,
            actor: format!("worker:{}", self.worker),
            correlation_id: format!("job:{}", key.job),
            causation_seq: 0,
            idempotency: None,
        };
        self.commands.insist(&key.account, asked).await.map(|_| ())
    }
}

/// An attempt that is over was told too late, since its job was cancelled; anything else is a fault of the runner.
fn refused(key: &TaskKey, rejection: &Rejection, what: &'static str) {
    let TaskKey { account, job, .. } = key;
    if matches!(rejection, Rejection::StaleAttempt { .. }) {
        tracing::debug!(%account, %job, %rejection, "{what}");
    } else {
        tracing::warn!(%account, %job, %rejection, "{what}");
    }
}

/// Starts an attempt beside the caller.
pub(super) fn start(bench: &Arc<Bench>, runner: Arc<dyn Runner>, ready: ReadyTask, cancel: CancellationToken) {
    drop(supervisor::spawn("attempt", attempt(Arc::clone(bench), runner, ready, cancel)));
}

fn foreign_blob() -> TaskError {
    let message = "input_json.blob must be the hash of a blob that a job of this account made".to_owned();
    TaskError { code: "blob_absent", message, retry: Retry::Never }
}

/// The blobs a value names.
fn named(value: &Value) -> Vec<BlobHash> {
    blobs_of(value).iter().filter_map(|name| BlobHash::parse(name)).collect()
}

fn not_copied(what: &'static str, error: &CopyError) -> TaskError {
    let cause: &dyn std::error::Error = error;
    tracing::warn!(error = cause, "{what}");
    let message = "a blob could not be copied between the nodes".to_owned();
    TaskError { code: "blob_not_copied", message, retry: Retry::BackOff }
}

fn scratch_error(error: &std::io::Error) -> TaskError {
    tracing::error!(%error, "a scratch folder cannot be made");
    let message = "the node cannot make a folder for the task".to_owned();
    TaskError { code: "scratch_unavailable", message, retry: Retry::BackOff }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> TaskError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("unknown"), "a runner panicked");
    TaskError { code: "runner_panicked", message: "the runner broke down".to_owned(), retry: Retry::BackOff }
}

fn shorten(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

fn permille(fraction: f32) -> u32 {
    // Counting steps avoids a float conversion that could lose: there are a thousand of them.
    (0..1000_u16).take_while(|step| f32::from(*step) < fraction * 1000.0).count().try_into().unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_become_thousandths() {
        let table = [(0.0, 0), (0.5, 500), (1.0, 1000), (7.0, 1000), (-1.0, 0), (f32::NAN, 0)];
        for (fraction, want) in table {
            assert_eq!(permille(fraction), want, "{fraction}");
        }
    }
}

//! One attempt at one task: takes the lease, runs the runner, reports what it says.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::Value;
use steward_cluster::clock::Clock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::board::TaskBoard;
use super::grant::Work;
use super::hints::Hints;
use super::in_hand::Slots;
use super::leases::Lease;
use super::runner::{Report, Reporter, Retry, Runner, TaskError, TaskRun};
use super::silence::Silence;
use crate::blob::{BlobHash, BlobStore, CopyError};
use crate::domain::account::{AiCalled, Asked, Command, Rejection, ReleaseReason, RetryAsked, blobs_of};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{Failure, Job};
use crate::domain::task::TaskKind;
use crate::elsewhere::Commands;
use crate::shard::{ExecuteError, ReadError};
use crate::{metrics, supervisor};

/// Progress notes of one attempt are at least this far apart, unless they end it.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// The same of a piece of a recording: its job may have hundreds, and each note writes the row of the job anew.
const PROGRESS_OF_PIECE_EVERY: Duration = Duration::from_secs(5);
/// How often this node's replica is looked at for a lease that another node gave, and the wait between.
const CATCH_UP_LOOKS_MAX: u32 = 250;
const CATCH_UP_WAIT: Duration = Duration::from_millis(20);
/// The longest any attempt may take.
const ATTEMPT_WALL_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a runner gets to stop when it is told to.
const STOPS_MAX: Duration = Duration::from_secs(3);
/// Characters of a note or message that go into an event.
const TEXT_CHARS_MAX: usize = 500;

/// What every attempt of this process shares.
pub(super) struct Bench {
    pub(super) commands: Commands,
    pub(super) board: Arc<TaskBoard>,
    /// What other nodes have to spare.
    pub(super) hints: Arc<Hints>,
    pub(super) blobs: BlobStore,
    pub(super) clock: Arc<dyn Clock>,
    /// One for every kind: checked at the start.
    pub(super) runners: HashMap<TaskKind, Arc<dyn Runner>>,
    pub(super) slots: Slots,
    /// How long a runner may say nothing.
    pub(super) silence_max: Duration,
    /// Names this process as a holder of leases.
    pub(super) worker: String,
    pub(super) draining: CancellationToken,
}

/// Starts an attempt beside the caller. A lease that another node gave comes with its work, any other is taken first.
pub(super) fn start(bench: &Arc<Bench>, lease: Lease, given: Option<Work>, cancel: CancellationToken) {
    drop(supervisor::spawn("attempt", attempt(Arc::clone(bench), lease, given, cancel)));
}

/// Runs one attempt to its end. Whatever happens, the board is told.
async fn attempt(bench: Arc<Bench>, lease: Lease, given: Option<Work>, cancel: CancellationToken) {
    let started = bench.clock.monotonic();
    let outcome = bench.leased(&lease, given, cancel).await;
    metrics::task_ended(lease.task.kind.as_str(), outcome, bench.clock.monotonic().saturating_sub(started));
    bench.board.ended(&lease.key());
}

impl Bench {
    async fn leased(&self, lease: &Lease, given: Option<Work>, cancel: CancellationToken) -> &'static str {
        let work = match given {
            Some(work) => work,
            None => match self.take_lease(lease).await {
                Ok(work) => work,
                Err(outcome) => return outcome,
            },
        };
        let Lease { account, job, task, attempt } = lease.clone();
        let Work { input, results, checkpoint } = work;
        let scratch = self.board.scratch(&account, &job);
        let run = TaskRun { account, job, task, attempt, input, results, checkpoint, scratch };
        let outcome = self.with_blobs(lease, &run, cancel).await;
        self.report(lease, outcome).await
    }

    async fn take_lease(&self, lease: &Lease) -> Result<Work, &'static str> {
        let Lease { account, job, task, .. } = lease;
        let command = Command::StartTask { job: job.clone(), task: *task, worker: self.worker.clone() };
        if let Err(error) = self.execute(lease, command).await {
            tracing::debug!(%account, %job, %task, %error, "a lease was not given");
            return Err("not_leased");
        }
        self.board.leased(&lease.key());
        self.work(lease).await
    }

    /// What the attempt of a lease works on. Where there is nothing to work on that has been reported, and the error is
    /// the outcome of the attempt.
    pub(super) async fn work(&self, lease: &Lease) -> Result<Work, &'static str> {
        let Lease { account, job, task, .. } = lease;
        let found = match self.started(lease).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                tracing::warn!(%account, %job, %task, "a lease is given back: the job is not seen here");
                self.release(lease, ReleaseReason::Drained).await;
                return Err("job_not_seen");
            }
            Err(error) => {
                tracing::error!(%account, %job, %error, "a job cannot be read");
                return Err("job_unreadable");
            }
        };
        if !self.may_read(account, &found.input) {
            return Err(self.report(lease, Err(foreign_blob())).await);
        }
        let checkpoint = found.tasks.get(task).and_then(|task| task.checkpoint.clone());
        Ok(Work { results: found.results_for(*task), input: found.input, checkpoint })
    }

    /// The job, once this node's replica knows of the attempt: a lease that another node gave shows here a little later.
    async fn started(&self, lease: &Lease) -> Result<Option<Job>, ReadError> {
        let reads = self.commands.reads();
        let knows = |job: &Job| job.tasks.get(&lease.task).is_some_and(|task| task.attempt >= lease.attempt);
        for _ in 0..CATCH_UP_LOOKS_MAX {
            if let Some(job) = reads.job(&lease.account, &lease.job)?.filter(knows) {
                return Ok(Some(job));
            }
            tokio::time::sleep(CATCH_UP_WAIT).await;
        }
        Ok(None)
    }

    /// Gives a lease back, or takes it back.
    pub(super) async fn release(&self, lease: &Lease, reason: ReleaseReason) {
        let command = Command::ReleaseTask { task: lease.at(), reason };
        if let Err(error) = self.execute(lease, command).await {
            tracing::warn!(account = %lease.account, job = %lease.job, %error, "a lease that nobody wants stays");
        }
    }

    /// Whether the blob the input names, if any, is the account's own. Blobs are stored once for all accounts, so a hash
    /// that leaked must open nothing.
    fn may_read(&self, account: &AccountId, input: &Value) -> bool {
        let Some(named) = input.get("blob").and_then(Value::as_str) else { return true };
        let owned = |hash| self.commands.reads().owns_blob(account, &hash);
        BlobHash::parse(named).is_some_and(|hash| {
            owned(hash).unwrap_or_else(|error| {
                tracing::error!(%account, %error, "the owner of a blob cannot be read");
                false
            })
        })
    }

    /// Brings the blobs the attempt works on, runs it, and copies those its result names before anything names them.
    async fn with_blobs(&self, lease: &Lease, run: &TaskRun, cancel: CancellationToken) -> Result<Value, TaskError> {
        let mut held = vec![];
        for hash in run.results.values().chain([&run.input]).flat_map(named) {
            let brought = self.blobs.bring(&run.account, &hash).await;
            held.push(brought.map_err(|error| not_copied("a blob cannot be brought", &error))?);
        }
        let result = self.run(lease, run, cancel).await?;
        for hash in named(&result) {
            let spread = self.blobs.spread(&run.account, &hash).await;
            spread.map_err(|error| not_copied("a blob cannot be copied", &error))?;
        }
        drop(held);
        Ok(result)
    }

    /// The runner and the forwarder of its reports, side by side. A panic of the runner fails the attempt only.
    async fn run(&self, lease: &Lease, run: &TaskRun, cancel: CancellationToken) -> Result<Value, TaskError> {
        let runner = self.runners.get(&run.task.kind).expect("every kind has a runner: checked at the start");
        let (reporter, reports) = Reporter::new(cancel.clone());
        let silence = Silence::new(&self.clock, self.silence_max);
        let working = async {
            let outcome = {
                let running = AssertUnwindSafe(runner.run(run, &reporter)).catch_unwind();
                let mut running = pin!(tokio::time::timeout(ATTEMPT_WALL_MAX, running));
                tokio::select! {
                    outcome = &mut running => outcome.unwrap_or_else(|_| Ok(Err(too_long()))),
                    () = silence.lasts() => {
                        cancel.cancel();
                        tokio::time::timeout(STOPS_MAX, running).await.ok(); // Whatever it says now comes too late.
                        Ok(Err(silent(lease, self.silence_max)))
                    }
                }
            };
            drop(reporter); // Ends the forwarder once it has read everything.
            outcome.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
        };
        let (outcome, ()) = tokio::join!(working, self.forward(lease, reports, &silence, &cancel));
        outcome
    }

    /// Turns reports into commands. A refused one means the lease is lost: the runner is told to stop.
    async fn forward(
        &self,
        lease: &Lease,
        mut reports: mpsc::Receiver<Report>,
        silence: &Silence,
        cancel: &CancellationToken,
    ) {
        let mut last_progress: Option<Duration> = None;
        let mut calls = 0;
        let every = if lease.task.part == 0 { PROGRESS_EVERY } else { PROGRESS_OF_PIECE_EVERY };
        while let Some(report) = reports.recv().await {
            silence.heard();
            let task = lease.at();
            let command = match report {
                Report::GetsOn => continue,
                Report::Progress { fraction, note } => {
                    let now = self.clock.monotonic();
                    if last_progress.is_some_and(|last| now.saturating_sub(last) < every) {
                        continue;
                    }
                    last_progress = Some(now);
                    Command::ReportProgress { task, permille: permille(fraction), note: shorten(&note) }
                }
                Report::Checkpoint(state) => Command::ReportCheckpoint { task, state },
                Report::Ai(call) => {
                    let latency_ms = u64::try_from(call.latency.as_millis()).unwrap_or(u64::MAX);
                    calls += 1;
                    let call = AiCalled {
                        operation: call.operation.to_owned(),
                        provider: call.provider,
                        model: call.model,
                        input_tokens: call.input_tokens,
                        output_tokens: call.output_tokens,
                        latency_ms,
                        cost_micros: 0, // The account knows.
                        number: calls,
                    };
                    Command::ReportAiCall { task, call }
                }
            };
            if let Err(ExecuteError::Rejected(rejection)) = self.execute(lease, command).await {
                refused(lease, &rejection, "a worker's report was refused");
                cancel.cancel();
            }
        }
    }

    async fn report(&self, lease: &Lease, outcome: Result<Value, TaskError>) -> &'static str {
        let task = lease.at();
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
        match self.execute(lease, command).await {
            Ok(()) => word,
            Err(ExecuteError::Rejected(rejection)) => {
                refused(lease, &rejection, "a worker's result was refused");
                "refused"
            }
            Err(error) => {
                tracing::warn!(account = %lease.account, job = %lease.job, %error, "a worker's result found no leader");
                "unreported"
            }
        }
    }

    /// Executes a command of this worker, wherever the account is led. Safe to repeat: the attempt fences it.
    async fn execute(&self, lease: &Lease, command: Command) -> Result<(), ExecuteError> {
        self.commands.insist(&lease.account, asked(&self.worker, &lease.job, command)).await.map(|_| ())
    }
}

/// A worker's command about a job.
pub(super) fn asked(worker: &str, job: &JobId, command: Command) -> Asked {
    Asked {
        command,
        actor: format!("worker:{worker}"),
        correlation_id: format!("job:{job}"),
        causation_seq: 0,
        idempotency: None,
    }
}

/// An attempt that is over was told too late, since its job was cancelled; anything else is a fault of the runner.
fn refused(lease: &Lease, rejection: &Rejection, what: &'static str) {
    let Lease { account, job, .. } = lease;
    if matches!(rejection, Rejection::StaleAttempt { .. }) {
        tracing::debug!(%account, %job, %rejection, "{what}");
    } else {
        tracing::warn!(%account, %job, %rejection, "{what}");
    }
}

fn too_long() -> TaskError {
    let message = format!("the attempt took more than {} s", ATTEMPT_WALL_MAX.as_secs());
    TaskError { code: "attempt_too_long", message, retry: Retry::BackOff }
}

fn silent(lease: &Lease, silence: Duration) -> TaskError {
    let Lease { account, job, task, .. } = lease;
    tracing::warn!(%account, %job, %task, ?silence, "a runner fell silent and was stopped");
    let message = format!("the attempt showed no progress for {} s", silence.as_secs());
    TaskError { code: "attempt_silent", message, retry: Retry::BackOff }
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
    let (code, message) = match error {
        CopyError::Store { .. } | CopyError::StoreSlow { .. } => {
            ("blob_store_unavailable", "the object store did not answer as it should")
        }
        CopyError::Damaged(_) => ("blob_damaged", "the bytes of a blob are not those of its name"),
        CopyError::Absent(_) | CopyError::TooFew { .. } | CopyError::Replicas | CopyError::Disk(_) => {
            ("blob_not_copied", "a blob could not be copied between the nodes")
        }
    };
    TaskError { code, message: message.to_owned(), retry: Retry::BackOff }
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

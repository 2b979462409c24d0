//! The metrics of this crate, each behind a named function.

use crate::domain::account::DeliveryOutcome;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// What each family means, for people. The composition root calls it once.
pub fn describe() {
    describe_gauge!("steward_tasks_running", "Spawned tasks that run, by name.");
    describe_gauge!("steward_accounts_live", "Account actors alive.");
    describe_counter!("steward_account_failures_total", "Account actors that panicked or could not read their rows.");
    describe_gauge!("steward_shards_led", "Shards this node leads.");
    describe_histogram!("steward_entry_decisions", "Decisions that share one log entry.");
    describe_counter!("steward_shard_checks_total", "Entries at which replicas are compared, applied here.");
    describe_counter!("steward_snapshot_bytes_total", "Bytes that snapshots wrote.");
    describe_gauge!("steward_tasks_waiting", "Tasks of jobs that are not running, by gate and class of slot.");
    describe_gauge!("steward_task_oldest_wait_seconds", "How long the oldest task has waited for a slot, by class.");
    describe_histogram!("steward_task_wait_seconds", "From ready to taken by a worker, by class.");
    describe_counter!("steward_task_attempts_total", "Attempts at tasks that ended, by kind and outcome.");
    describe_counter!(
        "steward_tasks_given_total",
        "Tasks leased to workers of other nodes that asked for one, by kind."
    );
    describe_counter!("steward_tasks_taken_total", "Tasks taken from other nodes to run here, by kind.");
    describe_histogram!("steward_task_seconds", "Attempts at tasks, by kind.");
    describe_counter!("steward_delivery_attempts_total", "Attempts at deliveries, by outcome.");
    describe_counter!("steward_blob_store_requests_total", "Requests to the object store, by what and outcome.");
    describe_gauge!("steward_blob_cache_bytes", "Bytes of blobs here that the object store has as well.");
}

/// The object store was asked for something, by what and how it went.
pub(crate) fn store_asked(what: &'static str, outcome: &'static str) {
    counter!("steward_blob_store_requests_total", "what" => what, "outcome" => outcome).increment(1);
}

/// Bytes of blobs in the folder that the object store has as well.
pub(crate) fn blob_cache_bytes(bytes: u64) {
    gauge!("steward_blob_cache_bytes").set(wide(bytes));
}

/// Spawned tasks that run, by name.
pub(crate) fn tasks_running(name: &'static str) -> metrics::Gauge {
    gauge!("steward_tasks_running", "name" => name)
}

/// Account actors alive.
pub(crate) fn accounts_live(count: usize) {
    gauge!("steward_accounts_live").set(float(count));
}

/// An account actor panicked or could not read its rows.
pub(crate) fn account_failed() {
    counter!("steward_account_failures_total").increment(1);
}

/// Shards this node leads.
pub(crate) fn shards_led(count: usize) {
    gauge!("steward_shards_led").set(float(count));
}

/// Decisions that share one log entry.
pub(crate) fn decisions_per_entry(count: usize) {
    histogram!("steward_entry_decisions").record(float(count));
}

/// Entries at which replicas are compared.
pub(crate) fn checks(count: usize) {
    counter!("steward_shard_checks_total").increment(u64::try_from(count).expect("a count in memory fits 64 bits"));
}

/// Bytes one round of snapshots wrote.
pub(crate) fn snapshot_bytes(bytes: u64) {
    counter!("steward_snapshot_bytes_total").increment(bytes);
}

/// Tasks of jobs that are not running, by gate and class of slot.
pub(crate) fn tasks_waiting(gate: &'static str, class: &'static str) -> metrics::Gauge {
    gauge!("steward_tasks_waiting", "gate" => gate, "class" => class)
}

/// How long the oldest task has waited for a slot, by class.
pub(crate) fn task_oldest_wait(class: &'static str) -> metrics::Gauge {
    gauge!("steward_task_oldest_wait_seconds", "class" => class)
}

/// A worker took a task that was ready for so long.
pub(crate) fn task_waited(class: &'static str, waited: std::time::Duration) {
    histogram!("steward_task_wait_seconds", "class" => class).record(waited.as_secs_f64());
}

/// Attempts at tasks that ended, by kind and outcome, and how long they took.
pub(crate) fn task_ended(kind: &'static str, outcome: &'static str, took: std::time::Duration) {
    counter!("steward_task_attempts_total", "kind" => kind, "outcome" => outcome).increment(1);
    histogram!("steward_task_seconds", "kind" => kind).record(took.as_secs_f64());
}

/// A task was leased to a worker of another node that asked for one.
pub(crate) fn task_given(kind: &'static str) {
    counter!("steward_tasks_given_total", "kind" => kind).increment(1);
}

/// A task was taken from another node to run here.
pub(crate) fn task_taken(kind: &'static str) {
    counter!("steward_tasks_taken_total", "kind" => kind).increment(1);
}

/// Attempts at deliveries, by outcome.
pub(crate) fn delivery_ended(outcome: &DeliveryOutcome) {
    let outcome = match outcome {
        DeliveryOutcome::Delivered { .. } => "delivered",
        DeliveryOutcome::Gone => "gone",
        DeliveryOutcome::Forgotten => "forgotten",
        DeliveryOutcome::Failed { .. } => "failed",
    };
    counter!("steward_delivery_attempts_total", "outcome" => outcome).increment(1);
}

/// Counts beyond four billion do not occur.
fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Exact up to 2^53; nobody reads the last bytes of more.
fn wide(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & u64::from(u32::MAX));
    let half = |part: u64| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    half(high) * 4_294_967_296.0 + half(low)
}

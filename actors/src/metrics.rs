//! The metrics of this crate, each behind a named function.

/// Spawned tasks that run, by name.
pub(crate) fn tasks_running(name: &'static str) -> metrics::Gauge {
    metrics::gauge!("steward_tasks_running", "name" => name)
}

/// Attempts at tasks that ended, by kind and outcome, and how long they took.
pub(crate) fn task_ended(kind: &'static str, outcome: &'static str, took: std::time::Duration) {
    metrics::counter!("steward_task_attempts_total", "kind" => kind, "outcome" => outcome).increment(1);
    metrics::histogram!("steward_task_seconds", "kind" => kind).record(took.as_secs_f64());
}

/// Attempts at deliveries, by outcome.
pub(crate) fn delivery_ended(outcome: &'static str) {
    metrics::counter!("steward_delivery_attempts_total", "outcome" => outcome).increment(1);
}

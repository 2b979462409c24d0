//! The metrics of this crate, each behind a named function.

/// Spawned tasks that run, by name.
pub(crate) fn tasks_running(name: &'static str) -> metrics::Gauge {
    metrics::gauge!("steward_tasks_running", "name" => name)
}

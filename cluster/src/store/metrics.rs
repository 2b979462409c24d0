//! What the state store counts.

use super::error::StoreError;

/// What each family means, for people.
pub(crate) fn describe() {
    metrics::describe_counter!("steward_store_batches_total", "Batches written, by engine.");
    metrics::describe_counter!("steward_store_keys_written_total", "Keys written, by engine.");
    metrics::describe_counter!("steward_store_failures_total", "Operations that failed, by engine and kind.");
    metrics::describe_counter!("steward_store_rebuilds_total", "Stores thrown away and built again, by engine.");
}

/// A batch was written.
pub(super) fn written(engine: &'static str, keys: usize) {
    let keys = u64::try_from(keys).unwrap_or(u64::MAX);
    metrics::counter!("steward_store_batches_total", "engine" => engine).increment(1);
    metrics::counter!("steward_store_keys_written_total", "engine" => engine).increment(keys);
}

/// An operation failed.
pub(super) fn failed(engine: &'static str, error: &StoreError) {
    let kind = match error {
        StoreError::Engine { .. } => "engine",
        StoreError::Incomplete { .. } => "incomplete",
        StoreError::Key { .. } | StoreError::Value { .. } => "refused",
        StoreError::Io { .. } => "io",
        StoreError::UnknownEngine { .. } => "config",
    };
    metrics::counter!("steward_store_failures_total", "engine" => engine, "kind" => kind).increment(1);
}

/// The store was thrown away and built again.
pub(super) fn rebuilt(engine: &'static str) {
    metrics::counter!("steward_store_rebuilds_total", "engine" => engine).increment(1);
}

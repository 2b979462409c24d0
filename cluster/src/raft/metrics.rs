//! The metrics of consensus, each behind a named function. Called by the driver and the applier only.

use std::time::Duration;

use crate::raft::ProposeError;

/// What each family means, for people.
pub(crate) fn describe() {
    metrics::describe_counter!("steward_raft_proposals_total", "Proposals taken in, whatever became of them.");
    metrics::describe_counter!("steward_raft_proposals_refused_total", "Proposals refused, by reason.");
    metrics::describe_histogram!("steward_raft_batch_records", "Records in one batch for the log.");
    metrics::describe_histogram!("steward_raft_apply_entries", "Entries applied in one call of the state machine.");
    metrics::describe_histogram!("steward_raft_apply_seconds", "One call of the state machine.");
    metrics::describe_counter!(
        "steward_raft_frames_dropped_total",
        "Frames of peers lost to a driver that was behind."
    );
    metrics::describe_counter!("steward_raft_role_changes_total", "Shards that changed their role here.");
}

/// Proposals taken in, whatever became of them.
pub(crate) fn proposals(count: u64) {
    metrics::counter!("steward_raft_proposals_total").increment(count);
}

/// Proposals refused, by reason.
pub(crate) fn refused(reason: &ProposeError) {
    metrics::counter!("steward_raft_proposals_refused_total", "reason" => reason.label()).increment(1);
}

/// Records in one batch for the log.
pub(crate) fn batch_records(count: usize) {
    metrics::histogram!("steward_raft_batch_records").record(approximate(count));
}

/// Entries applied in one call of the state machine, and how long it took.
pub(crate) fn applied(entries: usize, took: Duration) {
    metrics::histogram!("steward_raft_apply_entries").record(approximate(entries));
    metrics::histogram!("steward_raft_apply_seconds").record(took.as_secs_f64());
}

/// A frame of a peer was lost to a driver that was behind.
pub(crate) fn frame_dropped() {
    metrics::counter!("steward_raft_frames_dropped_total").increment(1);
}

/// Shards that changed their role here.
pub(crate) fn role_changes(count: usize) {
    metrics::counter!("steward_raft_role_changes_total").increment(u64::try_from(count).unwrap_or(u64::MAX));
}

fn approximate(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

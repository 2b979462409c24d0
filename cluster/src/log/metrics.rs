//! Every figure the log reports. Only the log thread calls it, so a simulation's logs stay out of the node's figures.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// What each family means, for people.
pub(crate) fn describe() {
    describe_counter!("steward_log_bytes_total", "Bytes handed to the disk.");
    describe_counter!("steward_log_payload_bytes_total", "Bytes of those that were payload.");
    describe_counter!("steward_log_records_total", "Records written.");
    describe_counter!("steward_log_syncs_total", "Syncs of the disk; fewer than batches when group commit works.");
    describe_histogram!("steward_log_append_seconds", "One write and its sync.");
    describe_gauge!("steward_log_segments", "Segment files.");
    describe_counter!("steward_log_ahead_bytes_total", "Zeros written so that blocks exist before they are needed.");
    describe_gauge!("steward_log_spares", "Files that wait to become segments.");
    describe_gauge!("steward_log_space_low", "1 while too little space is free and proposals are refused.");
}

/// Bytes handed to the disk: payloads, records' heads, group and segment headers.
pub(crate) fn steward_log_bytes_total(bytes: u64) {
    counter!("steward_log_bytes_total").increment(bytes);
}

/// Bytes of those that were payload; the ratio of the two is the log's overhead.
pub(crate) fn steward_log_payload_bytes_total(bytes: u64) {
    counter!("steward_log_payload_bytes_total").increment(bytes);
}

pub(crate) fn steward_log_records_total(records: u64) {
    counter!("steward_log_records_total").increment(records);
}

/// Syncs of the disk. Fewer than batches when group commit works.
pub(crate) fn steward_log_syncs_total(syncs: u64) {
    counter!("steward_log_syncs_total").increment(syncs);
}

/// How long one write and its sync took.
pub(crate) fn steward_log_append_seconds(took: Duration) {
    histogram!("steward_log_append_seconds").record(took.as_secs_f64());
}

pub(crate) fn steward_log_segments(segments: u32) {
    gauge!("steward_log_segments").set(f64::from(segments));
}

/// Zeros written so that blocks exist before they are needed; `steward_log_bytes_total` has none of them.
pub(crate) fn steward_log_ahead_bytes_total(bytes: u64) {
    counter!("steward_log_ahead_bytes_total").increment(bytes);
}

pub(crate) fn steward_log_spares(spares: u32) {
    gauge!("steward_log_spares").set(f64::from(spares));
}

/// 1 while free space is below the reserve and proposals are refused.
pub(crate) fn steward_log_space_low(low: bool) {
    gauge!("steward_log_space_low").set(if low { 1.0 } else { 0.0 });
}

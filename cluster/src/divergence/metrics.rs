//! The metric of comparing replicas. Called by the auditor.

/// What the family means, for people.
pub(crate) fn describe() {
    metrics::describe_counter!("steward_shard_divergence_total", "Checks at which replicas of a shard differed.");
}

/// This node's replica differs, and is seeded anew.
pub(super) fn reseeded() {
    metrics::counter!("steward_shard_divergence_total", "outcome" => "reseeded").increment(1);
}

/// Replicas of a shard led here differ, and nobody can tell which is right.
pub(super) fn undecided() {
    metrics::counter!("steward_shard_divergence_total", "outcome" => "undecided").increment(1);
}

//! The metrics of placement, each behind a named function. Called by the controller and the executor.

/// What each family means, for people.
pub(crate) fn describe() {
    metrics::describe_gauge!("steward_controller", "1 while this node places shards.");
    metrics::describe_counter!("steward_placement_writes_total", "Placements written, by outcome.");
    metrics::describe_gauge!("steward_shards_moving", "Shards that are not where they should be, on the controller.");
    metrics::describe_gauge!("steward_shards_held", "Shards of which this node holds a replica.");
    metrics::describe_gauge!("steward_replica_lag_entries", "Entries the slowest replica of a shard led here lacks.");
    metrics::describe_gauge!("steward_replica_missing_blobs", "Blobs that shards led here wait for before they move.");
    metrics::describe_counter!(
        "steward_shards_moved_without_blobs_total",
        "Changes of members that went on although blobs were missing."
    );
    metrics::describe_counter!("steward_placement_steps_total", "Changes of members and moves of leadership begun.");
}

/// Whether this node places shards.
pub(crate) fn controller(is_one: bool) {
    metrics::gauge!("steward_controller").set(f64::from(u8::from(is_one)));
}

/// A placement was written, or refused because this node or its plan was out of date.
pub(crate) fn written(done: bool) {
    let outcome = if done { "done" } else { "refused" };
    metrics::counter!("steward_placement_writes_total", "outcome" => outcome).increment(1);
}

/// Shards that are not where they should be.
pub(crate) fn moving(count: usize) {
    metrics::gauge!("steward_shards_moving").set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}

/// How many shards are held here, and how far behind the slowest replica of those led here is.
pub(crate) fn standing(held: usize, lag: u64) {
    metrics::gauge!("steward_shards_held").set(f64::from(u32::try_from(held).unwrap_or(u32::MAX)));
    metrics::gauge!("steward_replica_lag_entries").set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
}

/// A change of members, or a move of leadership, began.
pub(crate) fn step(kind: &'static str) {
    metrics::counter!("steward_placement_steps_total", "step" => kind).increment(1);
}

/// Blobs that shards led here wait for.
pub(crate) fn missing_blobs(count: u64) {
    metrics::gauge!("steward_replica_missing_blobs").set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}

/// A shard changed its voters although blobs were missing: none had come for long.
pub(crate) fn moved_without_blobs() {
    metrics::counter!("steward_shards_moved_without_blobs_total").increment(1);
}

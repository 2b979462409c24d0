//! The metrics of placement, each behind a named function. Called by the controller only.

/// What each family means, for people.
pub(crate) fn describe() {
    metrics::describe_gauge!("steward_controller", "1 while this node places shards.");
    metrics::describe_counter!("steward_placement_writes_total", "Placements written, by outcome.");
    metrics::describe_gauge!("steward_shards_moving", "Shards that are not where they should be, on the controller.");
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

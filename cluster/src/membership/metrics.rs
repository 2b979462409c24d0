//! The metrics of membership, each behind a named function. Called by this module only.

/// What each family means, for people.
pub(crate) fn describe() {
    metrics::describe_gauge!("steward_etcd_up", "1 while etcd answers, 0 while it does not.");
    metrics::describe_counter!("steward_etcd_errors_total", "Tries of etcd calls that failed, by what was asked.");
    metrics::describe_counter!(
        "steward_registrations_total",
        "Times this node registered; more than one: leases lost."
    );
    metrics::describe_gauge!("steward_nodes", "Nodes in the view of this node.");
}

/// Whether etcd answers.
pub(crate) fn etcd_up(up: bool) {
    metrics::gauge!("steward_etcd_up").set(f64::from(u8::from(up)));
}

/// One failed try of a call.
pub(crate) fn etcd_error(step: &'static str) {
    metrics::counter!("steward_etcd_errors_total", "step" => step).increment(1);
}

/// This node has registered.
pub(crate) fn registered() {
    metrics::counter!("steward_registrations_total").increment(1);
}

/// Nodes in the view.
pub(crate) fn nodes(count: usize) {
    metrics::gauge!("steward_nodes").set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}

//! The metrics of the gateway, each behind a named function. Labels are small closed sets, never an account.

use metrics::{Counter, Gauge, Histogram};
use steward_cluster::clock::Timestamp;
use steward_cluster::format::Format;

use crate::gateway::error::Code;

/// Webhooks that became an event.
pub(crate) fn webhooks_accepted() -> Counter {
    metrics::counter!("steward_webhooks_accepted_total")
}

/// Webhooks that had come before.
pub(crate) fn webhooks_repeated() -> Counter {
    metrics::counter!("steward_webhooks_repeated_total")
}

/// Challenges of platforms that were answered.
pub(crate) fn webhook_handshakes() -> Counter {
    metrics::counter!("steward_webhook_handshakes_total")
}

/// Webhooks that were refused, by reason.
pub(crate) fn webhooks_refused(reason: Code) -> Counter {
    metrics::counter!("steward_webhooks_refused_total", "reason" => reason.word())
}

/// From the first byte of a webhook's body to its durable answer.
pub(crate) fn webhook_seconds() -> Histogram {
    metrics::histogram!("steward_webhook_duration_seconds")
}

/// Open HTTP connections.
pub(crate) fn http_connections() -> Gauge {
    metrics::gauge!("steward_http_connections")
}

/// A port that clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    Http,
    Grpc,
}

/// Connections that were cut because their peer kept a full port waiting.
pub(crate) fn connections_cut(listener: Listener) -> Counter {
    let listener = match listener {
        Listener::Http => "http",
        Listener::Grpc => "grpc",
    };
    metrics::counter!("steward_connections_cut_total", "listener" => listener)
}

/// Open event streams.
pub(crate) fn subscriptions() -> Gauge {
    metrics::gauge!("steward_subscriptions")
}

/// Event streams that were cut because their reader was too slow.
pub(crate) fn subscriptions_cut() -> Counter {
    metrics::counter!("steward_subscriptions_cut_total")
}

/// Open streams of all accounts.
pub(crate) fn subscriptions_to_all() -> Gauge {
    metrics::gauge!("steward_subscriptions_to_all")
}

/// How old events are when a stream of all accounts hands them on.
pub(crate) fn subscription_to_all_lag_seconds() -> Histogram {
    metrics::histogram!("steward_subscription_to_all_lag_seconds")
}

/// How passing one call on to another node went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    Answered,
    NotLed,
    Unreachable,
    Unclear,
    Late,
    TakenBack,
}

/// Calls passed on to another node, by how that went.
pub(crate) fn forwards(hop: Hop) -> Counter {
    let outcome = match hop {
        Hop::Answered => "answered",
        Hop::NotLed => "not_led",
        Hop::Unreachable => "unreachable",
        Hop::Unclear => "unclear",
        Hop::Late => "late",
        Hop::TakenBack => "taken_back",
    };
    metrics::counter!("steward_forwards_total", "outcome" => outcome)
}

/// Calls that were tried again, here or at another node.
pub(crate) fn forward_retries() -> Counter {
    metrics::counter!("steward_forward_retries_total")
}

/// From passing a call on to the head of its answer.
pub(crate) fn forward_hop_seconds() -> Histogram {
    metrics::histogram!("steward_forward_hop_seconds")
}

/// When this process started, as Prometheus wants it.
pub(crate) fn start_time_seconds(started_at: Timestamp) {
    let seconds = u32::try_from(started_at.0 / 1000).unwrap_or(u32::MAX);
    metrics::gauge!("process_start_time_seconds").set(f64::from(seconds));
}

/// The lowest format in force here, and the highest this binary knows; nothing while no shard is here.
pub(crate) fn format_in_force(format: Option<Format>) {
    metrics::gauge!("steward_format_known").set(f64::from(Format::NEWEST.0));
    if let Some(format) = format {
        metrics::gauge!("steward_format_in_force").set(f64::from(format.0));
    }
}

/// How long a part of the node has stood still; 0 while it gets on.
pub(crate) fn standstill(part: &'static str, seconds: u32) {
    metrics::gauge!("steward_standstill_seconds", "part" => part).set(f64::from(seconds));
}

/// What each family means, for people.
pub(crate) fn describe() {
    steward_cluster::describe_metrics();
    steward_actors::metrics::describe();
    metrics::describe_counter!("steward_webhooks_accepted_total", "Webhooks that became an event.");
    metrics::describe_counter!("steward_webhooks_repeated_total", "Webhooks that had come before.");
    metrics::describe_counter!("steward_webhook_handshakes_total", "Challenges of platforms that were answered.");
    metrics::describe_counter!("steward_webhooks_refused_total", "Webhooks that were refused, by reason.");
    metrics::describe_histogram!("steward_webhook_duration_seconds", "From a webhook's body to its durable answer.");
    metrics::describe_gauge!("steward_http_connections", "Open HTTP connections.");
    metrics::describe_counter!("steward_connections_cut_total", "Connections that kept a full port waiting.");
    metrics::describe_gauge!("process_start_time_seconds", "When this process started, since the Unix epoch.");
    metrics::describe_gauge!("steward_standstill_seconds", "How long a part of the node has stood still.");
    metrics::describe_gauge!("steward_subscriptions", "Open event streams.");
    metrics::describe_counter!("steward_subscriptions_cut_total", "Event streams cut because of a slow reader.");
    metrics::describe_gauge!("steward_subscriptions_to_all", "Open streams of all accounts.");
    metrics::describe_histogram!(
        "steward_subscription_to_all_lag_seconds",
        "Age of events as such a stream sends them."
    );
    metrics::describe_counter!("steward_forwards_total", "Calls passed on to another node, by outcome.");
    metrics::describe_counter!("steward_forward_retries_total", "Calls that were tried again.");
    metrics::describe_gauge!("steward_format_known", "The highest format this binary knows.");
    metrics::describe_gauge!("steward_format_in_force", "The lowest format in force in the shards held here.");
    metrics::describe_histogram!("steward_forward_hop_seconds", "From passing a call on to its answer.");
}

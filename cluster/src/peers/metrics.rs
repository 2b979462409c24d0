//! The metrics of what nodes tell each other, each behind a named function. Called by this module only.

use std::time::Duration;

/// What each family means, for people.
pub(crate) fn describe() {
    metrics::describe_counter!("steward_peer_frames_total", "Frames exchanged with other nodes, by direction.");
    metrics::describe_counter!("steward_peer_messages_total", "Raft messages in them, by direction.");
    metrics::describe_counter!("steward_peer_bytes_total", "Bytes in them, by direction.");
    metrics::describe_counter!("steward_peer_messages_dropped_total", "Raft messages that found their queue full.");
    metrics::describe_gauge!("steward_peer_links", "Nodes this one exchanges frames with now.");
    metrics::describe_counter!("steward_peer_dials_total", "Attempts to link with another node, by outcome.");
    metrics::describe_counter!("steward_peer_refused_total", "Connections and links of nodes that were refused.");
    metrics::describe_counter!("steward_peer_snapshot_bytes_total", "Bytes of snapshots, by direction.");
    metrics::describe_gauge!("steward_peer_clock_skew_seconds", "How far the clock of a linked node is off, at most.");
}

/// Where bytes went.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Sent,
    Received,
}

impl Direction {
    fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// One frame.
pub(super) fn frame(direction: Direction, messages: usize, bytes: usize) {
    let direction = direction.label();
    metrics::counter!("steward_peer_frames_total", "direction" => direction).increment(1);
    metrics::counter!("steward_peer_messages_total", "direction" => direction).increment(widen(messages));
    metrics::counter!("steward_peer_bytes_total", "direction" => direction).increment(widen(bytes));
}

/// Messages that found their queue full.
pub(super) fn dropped(messages: usize) {
    metrics::counter!("steward_peer_messages_dropped_total").increment(widen(messages));
}

/// The number of links up.
pub(super) fn links() -> metrics::Gauge {
    metrics::gauge!("steward_peer_links")
}

/// One attempt to link.
pub(super) fn dialed(linked: bool) {
    let outcome = if linked { "linked" } else { "failed" };
    metrics::counter!("steward_peer_dials_total", "outcome" => outcome).increment(1);
}

/// A connection or link that was refused.
pub(super) fn refused() {
    metrics::counter!("steward_peer_refused_total").increment(1);
}

/// Bytes of a snapshot.
pub(super) fn snapshot_bytes(direction: Direction, bytes: usize) {
    metrics::counter!("steward_peer_snapshot_bytes_total", "direction" => direction.label()).increment(widen(bytes));
}

/// The largest difference to the clock of a linked node.
pub(super) fn clock_skew(skew: Duration) {
    metrics::gauge!("steward_peer_clock_skew_seconds").set(skew.as_secs_f64());
}

fn widen(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

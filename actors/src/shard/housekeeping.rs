//! What happens by itself on a node: timers fall due, feeds are trimmed, snapshots are taken, replicas compared.

use std::sync::Weak;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::sleep;

use super::ExecuteError;
use super::comparing::Comparing;
use super::node::Node;
use super::sweep::{Sweep, execute};
use super::timers::Timer;
use crate::domain::account::Asked;

/// How often it looks while there is something to do; also how late a timer may be.
const TICK: Duration = Duration::from_millis(100);
/// How often it looks otherwise. A timer that is set meanwhile wakes it.
const CALM_TICK: Duration = Duration::from_millis(500);
/// Timers served at a time. They may all be of one account, which has to have room for its clients beside them.
const SERVED_AT_ONCE: usize = 64;
/// When a timer that could not be served is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Runs until the node is gone.
pub(crate) async fn keep(node: Weak<Node>) {
    let Some(timer_set) = node.upgrade().map(|node| node.timers.set()) else { return };
    let mut sweep = Sweep::new();
    let mut comparing = Comparing::default();
    let mut patience = TICK;
    loop {
        tokio::select! {
            () = sleep(patience) => {}
            () = timer_set.notified() => sleep(TICK).await,
        }
        let Some(node) = node.upgrade() else { return };
        fall_due(&node).await;
        if let Err(error) = sweep.go_on(&node).await {
            tracing::warn!(error = %error, "retention could not read the store");
            sweep = Sweep::new();
        }
        node.followers.tidy();
        comparing.ask(&node);
        if node.snapshots.is_due(node.config.snapshot_log_bytes) {
            node.snapshots.start_round(node.store.clone(), node.driver().clone());
        }
        let now = node.clock.monotonic();
        let until_timer = node.timers.next().map_or(CALM_TICK, |due| due.saturating_sub(now));
        patience = if sweep.rests(now) { until_timer.clamp(TICK, CALM_TICK) } else { TICK };
    }
}

/// Serves what is due, also when thousands of jobs start at the same time.
async fn fall_due(node: &Node) {
    let now = node.clock.monotonic();
    loop {
        let due = node.timers.due(now);
        if due.is_empty() {
            return;
        }
        stream::iter(due).for_each_concurrent(SERVED_AT_ONCE, |timer| fell_due(node, timer)).await;
    }
}

/// Asks for what a timer is about.
async fn fell_due(node: &Node, timer: Timer) {
    let asked = Asked {
        command: timer.command(),
        actor: timer.actor(),
        correlation_id: "timer".to_owned(),
        causation_seq: 0,
        idempotency: None,
    };
    match execute(node, &timer.account, asked).await {
        // A lead that begins finds its timers itself; a rejected one has nothing left to release.
        Ok(()) | Err(ExecuteError::NotLed { .. } | ExecuteError::Rejected(_)) => {}
        Err(
            ExecuteError::Overloaded { .. }
            | ExecuteError::Quarantined { .. }
            | ExecuteError::DiskFull
            | ExecuteError::OutcomeUnknown { .. },
        ) => {
            let mut again = timer;
            again.due = node.clock.monotonic() + AGAIN_AFTER;
            node.timers.add(again);
        }
    }
}

//! Pulls tasks from nodes that have no slot for them into slots that nothing here wants.
//!
//! # Invariants
//! - **L1 own first**: a node is asked only while no task of its class waits here; the slot is kept meanwhile, so what is
//!   given always finds it.
//! - **L2 able**: only kinds are asked for whose tools and models are here.
//! - **L3 no phantom**: when no answer comes, nothing runs. If the lease was given all the same, nobody renews it, and its
//!   leader takes it back.
//! - **L4 quiet**: a node is asked after it said that it has something, again while it gives, and not after it had nothing.
//!   So there are at most as many calls in vain as announcements.

use std::sync::Arc;

use super::attempt::{self, Bench};
use super::grant::Granted;
use crate::domain::account::ReleaseReason;
use crate::domain::task::{TASK_CLASSES, TaskClass, TaskKind};
use crate::elsewhere::Elsewhere;
use crate::{metrics, supervisor};

/// Pulls for ever.
pub(super) async fn pull(bench: Arc<Bench>, elsewhere: Arc<dyn Elsewhere>) {
    loop {
        bench.hints.worth_a_look().await;
        for class in TASK_CLASSES {
            fill(&bench, &*elsewhere, class).await;
        }
    }
}

/// Asks while there is a slot for what is given.
async fn fill(bench: &Arc<Bench>, elsewhere: &dyn Elsewhere, class: TaskClass) {
    let kinds = able(bench, class);
    while let Some(node) = bench.hints.next(&kinds) {
        let Some(_slot) = bench.board.reserve(class, bench.slots) else { return };
        let taken = match elsewhere.take(node, &bench.worker, kinds.clone()).await {
            Some(granted) if kinds.contains(&granted.lease.task.kind) => begin(bench, granted),
            Some(_) | None => false,
        };
        if !taken {
            bench.hints.forget(node, class);
        }
    }
}

/// The kinds of a class that can be run here for accounts that other nodes lead. Tools and models may come and go.
fn able(bench: &Bench, class: TaskClass) -> Vec<TaskKind> {
    let is_able = |kind: &TaskKind| bench.runners.get(kind).is_some_and(|runner| runner.takes().contains(kind));
    bench.runners.keys().copied().filter(|kind| kind.class() == class).filter(is_able).collect()
}

/// Starts what was given, or gives it back while an older attempt at the same task has not stopped here.
fn begin(bench: &Arc<Bench>, granted: Granted) -> bool {
    let Granted { lease, work } = granted;
    let Some(cancel) = bench.board.take_in(&lease, bench.clock.now()) else {
        let bench = Arc::clone(bench);
        let give_back = async move { bench.release(&lease, ReleaseReason::Drained).await };
        drop(supervisor::spawn("release", give_back));
        return false;
    };
    metrics::task_taken(lease.task.kind.as_str());
    attempt::start(bench, lease, Some(work), cancel);
    true
}

//! Watches whether the parts of this node get on: names one that stands still, takes the node out of the traffic meanwhile,
//! and ends the process when nothing else helps. On a thread of its own, which no standstill of others holds up.
//!
//! # Decisions
//! - **The process ends.** A thread that hangs cannot be freed from outside it, and what it holds is in nobody's hands.
//!   After a start the log says what happened, and in a cluster others lead meanwhile. Rejected: to hand leaderships away
//!   while the process lives on; what stands still is often what would have to do that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use steward_actors::supervisor;
use steward_cluster::progress::{Part, Progress, Standstill, Watch};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::metrics;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the runtime shows that it gets on. A part of its own: everything that serves clients runs on it.
const RUNTIME_EVERY: Duration = Duration::from_millis(500);
/// How long the last words may take: whoever takes the log may be what everybody waits for.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// What stands still, for probes. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Standstills(Arc<Mutex<Vec<Standstill>>>);

impl Standstills {
    /// In words, if something does.
    pub(crate) fn told(&self) -> Option<String> {
        let standing = self.0.lock();
        (!standing.is_empty()).then(|| standing.iter().map(words).collect::<Vec<_>>().join("; "))
    }
}

/// The watcher at work, until it is dropped.
pub(crate) struct Watcher {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _runtime: AbortOnDropHandle<()>,
}

/// From how many looks on a part is named, and the process ended.
#[derive(Clone, Copy)]
struct Patience {
    named_after: u32,
    ends_after: Option<u32>,
}

impl Watcher {
    /// Starts to watch, and tells what stands still.
    pub(crate) fn start(config: &Config, progress: &Progress) -> anyhow::Result<(Self, Standstills)> {
        let ends_after = Some(config.node.standstill_s_max).filter(|seconds| *seconds > 0);
        let patience = Patience { named_after: config.node.standstill_s, ends_after };
        let runtime = AbortOnDropHandle::new(supervisor::spawn("runtime", show(progress.part("runtime"))));
        let (is_over, standstills) = (Arc::new(AtomicBool::new(false)), Standstills::default());
        let (over, told, progress) = (Arc::clone(&is_over), standstills.clone(), progress.clone());
        let watch = move || watch(&progress, patience, &told, &over);
        let thread = std::thread::Builder::new().name("steward-watch".to_owned()).spawn(watch);
        let thread = Some(thread.context("cannot start the watcher")?);
        Ok((Self { is_over, thread, _runtime: runtime }, standstills))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().ok(); // A panic was printed when it happened.
        }
    }
}

/// Never rests: each turn ends the one before.
async fn show(part: Arc<Part>) {
    loop {
        part.begins(None);
        tokio::time::sleep(RUNTIME_EVERY).await;
    }
}

fn watch(progress: &Progress, patience: Patience, standstills: &Standstills, is_over: &AtomicBool) {
    let mut watch = Watch::default();
    while !is_over.load(Ordering::Acquire) {
        let seen = watch.look(progress);
        for one in &seen {
            metrics::standstill(one.part, if one.looks >= patience.named_after { one.looks } else { 0 });
        }
        let standing: Vec<Standstill> = seen.into_iter().filter(|one| one.looks >= patience.named_after).collect();
        let newly = standing.iter().any(|one| one.looks == patience.named_after);
        let last = standing.iter().find(|one| patience.ends_after.is_some_and(|looks| one.looks >= looks)).cloned();
        standstills.0.lock().clone_from(&standing);
        if let Some(last) = last {
            end(&last);
        }
        if newly {
            say(standing);
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// Beside the watcher, which must not wait for the log's reader.
fn say(standing: Vec<Standstill>) {
    let say = move || {
        for one in &standing {
            tracing::error!(part = one.part, shard = one.shard.map(|shard| shard.0), "{}", words(one));
        }
    };
    // Without a thread for it nothing is said; the metric and the probe tell all the same.
    std::thread::Builder::new().name("steward-said".to_owned()).spawn(say).ok();
}

fn end(last: &Standstill) -> ! {
    let text = words(last);
    let say = std::thread::spawn(move || tracing::error!(reason = text, "nothing else helps, the process ends"));
    let mut left = LAST_WORDS_MAX;
    while !say.is_finished() && !left.is_zero() {
        std::thread::park_timeout(LAST_WORDS_MAX / 10);
        left = left.saturating_sub(LAST_WORDS_MAX / 10);
    }
    std::process::abort()
}

/// One look a second.
fn words(one: &Standstill) -> String {
    let Standstill { part, shard, looks } = one;
    match shard {
        None => format!("{part} has stood still for {looks} s"),
        Some(shard) => format!("{part} has stood still for {looks} s at shard {}", shard.0),
    }
}

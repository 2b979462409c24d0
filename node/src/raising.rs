//! Puts formats in force in the shards led here, as soon as they may be. The composition root starts it.
//!
//! # Decisions
//! - A node that is alone is all there is: it raises by itself, and goes back by a copy of its folder. In a cluster an
//!   operator says when, and every node must know the format; see `steward_cluster::format`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use steward_actors::shard::{ShardRow, Shards};
use steward_actors::supervisor;
use steward_cluster::format::{self, Format};
use steward_cluster::membership::View;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::RememberedFormat;
use crate::data_dir::DataDir;
use crate::metrics;

/// How often it looks.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// How long a barrier is waited for before the next look.
const RAISE_MAX: Duration = Duration::from_secs(10);

/// Looks until the handle is dropped. `view` is the cluster's; none on a node that is alone. What is in force is
/// remembered in the data folder.
pub(crate) fn start(
    shards: Shards,
    view: Option<watch::Receiver<Arc<View>>>,
    data_dir: &Arc<DataDir>,
) -> AbortOnDropHandle<()> {
    let remembered = RememberedFormat::load(Arc::clone(data_dir));
    AbortOnDropHandle::new(supervisor::spawn("raising", keep(shards, view, remembered)))
}

async fn keep(shards: Shards, view: Option<watch::Receiver<Arc<View>>>, mut remembered: RememberedFormat) {
    let mut passes = interval(PASS_EVERY);
    passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        passes.tick().await;
        let rows = shards.status();
        metrics::format_in_force(rows.iter().map(|row| row.format).min());
        let view = view.as_ref().map(|view| Arc::clone(&view.borrow()));
        let wanted = view.as_ref().map_or(Format::FIRST, |view| view.finalized());
        remembered.learn(rows.iter().map(|row| row.format).fold(wanted, Format::max));
        let led = rows.iter().filter(|row| shards.is_led(row.shard));
        let due = led.filter_map(|row| Some((row, due(row, view.as_deref())?)));
        let raised = join_all(due.map(|(row, format)| raise(&shards, row, format))).await;
        let raised: Vec<Format> = raised.into_iter().flatten().collect();
        if let Some(format) = raised.iter().max() {
            tracing::info!(format = format.0, shards = raised.len(), "a format is in force in shards led here");
        }
    }
}

fn due(row: &ShardRow, view: Option<&View>) -> Option<Format> {
    match view {
        Some(view) => format::due(view, row.shard, row.format),
        None => (row.format < Format::NEWEST).then_some(Format::NEWEST),
    }
}

/// The format, when it is in force.
async fn raise(shards: &Shards, row: &ShardRow, format: Format) -> Option<Format> {
    let shard = row.shard.0;
    match timeout(RAISE_MAX, shards.raise(row.shard, format)).await {
        Ok(Ok(())) => return Some(format),
        Ok(Err(error)) => tracing::debug!(shard, %error, "a barrier is not in the log, the next look asks again"),
        Err(_) => tracing::debug!(shard, "a barrier takes long, the next look asks again"),
    }
    None
}

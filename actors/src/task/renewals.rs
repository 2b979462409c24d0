//! The worker's side of leases whose leader is another node: renews them while their attempts run.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use super::attempt::Bench;
use super::leases::{Lease, RENEW_EVERY};
use crate::elsewhere::Elsewhere;

/// Renews for ever. An attempt that is over is told to stop: nobody waits for it any more.
pub(super) async fn renew(bench: Arc<Bench>, elsewhere: Arc<dyn Elsewhere>) {
    let mut ticks = interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut held: Vec<Lease> = bench.board.held();
        held.retain(|lease| !bench.commands.leads(&lease.account));
        if held.is_empty() {
            continue;
        }
        for lease in elsewhere.renew(&bench.worker, held).await {
            tracing::info!(account = %lease.account, job = %lease.job, task = %lease.task, "a lease was lost");
            bench.board.cancel_attempt(&lease);
        }
    }
}

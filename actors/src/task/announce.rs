//! Says to other nodes that tasks wait here without a slot, so that idle ones ask for them.
//!
//! # Decisions
//! - **Said, not asked for.** A node with nothing to do waits to be told, instead of asking around: a cluster without a
//!   backlog exchanges nothing at all, however many nodes idle. What is said is repeated while tasks wait, so an
//!   announcement that is lost, or that came while the other node was busy, costs one more period; a slow poll beside it
//!   would find nothing that the next announcement does not. Rejected: handing tasks to nodes by their load, which is
//!   known late and needs a node to take what it has no slot for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::attempt::Bench;
use crate::elsewhere::Elsewhere;

/// The rest after an announcement. The dispatcher looks at its board once a second, so this is the period as well.
const ANNOUNCE_REST: Duration = Duration::from_secs(1);

/// Announces for ever what is left over when all slots are taken.
pub(super) async fn announce(bench: Arc<Bench>, elsewhere: Arc<dyn Elsewhere>) {
    loop {
        bench.board.settled().await;
        let kinds = bench.board.spare_kinds(bench.slots);
        if !kinds.is_empty() {
            elsewhere.announce(kinds.into_iter().collect()).await;
            sleep(ANNOUNCE_REST).await;
        }
    }
}

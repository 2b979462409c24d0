//! What a leader answers workers of other nodes. The service between nodes calls it.

use std::sync::Arc;

use super::attempt::Bench;
use super::leases::{Lease, Standing, standing};

/// The leases of the accounts this node leads. Cheap to clone.
#[derive(Clone)]
pub struct Lessor {
    bench: Arc<Bench>,
}

impl Lessor {
    pub(super) fn new(bench: Arc<Bench>) -> Self {
        Self { bench }
    }

    /// A worker of another node is at work on these. Returns those whose attempt is over; of accounts that another node
    /// leads nothing is said.
    #[must_use]
    pub fn renew(&self, worker: &str, leases: Vec<Lease>) -> Vec<Lease> {
        let Bench { commands, board, clock, .. } = &*self.bench;
        let reads = commands.reads();
        let mut over = vec![];
        for lease in leases.into_iter().filter(|lease| commands.leads(&lease.account)) {
            match reads.job(&lease.account, &lease.job).map(|job| standing(job.as_ref(), &lease, worker)) {
                Ok(Standing::Held) => board.leases.renewed(lease, clock.monotonic()),
                Ok(Standing::Over) => over.push(lease),
                Ok(Standing::Unknown) => {}
                Err(error) => {
                    tracing::error!(account = %lease.account, job = %lease.job, %error, "a job cannot be read")
                }
            }
        }
        over
    }
}

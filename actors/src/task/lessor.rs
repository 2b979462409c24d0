//! What a leader answers workers of other nodes. The service between nodes calls it.
//!
//! # Invariants
//! - **S1 spare only**: a task is given away only when this node would not start it at once; accounts take turns as they
//!   do for its own slots.
//! - **S2 committed**: the lease of what is given is in the log. An answer that gets lost leaves a lease that nobody
//!   renews, so the task is ready again after ten seconds; asking again gives another one.

use std::sync::Arc;

use super::attempt::{Bench, asked};
use super::grant::Granted;
use super::leases::{Lease, Standing, standing};
use crate::domain::account::Command;
use crate::domain::task::TaskKind;
use crate::metrics;

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

    /// Gives a task of one of these kinds to a worker of another node, if there is one to spare.
    pub async fn spare(&self, worker: &str, kinds: &[TaskKind]) -> Option<Granted> {
        let Bench { commands, board, slots, .. } = &*self.bench;
        let lent = board.lend(kinds, *slots)?;
        let lease = lent.ready.lease();
        let command = Command::StartTask { job: lease.job.clone(), task: lease.task, worker: worker.to_owned() };
        // Here or not at all: if another node leads the account by now, the worker can ask that one.
        if let Err(error) = commands.shards().execute(&lease.account, asked(worker, &lease.job, command)).await {
            tracing::debug!(account = %lease.account, job = %lease.job, worker, %error, "a task was not given away");
            return None;
        }
        let work = self.bench.work(&lease).await.ok()?; // What is wrong with it has been reported.
        metrics::task_given(lease.task.kind.as_str());
        Some(Granted { lease, work })
    }
}

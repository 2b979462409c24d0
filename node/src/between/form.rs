//! Leases as the contract between nodes has them, and back. Both ends of a renewal use it.

use steward_actors::domain::ids::{AccountId, JobId};
use steward_actors::domain::task::TaskId;
use steward_actors::task::Lease;
use steward_proto::peer::v1 as pb;

pub(super) fn to_wire(lease: Lease) -> pb::Lease {
    let Lease { account, job, task, attempt } = lease;
    pb::Lease { account_id: account.to_string(), job_id: job.to_string(), task: task.to_string(), attempt }
}

/// None: not of this version, so nothing can be said about it.
pub(super) fn from_wire(lease: &pb::Lease) -> Option<Lease> {
    Some(Lease {
        account: AccountId::parse(&lease.account_id).ok()?,
        job: JobId::parse(&lease.job_id).ok()?,
        task: TaskId::parse(&lease.task)?,
        attempt: lease.attempt,
    })
}

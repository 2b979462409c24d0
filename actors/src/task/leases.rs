//! Leases that workers of other nodes hold, as the leader of their account keeps them in mind: nothing of it is logged.
//!
//! The dispatcher notes what it finds in the store and takes back what ran out; the [`Lessor`](super::Lessor) notes
//! renewals. A new leader knows of no renewal, so what it finds has the time of a whole lease to be renewed.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::in_hand::TaskKey;
use crate::domain::account::TaskRef;
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{Job, JobState, TaskState};
use crate::domain::task::TaskId;

/// How often a worker renews what it holds.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How long a worker may be silent: two renewals may be lost.
const LEASE: Duration = Duration::from_secs(8);
/// What a renewal may take on its way.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// The right to try a task: one attempt's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub account: AccountId,
    pub job: JobId,
    pub task: TaskId,
    pub attempt: u32,
}

impl Lease {
    /// The task it is for.
    pub(super) fn key(&self) -> TaskKey {
        TaskKey { account: self.account.clone(), job: self.job.clone(), task: self.task }
    }

    /// The attempt, as its account knows it.
    pub(super) fn at(&self) -> TaskRef {
        TaskRef { job: self.job.clone(), task: self.task, attempt: self.attempt }
    }
}

/// What the store says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its holder may go on.
    Held,
    /// Whatever its holder reports will be refused.
    Over,
    /// The store has not heard of it: it may be behind.
    Unknown,
}

/// How a worker's lease stands by its job.
pub(super) fn standing(job: Option<&Job>, lease: &Lease, worker: &str) -> Standing {
    let Some(job) = job else { return Standing::Unknown };
    if job.state != JobState::Running {
        return Standing::Over;
    }
    match job.tasks.get(&lease.task) {
        Some(task) if task.attempt < lease.attempt => Standing::Unknown,
        Some(task) if task.attempt == lease.attempt && task.state == TaskState::Running => {
            if task.worker.as_deref() == Some(worker) { Standing::Held } else { Standing::Over }
        }
        Some(_) | None => Standing::Over,
    }
}

/// Leases, each with the time it runs out at.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<Lease, Duration>>);

impl Leases {
    /// The store says that it was given. It may have been renewed with an earlier leader.
    pub(super) fn found(&self, lease: Lease, now: Duration) {
        self.0.lock().entry(lease).or_insert(now + LEASE + LEASE_MARGIN);
    }

    /// Its holder is at work.
    pub(super) fn renewed(&self, lease: Lease, now: Duration) {
        self.0.lock().insert(lease, now + LEASE + LEASE_MARGIN);
    }

    /// Takes those that nobody renewed in time.
    pub(super) fn take_run_out(&self, now: Duration) -> Vec<Lease> {
        self.0.lock().extract_if(|_, ends_at| *ends_at <= now).map(|(lease, _)| lease).collect()
    }

    /// Another node leads these accounts now.
    pub(super) fn forget(&self, is_gone: impl Fn(&AccountId) -> bool) {
        self.0.lock().retain(|lease, _| !is_gone(&lease.account));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use steward_cluster::clock::Timestamp;

    use super::*;
    use crate::domain::job::JobKind;
    use crate::domain::task::TaskKind;

    fn lease(account: &str, attempt: u32) -> Lease {
        let (account, job) = (AccountId::parse(account).unwrap(), JobId::parse("call-1").unwrap());
        Lease { account, job, task: TaskKind::Fetch.whole(), attempt }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_runs_out_ten_seconds_after_it_was_found_or_last_renewed() {
        let leases = Leases::default();
        leases.found(lease("silent", 1), at(100));
        leases.found(lease("busy", 1), at(100));
        for second in [103, 106, 109] {
            leases.renewed(lease("busy", 1), at(second));
            leases.found(lease("silent", 1), at(second)); // Seen again in the store: nobody renewed it.
        }
        assert_eq!(leases.take_run_out(at(109)), []);
        assert_eq!(leases.take_run_out(at(110)), [lease("silent", 1)]);
        assert_eq!(leases.take_run_out(at(118)), []);
        assert_eq!(leases.take_run_out(at(119)), [lease("busy", 1)], "lease and margin after the last renewal");
        assert_eq!(leases.take_run_out(at(999)), [], "each is taken back once");
    }

    #[test]
    fn a_leader_that_steps_down_forgets_its_leases_only() {
        let leases = Leases::default();
        leases.found(lease("gone", 1), at(0));
        leases.found(lease("kept", 1), at(0));
        leases.forget(|account| account.as_str() == "gone");
        assert_eq!(leases.take_run_out(at(60)), [lease("kept", 1)]);
    }

    #[test]
    fn a_renewal_is_judged_by_the_store() {
        let job = |state: TaskState, attempt: u32, worker: &str| {
            let mut job = Job::requested(JobKind::Call, json!({}), 1, 0, Timestamp(1));
            let fetch = job.tasks.get_mut(&TaskKind::Fetch.whole()).unwrap();
            (fetch.state, fetch.attempt, fetch.worker) = (state, attempt, Some(worker.to_owned()));
            job
        };
        let mut ended = job(TaskState::Running, 2, "node-2/b");
        ended.state = JobState::Cancelled;
        let table = [
            ("as given", Some(job(TaskState::Running, 2, "node-2/b")), Standing::Held),
            ("given to another", Some(job(TaskState::Running, 2, "node-3/b")), Standing::Over),
            ("taken back", Some(job(TaskState::Ready, 2, "node-2/b")), Standing::Over),
            ("given again", Some(job(TaskState::Running, 3, "node-2/b")), Standing::Over),
            ("reported", Some(job(TaskState::Succeeded, 2, "node-2/b")), Standing::Over),
            ("its job ended", Some(ended), Standing::Over),
            ("not heard of the attempt", Some(job(TaskState::Ready, 1, "node-2/b")), Standing::Unknown),
            ("not heard of the job", None, Standing::Unknown),
        ];
        for (what, job, want) in table {
            assert_eq!(standing(job.as_ref(), &lease("acme", 2), "node-2/b"), want, "{what}");
        }
    }
}

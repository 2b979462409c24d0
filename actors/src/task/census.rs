//! How many tasks of the accounts this node leads stand at each gate, for metrics.
//!
//! Those that wait for a slot are in the queues; of the others nothing is kept but their number.

use std::collections::HashMap;

use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{Job, TaskState};

/// The gates that are counted here, by the names clients know them by.
const GATES: [&str; 4] = ["tasks", "start", "back_off", "paused"];

/// Tasks of each open job, by gate.
#[derive(Default)]
pub(super) struct Census(HashMap<(AccountId, JobId), [u32; GATES.len()]>);

impl Census {
    /// A job is as the store says; none: it has ended, or another node leads its account.
    pub(super) fn note(&mut self, account: &AccountId, id: &JobId, open: Option<&Job>) {
        let counted = open.map(|job| {
            let mut counts = [0; GATES.len()];
            job.tasks.values().filter_map(|task| gate(job, task.state)).for_each(|gate| counts[gate] += 1);
            counts
        });
        let job = (account.clone(), id.clone());
        match counted.filter(|counts| counts.iter().any(|count| *count > 0)) {
            Some(counts) => drop(self.0.insert(job, counts)),
            None => drop(self.0.remove(&job)),
        }
    }

    /// Another node leads these accounts now.
    pub(super) fn forget(&mut self, is_gone: &dyn Fn(&AccountId) -> bool) {
        self.0.retain(|(account, _), _| !is_gone(account));
    }

    /// The gates, each with how many stand at it.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        let at = |gate: usize| self.0.values().map(|counts| counts[gate]).sum();
        GATES.into_iter().enumerate().map(move |(gate, name)| (name, at(gate)))
    }
}

/// Where a task stands, among [`GATES`].
fn gate(job: &Job, state: TaskState) -> Option<usize> {
    match state {
        TaskState::Succeeded | TaskState::Failed | TaskState::Running => None,
        TaskState::Ready | TaskState::Blocked | TaskState::Delayed | TaskState::BackingOff if job.is_paused => Some(3),
        TaskState::Blocked => Some(0),
        TaskState::Delayed => Some(1),
        TaskState::BackingOff => Some(2),
        TaskState::Ready => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use steward_cluster::clock::Timestamp;

    use super::*;
    use crate::domain::job::{JobKind, JobOptions};

    #[test]
    fn each_open_job_counts_once_by_what_it_was_last() {
        let account = |name: &str| AccountId::parse(name).unwrap();
        let id = |name: &str| JobId::parse(name).unwrap();
        let call = Job::requested(JobKind::Call, json!({}), 1, 0, Timestamp(1));
        let delayed = call.clone().with_options(JobOptions { start_at: Some(Timestamp(9)), ..JobOptions::default() });
        let paused = Job { is_paused: true, ..call.clone() };
        let mut census = Census::default();
        let counts = |census: &Census| census.counts().map(|(_, count)| count).collect::<Vec<_>>();
        census.note(&account("a"), &id("call-1"), Some(&call));
        census.note(&account("a"), &id("call-2"), Some(&delayed));
        census.note(&account("b"), &id("call-1"), Some(&paused));
        assert_eq!(counts(&census), [12, 1, 0, 7]);
        census.note(&account("a"), &id("call-1"), Some(&paused));
        census.note(&account("a"), &id("call-2"), None);
        assert_eq!(counts(&census), [0, 0, 0, 14]);
        census.forget(&|account| account.as_str() == "a");
        assert_eq!(counts(&census), [0, 0, 0, 7]);
    }
}

//! What passes between a board and other nodes: tasks it has no slot for, and slots it has no task for.
//!
//! The [`Lessor`](super::Lessor) lends tasks, the puller reserves slots; both say so by a guard, so that whatever becomes
//! of the call, the board goes on with what is true then.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::board::TaskBoard;
use super::in_hand::{ReadyTask, Slots, TaskKey};
use crate::domain::task::{TaskClass, TaskKind};

/// A task that is being given to a worker of another node. When it is dropped, the board looks at what the store says.
pub(super) struct Lent {
    board: Arc<TaskBoard>,
    pub(super) ready: ReadyTask,
}

/// A slot that is kept for a task of another node.
pub(super) struct Reserved(Arc<TaskBoard>);

impl TaskBoard {
    /// The kinds of task that wait and find no slot here.
    pub(super) fn spare_kinds(&self, slots: Slots) -> BTreeSet<TaskKind> {
        self.state.lock().in_hand.spare_kinds(slots)
    }

    /// Takes the next task of these kinds, in turn over accounts, of those that find no slot here.
    pub(super) fn lend(self: &Arc<Self>, kinds: &[TaskKind], slots: Slots) -> Option<Lent> {
        let ready = self.state.lock().in_hand.lend(kinds, slots)?;
        Some(Lent { board: Arc::clone(self), ready })
    }

    /// Keeps a slot that nothing here wants. None: there is none, or one is kept already.
    pub(super) fn reserve(self: &Arc<Self>, class: TaskClass, slots: Slots) -> Option<Reserved> {
        self.state.lock().in_hand.reserve(class, slots).then(|| Reserved(Arc::clone(self)))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let TaskKey { account, job, .. } = &self.ready.key;
        self.board.state.lock().in_hand.end_lending(&self.ready.key);
        self.board.look_at(account, job, false);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.state.lock().in_hand.end_reservation();
        self.0.look();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;
    use steward_cluster::clock::Timestamp;

    use super::*;
    use crate::domain::ids::{AccountId, JobId};
    use crate::domain::job::{Job, JobKind, TaskState};
    use crate::domain::task::TaskLimits;
    use crate::task::Lease;

    const NOW: Timestamp = Timestamp(1_000);
    const ONE: Slots = Slots { cpu: 1, net: 1 };
    const NONE: Slots = Slots { cpu: 0, net: 0 };

    /// A board on which an account each has a job whose first task is a fetch.
    fn board(accounts: &[&str]) -> (Arc<TaskBoard>, Job, JobId) {
        let board = Arc::new(TaskBoard::new(PathBuf::from("scratch")));
        let (id, job) = (JobId::parse("call-1").unwrap(), Job::requested(JobKind::Call, json!({}), 1, 0, NOW));
        for account in accounts {
            board.reconcile(&AccountId::parse(account).unwrap(), &id, Some(&job), TaskLimits::default(), NOW);
        }
        (board, job, id)
    }

    #[test]
    fn only_what_would_find_no_slot_here_is_lent_and_only_of_kinds_that_were_asked_for() {
        let (board, ..) = board(&["a", "b", "c"]);
        assert!(board.lend(&[TaskKind::Fetch], ONE).is_none(), "there is a slot");
        assert!(board.spare_kinds(ONE).is_empty());
        board.take(TaskClass::Net, ONE, NOW).unwrap();
        assert!(board.spare_kinds(ONE).contains(&TaskKind::Fetch));
        assert!(board.lend(&[TaskKind::Probe], ONE).is_none(), "nobody asked for a fetch");
        let lent = [board.lend(&[TaskKind::Fetch], ONE).unwrap(), board.lend(&[TaskKind::Fetch], ONE).unwrap()];
        assert_eq!(lent.each_ref().map(|lent| lent.ready.key.account.as_str()), ["b", "c"], "accounts take turns");
        assert!(board.lend(&[TaskKind::Fetch], ONE).is_none());
    }

    #[test]
    fn what_is_being_lent_is_queued_again_when_nothing_came_of_it_and_not_before() {
        let (board, mut job, id) = board(&["a"]);
        let account = AccountId::parse("a").unwrap();
        let lent = board.lend(&[TaskKind::Fetch], NONE).unwrap();
        board.reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW);
        assert!(board.spare_kinds(NONE).is_empty(), "it is in somebody's hands");
        board.take_news();
        drop(lent);
        assert!(board.take_news().jobs.contains(&(account.clone(), id.clone())), "its job is looked at again");
        board.reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW);
        let lent = board.lend(&[TaskKind::Fetch], NONE).unwrap();
        let fetch = job.tasks.get_mut(&TaskKind::Fetch.whole()).unwrap();
        (fetch.state, fetch.attempt, fetch.worker) = (TaskState::Running, 1, Some("node-2/b".to_owned()));
        drop(lent);
        assert_eq!(
            board.reconcile(&account, &id, Some(&job), TaskLimits::default(), NOW).len(),
            1,
            "the lease is watched from now on"
        );
    }

    #[test]
    fn a_reserved_slot_is_taken_until_the_guard_goes_and_own_tasks_come_first() {
        let (board, job, id) = board(&[]);
        let kept = board.reserve(TaskClass::Net, ONE).unwrap();
        assert!(board.reserve(TaskClass::Cpu, ONE).is_none(), "one at a time");
        board.reconcile(&AccountId::parse("a").unwrap(), &id, Some(&job), TaskLimits::default(), NOW);
        assert!(board.take(TaskClass::Net, ONE, NOW).is_none(), "its slot is kept for another");
        drop(kept);
        assert!(board.reserve(TaskClass::Net, ONE).is_none(), "a task waits here");
        assert!(board.take(TaskClass::Net, ONE, NOW).is_some());
    }

    #[test]
    fn what_was_taken_in_holds_a_slot_and_a_lease_and_is_taken_in_once() {
        let (board, _, job) = board(&[]);
        let lease = Lease { account: AccountId::parse("a").unwrap(), job, task: TaskKind::Fetch.whole(), attempt: 3 };
        assert!(board.take_in(&lease, NOW).is_some());
        assert_eq!(board.held(), std::slice::from_ref(&lease));
        assert!(board.reserve(TaskClass::Net, ONE).is_none(), "the slot is in use");
        let again = Lease { attempt: 4, ..lease.clone() };
        assert!(board.take_in(&again, NOW).is_none(), "the older attempt has not stopped");
        board.ended(&lease.key());
        assert!(board.take_in(&again, NOW).is_some());
    }
}

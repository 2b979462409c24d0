//! The budgets of accounts led here, as far as they keep tasks from starting. The board keeps it under its lock.
//!
//! The account has the last word on every lease; this is so that it is not asked in vain, and that a task that waits for a
//! budget holds no slot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use steward_cluster::clock::Timestamp;

use super::in_hand::TaskKey;
use crate::domain::budget::{Amounts, Needs, Purse, Short, Tariff};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{Job, TaskState};
use crate::domain::task::TaskId;

/// Accounts that are remembered to have no budgets; with more of them all are looked up again.
const WITHOUT_MAX: usize = 65_536;

/// Of accounts that have budgets: what is left, and what their tasks need.
#[derive(Default)]
pub(super) struct Funds {
    pub(super) tariff: Arc<Tariff>,
    purses: HashMap<AccountId, Purse>,
    /// Those that have none: most accounts, whose rows nobody has to read for each of their tasks.
    without: HashSet<AccountId>,
    /// Of tasks that are ready what they are estimated to need, of those that run what is reserved.
    needs: HashMap<(AccountId, JobId), BTreeMap<TaskId, Amounts>>,
    /// The newest time that was told: periods go by it.
    now: Timestamp,
}

impl Funds {
    /// It is so late.
    pub(super) fn look_at(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// The budgets of an account. Says whether it had none before: then its jobs are to be noted.
    pub(super) fn set(&mut self, account: &AccountId, purse: Purse) -> bool {
        if purse.budgets.is_empty() {
            if self.purses.remove(account).is_some() {
                self.needs.retain(|(other, _), _| other != account);
            }
            if self.without.len() >= WITHOUT_MAX {
                self.without.clear();
            }
            self.without.insert(account.clone());
            return false;
        }
        self.without.remove(account);
        self.purses.insert(account.clone(), purse).is_none()
    }

    /// A job is as the store says; none: it has ended.
    pub(super) fn note(&mut self, account: &AccountId, id: &JobId, open: Option<&Job>) {
        if !self.has(account) {
            return; // Nothing was noted of its jobs.
        }
        let name = (account.clone(), id.clone());
        let Some(job) = open else {
            self.needs.remove(&name);
            return;
        };
        let needs = |(id, task): (&TaskId, &crate::domain::job::Task)| {
            let amounts = match task.state {
                TaskState::Ready => Needs::of_task(job, *id, &self.tariff).amounts(&self.tariff),
                TaskState::Running => task.reserved,
                TaskState::Blocked
                | TaskState::Delayed
                | TaskState::BackingOff
                | TaskState::Succeeded
                | TaskState::Failed => Amounts::NONE,
            };
            (!amounts.is_none()).then_some((*id, amounts))
        };
        let needs: BTreeMap<_, _> = job.tasks.iter().filter_map(needs).collect();
        self.needs.insert(name, needs);
    }

    /// What a task needs or has reserved.
    pub(super) fn of(&self, account: &AccountId, job: &JobId, task: TaskId) -> Amounts {
        let of_job = self.needs.get(&(account.clone(), job.clone()));
        of_job.and_then(|needs| needs.get(&task)).copied().unwrap_or_default()
    }

    /// Whether nobody knows that an account has no budgets, so that they are to be read.
    pub(super) fn may_have(&self, account: &AccountId) -> bool {
        !self.without.contains(account)
    }

    /// Whether an account has budgets.
    pub(super) fn has(&self, account: &AccountId) -> bool {
        self.purses.contains_key(account)
    }

    /// The budget that has no room for a task beside what is reserved, if one has none.
    pub(super) fn short(&self, key: &TaskKey, reserved: Amounts) -> Option<Short> {
        let purse = self.purses.get(&key.account)?;
        purse.short(reserved, self.of(&key.account, &key.job, key.task), self.now)
    }

    /// Another node leads these accounts now.
    pub(super) fn forget(&mut self, is_gone: &dyn Fn(&AccountId) -> bool) {
        self.purses.retain(|account, _| !is_gone(account));
        self.without.retain(|account| !is_gone(account));
        self.needs.retain(|(account, _), _| !is_gone(account));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::budget::{Budget, Budgets, Ledger, Period};

    #[test]
    fn an_account_is_read_until_it_is_known_to_have_no_budgets_and_again_when_its_leader_changes() {
        let (mut funds, acme) = (Funds::default(), AccountId::parse("acme").unwrap());
        assert!(funds.may_have(&acme));
        assert!(!funds.set(&acme, Purse::default()));
        assert!(!funds.may_have(&acme));
        let tokens = Some(Budget { max: 9, period: Period::Day });
        let purse = Purse { budgets: Budgets { tokens, ..Budgets::default() }, ledger: Ledger::default() };
        assert!(funds.set(&acme, purse.clone()) && !funds.set(&acme, purse), "it had none before, once");
        assert!(funds.may_have(&acme), "what is left of them changes");
        funds.set(&acme, Purse::default());
        funds.forget(&|account| *account == acme);
        assert!(funds.may_have(&acme));
    }
}

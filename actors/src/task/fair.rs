//! A queue in which accounts take turns.

use std::collections::{HashMap, VecDeque};

use crate::domain::ids::AccountId;

/// First in, first out within an account; round robin over accounts.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    turns: VecDeque<AccountId>,
    waiting: HashMap<AccountId, VecDeque<T>>,
}

impl<T> FairQueue<T> {
    pub(super) fn new() -> Self {
        Self { turns: VecDeque::new(), waiting: HashMap::new() }
    }

    pub(super) fn push(&mut self, account: &AccountId, item: T) {
        let line = self.waiting.entry(account.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(account.clone());
        }
        line.push_back(item);
    }

    /// The next item of the account whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let account = self.turns.pop_front()?;
        let line = self.waiting.get_mut(&account)?;
        let item = line.pop_front();
        if line.is_empty() {
            self.waiting.remove(&account);
        } else {
            self.turns.push_back(account);
        }
        item
    }

    /// Drops an account's items that are not wanted any more.
    pub(super) fn retain(&mut self, account: &AccountId, keep: impl FnMut(&T) -> bool) {
        let Some(line) = self.waiting.get_mut(account) else { return };
        line.retain(keep);
        if line.is_empty() {
            self.waiting.remove(account);
            self.turns.retain(|turn| turn != account);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.turns.iter().filter_map(|account| self.waiting.get(account)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_take_turns() {
        let id = |name: &str| AccountId::parse(name).unwrap();
        let mut queue = FairQueue::new();
        (0..4).for_each(|n| queue.push(&id("busy"), format!("busy {n}")));
        queue.push(&id("calm"), "calm 0".to_owned());
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["busy 0", "calm 0", "busy 1", "busy 2", "busy 3"]);
    }

    #[test]
    fn dropping_an_accounts_items_ends_its_turns() {
        let id = |name: &str| AccountId::parse(name).unwrap();
        let mut queue = FairQueue::new();
        queue.push(&id("a"), 1);
        queue.push(&id("b"), 2);
        queue.retain(&id("a"), |_| false);
        assert_eq!((queue.len(), queue.pop(), queue.pop()), (1, Some(2), None));
    }
}

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
        self.pop_where(|_| true)
    }

    /// The next item that fits, of the first account in turn that has one.
    pub(super) fn pop_where(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let place_of = |account: &AccountId| self.waiting.get(account)?.iter().position(&fits);
        let mut turns = self.turns.iter().enumerate();
        let (turn, place) = turns.find_map(|(turn, account)| Some((turn, place_of(account)?)))?;
        let account = self.turns.remove(turn)?;
        let line = self.waiting.get_mut(&account)?;
        let item = line.remove(place);
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

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
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
    fn only_what_fits_is_taken_and_costs_its_account_a_turn() {
        let id = |name: &str| AccountId::parse(name).unwrap();
        let mut queue = FairQueue::new();
        for (account, item) in [("a", "x 1"), ("b", "x 2"), ("b", "y 3"), ("c", "y 4"), ("b", "y 5")] {
            queue.push(&id(account), item);
        }
        let mut y = || queue.pop_where(|item| item.starts_with('y'));
        assert_eq!([y(), y(), y(), y()], [Some("y 3"), Some("y 4"), Some("y 5"), None]);
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some("x 1"), Some("x 2"), None]);
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

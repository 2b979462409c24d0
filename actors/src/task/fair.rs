//! A queue in which priorities share the turns, and accounts take turns within a priority.
//!
//! # Invariants
//! - **F1 shares**: while two priorities wait, each turn of the one is worth two of the next: 16, 8, 4, 2 and 1 of 31 from the
//!   most urgent to the least. So an urgent task goes first, and none waits for ever.
//! - **F2 turns**: within a priority each account gets as many tasks a turn as its weight says, one unless it was given
//!   more, however many it has; its own go in their order. An account that may have none now keeps its turn.

use std::collections::{HashMap, VecDeque};

use crate::domain::ids::AccountId;
use crate::domain::job::{PRIORITIES, Priority};

/// What may go, and how often.
pub(super) trait Rules<T> {
    /// Items that an account gets in a turn.
    fn weight(&self, account: &AccountId) -> u32;

    /// Whether the account may have any now.
    fn may(&self, account: &AccountId) -> bool;

    /// Whether it may have this one.
    fn fits(&self, account: &AccountId, item: &T) -> bool;
}

/// First in, first out within an account and a priority.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    /// By priority, the most urgent first.
    lanes: [Lane<T>; PRIORITIES.len()],
}

/// What an account has waiting with one priority.
#[derive(Debug)]
struct Line<T> {
    items: VecDeque<T>,
    /// What it has had of its turn.
    taken: u32,
}

/// What waits with one priority.
#[derive(Debug)]
struct Lane<T> {
    turns: VecDeque<AccountId>,
    waiting: HashMap<AccountId, Line<T>>,
    /// What its turns have cost so far. The lane that paid least is next.
    paid: u64,
}

impl<T> FairQueue<T> {
    pub(super) fn new() -> Self {
        Self { lanes: PRIORITIES.map(|_| Lane { turns: VecDeque::new(), waiting: HashMap::new(), paid: 0 }) }
    }

    pub(super) fn push(&mut self, account: &AccountId, priority: Priority, item: T) {
        // Who begins to wait has no turns saved up: it has paid as much as the cheapest of those that wait.
        match self.lanes.iter().filter(|lane| !lane.turns.is_empty()).map(|lane| lane.paid).min() {
            Some(least) => {
                let lane = &mut self.lanes[priority.place()];
                lane.paid = lane.paid.max(least);
            }
            None => self.lanes.iter_mut().for_each(|lane| lane.paid = 0),
        }
        let lane = &mut self.lanes[priority.place()];
        lane.push(account, item);
    }

    /// The next item that the rules let go.
    pub(super) fn pop(&mut self, rules: &impl Rules<T>) -> Option<T> {
        let mut order: Vec<usize> =
            (0..self.lanes.len()).filter(|place| !self.lanes[*place].turns.is_empty()).collect();
        order.sort_by_key(|place| (self.lanes[*place].paid, *place));
        for (passed, place) in order.iter().enumerate() {
            let lane = &mut self.lanes[*place];
            let Some(item) = lane.pop(rules) else { continue };
            let paid = lane.paid;
            lane.paid += 1 << place;
            // Nor does a lane save turns up in which none of its items may go.
            order[..passed].iter().for_each(|place| self.lanes[*place].paid = paid);
            return Some(item);
        }
        None
    }

    /// Drops an account's items that are not wanted any more.
    pub(super) fn retain(&mut self, account: &AccountId, keep: impl Fn(&T) -> bool) {
        self.lanes.iter_mut().for_each(|lane| lane.retain(account, &keep));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.turns.is_empty())
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.iter().flat_map(|lane| lane.waiting.values()).map(|line| line.items.len()).sum()
    }

    /// In the order of their priorities and turns.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let lines = self.lanes.iter().flat_map(|lane| lane.turns.iter().map(|account| lane.waiting.get(account)));
        lines.flatten().flat_map(|line| &line.items)
    }

    /// What an account has waiting with a priority, in its order.
    pub(super) fn line(&self, account: &AccountId, priority: Priority) -> impl Iterator<Item = &T> {
        self.lanes[priority.place()].waiting.get(account).into_iter().flat_map(|line| &line.items)
    }
}

impl<T> Lane<T> {
    fn push(&mut self, account: &AccountId, item: T) {
        let line = self.waiting.entry(account.clone()).or_insert_with(|| {
            self.turns.push_back(account.clone());
            Line { items: VecDeque::new(), taken: 0 }
        });
        line.items.push_back(item);
    }

    /// Of the first account in turn that may have one.
    fn pop(&mut self, rules: &impl Rules<T>) -> Option<T> {
        let place_of = |account: &AccountId| {
            let line = self.waiting.get(account).filter(|_| rules.may(account))?;
            line.items.iter().position(|item| rules.fits(account, item))
        };
        let mut turns = self.turns.iter().enumerate();
        let (turn, place) = turns.find_map(|(turn, account)| Some((turn, place_of(account)?)))?;
        let account = self.turns.get(turn)?.clone();
        let line = self.waiting.get_mut(&account)?;
        let item = line.items.remove(place);
        line.taken += 1;
        if line.items.is_empty() {
            self.waiting.remove(&account);
            self.turns.remove(turn);
        } else if line.taken >= rules.weight(&account) {
            line.taken = 0;
            self.turns.remove(turn);
            self.turns.push_back(account);
        }
        item
    }

    fn retain(&mut self, account: &AccountId, keep: impl FnMut(&T) -> bool) {
        let Some(line) = self.waiting.get_mut(account) else { return };
        line.items.retain(keep);
        if line.items.is_empty() {
            self.waiting.remove(account);
            self.turns.retain(|turn| turn != account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accounts named `heavy` get three in a turn, those named `full` none; items have to begin with this.
    struct Beginning(&'static str);

    impl Rules<String> for Beginning {
        fn weight(&self, account: &AccountId) -> u32 {
            if account.as_str() == "heavy" { 3 } else { 1 }
        }

        fn may(&self, account: &AccountId) -> bool {
            account.as_str() != "full"
        }

        fn fits(&self, _: &AccountId, item: &String) -> bool {
            item.starts_with(self.0)
        }
    }

    const ANY: Beginning = Beginning("");

    fn id(name: &str) -> AccountId {
        AccountId::parse(name).unwrap()
    }

    #[test]
    fn accounts_take_turns() {
        let mut queue = FairQueue::new();
        (0..4).for_each(|n| queue.push(&id("busy"), Priority::USUAL, format!("busy {n}")));
        queue.push(&id("calm"), Priority::USUAL, "calm 0".to_owned());
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(&ANY)).collect();
        assert_eq!(order, ["busy 0", "calm 0", "busy 1", "busy 2", "busy 3"]);
    }

    #[test]
    fn only_what_fits_is_taken_and_costs_its_account_a_turn() {
        let mut queue = FairQueue::new();
        for (account, item) in [("a", "x 1"), ("b", "x 2"), ("b", "y 3"), ("c", "y 4"), ("b", "y 5")] {
            queue.push(&id(account), Priority::USUAL, item.to_owned());
        }
        let mut y = || queue.pop(&Beginning("y"));
        assert_eq!(
            [y(), y(), y(), y()].each_ref().map(Option::as_deref),
            [Some("y 3"), Some("y 4"), Some("y 5"), None]
        );
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop(&ANY)).collect();
        assert_eq!(rest, ["x 1", "x 2"]);
    }

    #[test]
    fn dropping_an_accounts_items_ends_its_turns() {
        let mut queue = FairQueue::new();
        for (account, priority) in [("a", Priority::USUAL), ("a", PRIORITIES[0]), ("b", Priority::USUAL)] {
            queue.push(&id(account), priority, account.to_owned());
        }
        queue.retain(&id("a"), |_| false);
        assert_eq!((queue.len(), queue.pop(&ANY).as_deref(), queue.pop(&ANY)), (1, Some("b"), None));
    }

    #[test]
    fn priorities_share_the_turns_by_their_weight() {
        let mut queue = FairQueue::new();
        for priority in PRIORITIES {
            (0..100).for_each(|_| queue.push(&id("a"), priority, priority.number().to_string()));
        }
        let mut taken = [0; 5];
        for _ in 0..62 {
            let priority: usize = queue.pop(&ANY).unwrap().parse().unwrap();
            taken[priority - 1] += 1;
        }
        assert_eq!(taken, [32, 16, 8, 4, 2]);
    }

    #[test]
    fn who_begins_to_wait_goes_by_its_weight_from_then_on() {
        let mut queue = FairQueue::new();
        (0..1_000).for_each(|_| queue.push(&id("a"), PRIORITIES[4], "5".to_owned()));
        assert!((0..900).all(|_| queue.pop(&ANY).is_some()));
        (0..100).for_each(|_| queue.push(&id("b"), PRIORITIES[0], "1".to_owned()));
        let next: Vec<_> = std::iter::from_fn(|| queue.pop(&ANY)).take(34).collect();
        assert_eq!(next.iter().filter(|priority| *priority == "5").count(), 2, "{next:?}");
        assert_eq!(next[0], "1", "the urgent one goes first");
        // And the other way round: what was idle while others worked has saved nothing up.
        let mut queue = FairQueue::new();
        (0..1_000).for_each(|_| queue.push(&id("a"), PRIORITIES[0], "1".to_owned()));
        assert!((0..900).all(|_| queue.pop(&ANY).is_some()));
        (0..100).for_each(|_| queue.push(&id("b"), PRIORITIES[4], "5".to_owned()));
        let next: Vec<_> = std::iter::from_fn(|| queue.pop(&ANY)).take(34).collect();
        assert_eq!(next.iter().filter(|priority| *priority == "5").count(), 2, "{next:?}");
    }

    #[test]
    fn what_may_not_go_saves_no_turns_up() {
        let mut queue = FairQueue::new();
        (0..100).for_each(|n| queue.push(&id("a"), PRIORITIES[0], format!("x {n}")));
        (0..1_000).for_each(|n| queue.push(&id("b"), PRIORITIES[4], format!("y {n}")));
        assert!((0..900).all(|_| queue.pop(&Beginning("y")).is_some()), "the urgent ones may not go yet");
        let next: Vec<_> = std::iter::from_fn(|| queue.pop(&ANY)).take(35).collect();
        assert_eq!(next.iter().filter(|item| item.starts_with('y')).count(), 2, "{next:?}");
    }

    #[test]
    fn an_account_gets_as_many_in_a_turn_as_it_weighs() {
        let mut queue = FairQueue::new();
        for (account, count) in [("light", 4), ("heavy", 7), ("other", 2)] {
            (0..count).for_each(|_| queue.push(&id(account), Priority::USUAL, account[..1].to_owned()));
        }
        let order: String = std::iter::from_fn(|| queue.pop(&ANY)).collect();
        assert_eq!(order, "lhhholhhholhl");
    }

    #[test]
    fn an_account_that_may_have_none_now_keeps_its_turn() {
        let mut queue = FairQueue::new();
        for (account, count) in [("full", 2), ("heavy", 4), ("other", 2)] {
            (0..count).for_each(|_| queue.push(&id(account), Priority::USUAL, account[..1].to_owned()));
        }
        let order: String = std::iter::from_fn(|| queue.pop(&ANY)).collect();
        assert_eq!((order.as_str(), queue.len()), ("hhhoho", 2));
    }
}

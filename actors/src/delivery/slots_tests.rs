//! Slots under posts that hang, pile up and are given up.

use std::future::pending;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use proptest::prelude::*;

use super::*;

const WAIT_MAX: Duration = Duration::from_secs(30);

fn key(account: &str, endpoint: &str) -> EndpointKey {
    (AccountId::parse(account).unwrap(), EndpointId::parse(endpoint).unwrap())
}

impl Slots {
    fn under_way(&self, account: &AccountId) -> usize {
        self.state.lock().accounts.get(account).map_or(0, |account| account.under_way)
    }

    #[track_caller]
    fn check_untouched(&self, slots: usize) {
        let state = self.state.lock();
        assert_eq!((state.prompt, state.waiting), (slots, slots * WAITING_SHARE), "free slots and room to wait");
        assert!(state.accounts.is_empty() && state.turns.is_empty(), "accounts are still remembered");
    }
}

#[tokio::test]
async fn posts_that_hang_leave_their_slots_to_others() {
    let slots = Slots::new(4);
    let (hung, well) = (key("hung", "one"), key("well", "one"));
    let hanging = join_all((0..4).map(|_| slots.post(&hung, pending::<()>())));
    tokio::select! {
        biased;
        _ = hanging => unreachable!("they hang"),
        done = tokio::time::timeout(WAIT_MAX, slots.post(&well, async {})) => done.expect("a slot gets free"),
    }
}

#[tokio::test]
async fn an_account_takes_no_more_than_its_share() {
    let slots = Slots::new(4);
    let (hung, well) = (key("hung", "one"), key("well", "one"));
    let hanging = join_all((0..100).map(|_| slots.post(&hung, pending::<()>())));
    let settled = async {
        while slots.under_way(&hung.0) < 4 * ACCOUNT_SHARE || slots.state.lock().prompt < 4 {
            tokio::task::yield_now().await;
        }
        assert!(slots.post(&well, async {}).now_or_never().is_some(), "another account has to wait");
        assert_eq!(slots.under_way(&hung.0), 4 * ACCOUNT_SHARE);
    };
    tokio::select! {
        biased;
        _ = hanging => unreachable!("they hang"),
        done = tokio::time::timeout(WAIT_MAX, settled) => done.expect("they settle"),
    }
    slots.check_untouched(4);
}

/// Who has a slot, of some places, by their numbers.
fn started(places: &mut [(usize, Place<'_>)]) -> Vec<usize> {
    let started = places.iter_mut().filter_map(|(number, place)| place.turn().now_or_never().map(|()| *number));
    started.collect()
}

#[test]
fn a_backlog_makes_others_wait_for_one_slot_only() {
    let slots = Slots::new(2);
    let (busy, beside, other) = (key("acme", "busy"), key("acme", "beside"), key("other", "one"));
    let mut at_work = vec![slots.line_up(&busy), slots.line_up(&busy)];
    let asking = [&busy, &busy, &busy, &beside, &other, &busy].into_iter();
    let mut waiting: Vec<(usize, Place<'_>)> = asking.map(|key| slots.line_up(key)).enumerate().collect();
    assert_eq!(started(&mut waiting), [0; 0]);
    at_work.pop();
    assert_eq!(started(&mut waiting), [0], "the first of the account that asked first");
    waiting.remove(0);
    assert_eq!(started(&mut waiting), [4], "another account comes next");
    waiting.remove(3);
    assert_eq!(started(&mut waiting), [3], "and then another endpoint of the first");
    waiting.remove(2);
    assert_eq!(started(&mut waiting), [1]);
    drop((at_work, waiting));
    slots.check_untouched(2);
}

proptest! {
    /// Posts that ask, hang and are given up at any time: never more under way than allowed, none left out while there
    /// is a slot, and nothing left behind.
    #[test]
    fn slots_are_bounded_and_come_back(steps in prop::collection::vec((0..4_u8, 0..3_u8, 0..3_u8, 0..32_usize), 1..200)) {
        const SLOTS: usize = 2;
        let keys: Vec<EndpointKey> =
            (0..9).map(|number| key(&format!("a{}", number / 3), &format!("e{}", number % 3))).collect();
        let slots = Slots::new(SLOTS);
        let mut places: Vec<Place<'_>> = vec![];
        for (step, account, endpoint, which) in steps {
            match step {
                0 | 1 => places.push(slots.line_up(&keys[usize::from(account * 3 + endpoint)])),
                2 if !places.is_empty() => drop(places.swap_remove(which % places.len())),
                3 if !places.is_empty() => {
                    let which = which % places.len();
                    if places[which].turn().now_or_never().is_some() && matches!(places[which].holds, Holds::Slot) {
                        places[which].step_aside();
                    }
                }
                _ => {}
            }
            let state = slots.state.lock();
            let under_way: usize = state.accounts.values().map(|account| account.under_way).sum();
            prop_assert_eq!(under_way, SLOTS - state.prompt + SLOTS * WAITING_SHARE - state.waiting);
            for account in state.accounts.values() {
                prop_assert!(account.under_way <= SLOTS * ACCOUNT_SHARE);
                let could_start = !account.lines.is_empty() && account.under_way < SLOTS * ACCOUNT_SHARE;
                prop_assert!(state.prompt == 0 || !could_start, "a slot is free and somebody waits");
            }
        }
        drop(places);
        slots.check_untouched(SLOTS);
    }
}

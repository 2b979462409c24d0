//! Who may post when. Called by the tasks of endpoints, for each post.
//!
//! # Invariants
//! - **S1 bounded**: at most so many posts are under way on a node, and a part of them for one account.
//! - **S2 no hostage**: a post that is not answered at once leaves its slot to others while there is room to wait; so
//!   receivers that hang cost an endpoint that answers [`PROMPT`], not the time they are given.
//!
//! # Decisions
//! - Two numbers instead of one large: the small one bounds what is at work, the large one what only waits. One large
//!   number would let a backlog open hundreds of connections at once, and a few hundred hung posts use it up as well.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::domain::ids::AccountId;

/// How long a post may hold a slot that others wait for.
const PROMPT: Duration = Duration::from_millis(100);
/// Posts that wait for slow receivers, for each slot.
const WAITING_SHARE: usize = 4;
/// Posts of one account under way, for each slot.
const ACCOUNT_SHARE: usize = 2;
/// Accounts that are remembered before those without a sender are forgotten.
const ACCOUNTS_KEPT: usize = 64;

/// The slots of a node.
pub(super) struct Slots {
    slots: usize,
    prompt: Semaphore,
    waiting: Semaphore,
    accounts: Mutex<Accounts>,
}

#[derive(Default)]
struct Accounts {
    shares: HashMap<AccountId, Weak<Semaphore>>,
    sweep_at: usize,
}

/// What one account may have under way; shared by its endpoints.
pub(super) type Share = Arc<Semaphore>;

impl Slots {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots,
            prompt: Semaphore::new(slots),
            waiting: Semaphore::new(slots * WAITING_SHARE),
            accounts: Mutex::default(),
        }
    }

    /// The share of an account, as long as somebody works for it.
    pub(super) fn share(&self, account: &AccountId) -> Share {
        let mut accounts = self.accounts.lock();
        if let Some(share) = accounts.shares.get(account).and_then(Weak::upgrade) {
            return share;
        }
        if accounts.shares.len() >= accounts.sweep_at {
            accounts.shares.retain(|_, share| share.strong_count() > 0);
            accounts.sweep_at = accounts.shares.len() * 2 + ACCOUNTS_KEPT;
        }
        let share = Arc::new(Semaphore::new(self.slots * ACCOUNT_SHARE));
        accounts.shares.insert(account.clone(), Arc::downgrade(&share));
        share
    }

    /// Posts when there is a slot.
    pub(super) async fn post<T>(&self, share: &Share, post: impl Future<Output = T>) -> T {
        let _of_account = share.acquire().await;
        let prompt = self.prompt.acquire().await;
        let mut post = pin!(post);
        tokio::select! {
            done = &mut post => return done,
            () = tokio::time::sleep(PROMPT) => {}
        }
        let waiting = self.waiting.try_acquire();
        if waiting.is_ok() {
            drop(prompt);
            return post.await;
        }
        post.await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(30);

    fn share(slots: &Slots, account: &str) -> Share {
        slots.share(&AccountId::parse(account).unwrap())
    }

    #[tokio::test]
    async fn posts_that_hang_leave_their_slots_to_others() {
        let slots = Slots::new(4);
        let (hung, well) = (share(&slots, "hung"), share(&slots, "well"));
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
        let (hung, well) = (share(&slots, "hung"), share(&slots, "well"));
        let all_wait = 4 * (WAITING_SHARE - ACCOUNT_SHARE);
        let hanging = join_all((0..100).map(|_| slots.post(&hung, pending::<()>())));
        let settled = async {
            while hung.available_permits() > 0 || slots.waiting.available_permits() > all_wait {
                tokio::task::yield_now().await;
            }
            assert!(slots.post(&well, async {}).now_or_never().is_some(), "another account has to wait");
            assert_eq!(slots.waiting.available_permits(), all_wait);
        };
        tokio::select! {
            biased;
            _ = hanging => unreachable!("they hang"),
            done = tokio::time::timeout(WAIT_MAX, settled) => done.expect("they settle"),
        }
    }

    #[test]
    fn shares_last_as_long_as_somebody_works_for_the_account() {
        let slots = Slots::new(4);
        let one = share(&slots, "one");
        assert!(Arc::ptr_eq(&one, &share(&slots, "one")));
        (0..1_000).for_each(|number| drop(share(&slots, &format!("a{number}"))));
        assert!(slots.accounts.lock().shares.len() <= 2 * ACCOUNTS_KEPT + 2);
        assert!(Arc::ptr_eq(&one, &share(&slots, "one")));
    }
}

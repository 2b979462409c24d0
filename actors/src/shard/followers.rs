//! Who waits for new events of which account. The applier tells, subscriptions listen.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::domain::ids::AccountId;

/// The followed accounts. Nothing is kept for an account nobody follows.
#[derive(Default)]
pub(crate) struct Followers {
    accounts: Mutex<HashMap<AccountId, watch::Sender<u64>>>,
}

impl Followers {
    /// Hears of numbers applied from now on; `newest` is what it shows until then.
    pub(crate) fn follow(&self, account: &AccountId) -> watch::Receiver<u64> {
        let mut accounts = self.accounts.lock();
        if let Some(sender) = accounts.get(account) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(0);
        accounts.insert(account.clone(), sender);
        receiver
    }

    /// Tells the newest numbers, and forgets whom nobody follows any more.
    pub(crate) fn tell<'a>(&self, newest: impl IntoIterator<Item = (&'a AccountId, u64)>) {
        let mut accounts = self.accounts.lock();
        if accounts.is_empty() {
            return;
        }
        for (account, seq) in newest {
            if accounts.get(account).is_some_and(|sender| sender.send(seq).is_err()) {
                accounts.remove(account);
            }
        }
    }

    /// Wakes those who follow an account of a shard whose state was replaced: `newest` tells how far it is now.
    pub(crate) fn tell_all(&self, of_shard: impl Fn(&AccountId) -> bool, newest: impl Fn(&AccountId) -> u64) {
        let accounts = self.accounts.lock();
        for (account, sender) in accounts.iter().filter(|(account, _)| of_shard(account)) {
            // Nobody may listen any more; it is forgotten when somebody looks for that.
            sender.send(newest(account)).ok();
        }
    }

    /// Forgets every account nobody follows any more.
    pub(crate) fn tidy(&self) {
        self.accounts.lock().retain(|_, sender| sender.receiver_count() > 0);
    }
}

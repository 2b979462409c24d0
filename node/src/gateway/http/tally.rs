//! What came of a source's webhooks on this node, and which of its secrets verified last. In memory: a restart forgets it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use parking_lot::Mutex;
use steward_actors::domain::account::limits::SECRETS_MAX;
use steward_actors::domain::ids::{AccountId, SourceId};
use steward_cluster::clock::Timestamp;

/// Sources counted at a time.
const TALLIES_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Counts of every source.
pub(crate) struct Tallies(Mutex<LruCache<(AccountId, SourceId), Arc<Tally>>>);

impl Tallies {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(TALLIES_MAX)))
    }

    /// The counts of a source.
    pub(crate) fn of(&self, account: &AccountId, source: &SourceId) -> Arc<Tally> {
        let name = (account.clone(), source.clone());
        Arc::clone(self.0.lock().get_or_insert(name, Arc::default))
    }

    pub(super) fn forget(&self, account: &AccountId, source: &SourceId) {
        self.0.lock().pop(&(account.clone(), source.clone()));
    }
}

/// When a secret verified last, in milliseconds; 0 for never.
pub(super) type LastUse = Arc<AtomicU64>;

/// Counts of one source.
#[derive(Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// By the secret as it is sealed, which says nothing about it and stays the same when its place does not.
    secrets: Mutex<Vec<(Vec<u8>, LastUse)>>,
}

impl Tally {
    pub(super) fn count(&self, what: &'static str) {
        *self.counts.lock().entry(what).or_default() += 1;
    }

    /// Where to note the use of each of these secrets; others are forgotten.
    pub(super) fn secrets(&self, sealed: &[Vec<u8>]) -> Vec<LastUse> {
        let mut known = self.secrets.lock();
        known.retain(|(secret, _)| sealed.contains(secret));
        let note = |secret: &Vec<u8>| {
            if let Some((_, last)) = known.iter().find(|(one, _)| one == secret) {
                return Arc::clone(last);
            }
            let last = LastUse::default();
            known.push((secret.clone(), Arc::clone(&last)));
            last
        };
        sealed.iter().take(SECRETS_MAX).map(note).collect()
    }

    /// When each of these secrets verified last.
    pub(crate) fn last_uses(&self, sealed: &[Vec<u8>]) -> Vec<Timestamp> {
        let known = self.secrets.lock();
        let last = |secret: &Vec<u8>| known.iter().find(|(one, _)| one == secret);
        sealed.iter().map(|secret| Timestamp(last(secret).map_or(0, |(_, at)| at.load(Ordering::Relaxed)))).collect()
    }

    /// How often each thing happened.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counts.lock().iter().map(|(what, count)| (*what, *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_keeps_its_last_use_when_its_place_changes() {
        let tally = Tally::default();
        let (one, two, three) = (vec![1], vec![2], vec![3]);
        tally.secrets(&[one.clone(), two.clone()])[1].store(9, Ordering::Relaxed);
        assert_eq!(tally.last_uses(&[one.clone(), two.clone()]), [Timestamp(0), Timestamp(9)]);
        tally.secrets(&[two.clone(), three.clone()]);
        assert_eq!(tally.last_uses(&[two, three, one]), [Timestamp(9), Timestamp(0), Timestamp(0)]);
    }

    #[test]
    fn what_happens_is_counted_by_its_name() {
        let tally = Tally::default();
        ["accepted", "expired", "accepted"].iter().for_each(|what| tally.count(what));
        assert_eq!(tally.counts(), [("accepted", 2), ("expired", 1)]);
    }
}

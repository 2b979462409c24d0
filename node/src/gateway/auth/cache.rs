//! Keys that were checked lately, so that a request does not read its account's state.
//!
//! Told about revocations by the shards; a look-up that raced with a revocation is not remembered.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use steward_actors::domain::account::{Event, Mark, Role};
use steward_actors::domain::ids::{AccountId, KeyId};
use steward_actors::shard::Observer;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;

/// Keys remembered at a time.
const KEYS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// A key that opens an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub(crate) account: AccountId,
    pub(crate) key: KeyId,
    pub(crate) role: Role,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Keys by the hash of their text.
pub(crate) struct KnownKeys(Mutex<Inner>);

struct Inner {
    keys: LruCache<blake3::Hash, Arc<KnownKey>>,
    revocations: u64,
}

impl KnownKeys {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner { keys: LruCache::new(KEYS_MAX), revocations: 0 }))
    }

    pub(super) fn get(&self, hash: &blake3::Hash) -> Option<Arc<KnownKey>> {
        self.0.lock().keys.get(hash).cloned()
    }

    /// How many revocations there were; read before the state is.
    pub(super) fn revocations(&self) -> u64 {
        self.0.lock().revocations
    }

    /// Remembers a key, unless one was revoked since its state was read.
    pub(super) fn remember(&self, hash: blake3::Hash, known: KnownKey, revocations_before: u64) -> Arc<KnownKey> {
        let known = Arc::new(known);
        let mut inner = self.0.lock();
        if inner.revocations == revocations_before {
            inner.keys.put(hash, Arc::clone(&known));
        }
        known
    }
}

impl KnownKeys {
    fn forget_all(&self) {
        let mut inner = self.0.lock();
        inner.revocations += 1;
        inner.keys.clear();
    }
}

impl Observer for KnownKeys {
    fn applied(&self, account: &AccountId, _seq: u64, _at: Timestamp, event: &Event) {
        self.followed(account, event);
    }

    fn followed(&self, account: &AccountId, event: &Event) {
        let Event::ApiKeyRevoked { key } = event else { return };
        let mut inner = self.0.lock();
        inner.revocations += 1;
        let revoked = |known: &KnownKey| known.account == *account && known.key == *key;
        let dead: Vec<blake3::Hash> =
            inner.keys.iter().filter(|(_, known)| revoked(known)).map(|(hash, _)| *hash).collect();
        for hash in dead {
            inner.keys.pop(&hash);
        }
    }

    fn marked(&self, _account: &AccountId, _mark: &Mark) {}

    /// Another node led the shard until now: nothing that is remembered was read under this lead.
    fn led(&self, _shard: ShardId) {
        self.forget_all();
    }

    fn yielded(&self, _is_of_shard: &dyn Fn(&AccountId) -> bool) {
        self.forget_all();
    }
}

//! Brings the blobs that this node's replicas name and its folder lacks: after a start, after a replica came as a
//! snapshot, and when a copy did not get here in time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{BlobHash, BlobStore};
use crate::domain::account::{Event, Mark};
use crate::domain::ids::AccountId;
use crate::shard::{Observer, Shards};

/// Blobs of new events that wait to be looked for; with more, all are looked through.
const NAMED_MAX: usize = 4096;
/// Rest before a look, so that copies on their way get here and a burst of changes is one look.
const REST: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    named: Vec<(AccountId, BlobHash)>,
    look_at_all: bool,
}

/// What may be missing. An [`Observer`]; [`backfill`] reads it.
#[derive(Default)]
pub struct Backfill {
    state: Mutex<State>,
    changed: Notify,
}

impl Backfill {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn look_at_all(&self) {
        self.state.lock().look_at_all = true;
        self.changed.notify_one();
    }

    /// The worker may have put its copies on the other replicas.
    fn note(&self, account: &AccountId, event: &Event) {
        let blobs = if let Event::TaskSucceeded { blobs, .. } = event {
            blobs.as_slice()
        } else if let Event::BlobUploaded(uploaded) = event {
            std::slice::from_ref(&uploaded.hash)
        } else {
            return;
        };
        if blobs.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if state.named.len() + blobs.len() > NAMED_MAX {
            state.look_at_all = true;
        } else {
            let named = blobs.iter().filter_map(|blob| BlobHash::parse(blob));
            state.named.extend(named.map(|hash| (account.clone(), hash)));
        }
        drop(state);
        self.changed.notify_one();
    }

    fn take(&self) -> State {
        std::mem::take(&mut *self.state.lock())
    }
}

/// Brings for ever. What no node gives is asked for again at the next look at everything.
pub async fn backfill(missing: Arc<Backfill>, shards: Shards, blobs: BlobStore) {
    missing.look_at_all();
    loop {
        missing.changed.notified().await;
        sleep(REST).await;
        let State { named, look_at_all } = missing.take();
        bring_all(named, &blobs).await;
        if look_at_all {
            for row in shards.status() {
                match shards.reads().blobs(row.shard) {
                    Ok(named) => bring_all(named, &blobs).await,
                    Err(error) => tracing::error!(shard = row.shard.0, %error, "the blobs of a shard cannot be listed"),
                }
            }
        }
    }
}

async fn bring_all(named: Vec<(AccountId, BlobHash)>, blobs: &BlobStore) {
    for (account, hash) in named {
        if let Err(error) = blobs.bring(&account, &hash).await {
            let cause: &dyn std::error::Error = &error;
            tracing::warn!(hash = hash.as_str(), error = cause, "a blob is missing here");
        }
    }
}

impl Observer for Backfill {
    fn applied(&self, account: &AccountId, _seq: u64, _at: Timestamp, event: &Event) {
        self.note(account, event);
    }

    fn followed(&self, account: &AccountId, event: &Event) {
        self.note(account, event);
    }

    fn marked(&self, _account: &AccountId, _mark: &Mark) {}

    fn led(&self, _shard: ShardId) {}

    fn yielded(&self, _is_of_shard: &dyn Fn(&AccountId) -> bool) {
        self.look_at_all();
    }
}

//! Tells etcd who leads each shard and where it is: batched, rate limited, the newest per shard. Hints only.
//!
//! [`Announcements`] takes in what [`super::Membership`] and the executor of placements tell it and never blocks; [`run`] writes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::etcd::{Etcd, Write};
use super::keys::{Key, Keys};
use super::record::{Members, encode};
use super::view::View;
use crate::ids::{NodeId, ShardId};

/// At most one batch is written in this time.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(200);
/// Keys in one batch; etcd takes 128.
const BATCH_KEYS_MAX: usize = 100;

/// What this node has to say. Bounded by the number of shards.
#[derive(Default)]
pub(crate) struct Announcements {
    said: Mutex<Said>,
    wake: Notify,
}

#[derive(Default)]
struct Said {
    /// The newest word of this node on each shard.
    leaders: BTreeMap<ShardId, NodeId>,
    members: BTreeMap<ShardId, Members>,
    /// What etcd has not heard, by key.
    unsent: BTreeMap<Key, Vec<u8>>,
}

impl Announcements {
    pub(crate) fn leaders(&self, changes: Vec<(ShardId, NodeId)>) {
        let mut said = self.said.lock();
        for (shard, leader) in changes {
            said.leaders.insert(shard, leader);
            said.unsent.insert(Key::Leader(shard), encode(&leader));
        }
        drop(said);
        self.wake.notify_one();
    }

    pub(crate) fn members(&self, changes: Vec<(ShardId, Members)>) {
        let mut said = self.said.lock();
        for (shard, members) in changes {
            said.unsent.insert(Key::Members(shard), encode(&members));
            said.members.insert(shard, members);
        }
        drop(said);
        self.wake.notify_one();
    }

    /// Says again what etcd has lost. Not what others say differently: their word may be newer.
    pub(super) fn repeat_missing(&self, view: &View) {
        let mut said = self.said.lock();
        let said = &mut *said;
        let lacks = |shard: ShardId, list: &[bool]| list.get(usize::from(shard.0)) == Some(&true);
        let no_leader: Vec<bool> = view.leaders.iter().map(Option::is_none).collect();
        let no_members: Vec<bool> = view.members.iter().map(Option::is_none).collect();
        for (shard, leader) in said.leaders.iter().filter(|(shard, _)| lacks(**shard, &no_leader)) {
            said.unsent.entry(Key::Leader(*shard)).or_insert_with(|| encode(leader));
        }
        for (shard, members) in said.members.iter().filter(|(shard, _)| lacks(**shard, &no_members)) {
            said.unsent.entry(Key::Members(*shard)).or_insert_with(|| encode(members));
        }
        if !said.unsent.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Drops reports of shards that have a newer leader by now, and takes out a batch of the rest.
    fn next_batch(&self, view: &View) -> BTreeMap<Key, Vec<u8>> {
        let mut said = self.said.lock();
        let Said { members, unsent, .. } = &mut *said;
        unsent.retain(|key, _| {
            let Key::Members(shard) = key else { return true };
            let ours = members.get(shard).map(|members| members.term);
            view.reported_term(*shard).is_none_or(|theirs| ours >= Some(theirs))
        });
        let batch: Vec<Key> = unsent.keys().take(BATCH_KEYS_MAX).copied().collect();
        batch.into_iter().filter_map(|key| unsent.remove_entry(&key)).collect()
    }

    /// Puts a batch back that did not go out, under whatever was said meanwhile.
    fn put_back(&self, batch: BTreeMap<Key, Vec<u8>>) {
        let mut said = self.said.lock();
        for (key, value) in batch {
            said.unsent.entry(key).or_insert(value);
        }
    }
}

/// Writes announcements until it is aborted.
pub(super) async fn run(
    announcements: Arc<Announcements>,
    etcd: Arc<Etcd>,
    keys: Keys,
    view: tokio::sync::watch::Receiver<Arc<View>>,
) {
    loop {
        announcements.wake.notified().await;
        loop {
            tokio::time::sleep(ANNOUNCE_EVERY).await;
            let batch = announcements.next_batch(&view.borrow());
            if batch.is_empty() {
                break;
            }
            let writes: Vec<Write> =
                batch.iter().map(|(key, value)| Write::Put(keys.name(*key), value.clone())).collect();
            if let Err(error) = etcd.write(&[], &writes).await {
                tracing::debug!(?error, "announcements wait for etcd");
                announcements.put_back(batch);
            }
        }
    }
}

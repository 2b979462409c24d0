//! The Raft driver's way to other nodes: messages into their queues, snapshots to this node's disk.
//!
//! # Invariants
//! - **T1 one per shard**: a shard's snapshots are fetched one after the other, so no two fetches write one file.
//! - **T2 the newest counts**: what the driver gets back is the last message that named the fetched snapshot.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::directory::Peers;
use super::fetch::{FetchError, fetch_snapshot};
use crate::ids::{LogIndex, NodeId, ShardId};
use crate::raft::{DriverHandle, PeerMessage, Transport};
use crate::spawn::spawn;
use crate::store::snapshot::incoming;

/// Snapshots fetched at a time: a node that is brought up gets many, and each may fill its network.
const FETCHES_MAX: usize = 2;

/// Sends over the links of a node.
pub struct PeerTransport {
    runtime: Handle,
    fetches: Arc<Fetches>,
}

/// What is being fetched, and where to.
struct Fetches {
    peers: Peers,
    folder: PathBuf,
    driver: Arc<OnceLock<DriverHandle>>,
    places: Semaphore,
    /// Bounded by the number of shards.
    shards: Mutex<BTreeMap<ShardId, Fetching>>,
}

/// The fetch of one shard.
struct Fetching {
    index: LogIndex,
    /// The last message that named it.
    message: PeerMessage,
    /// The last message that named another one: fetched next.
    next: Option<(LogIndex, PeerMessage)>,
}

impl PeerTransport {
    /// Fetches go to the incoming part of the folder `snapshots`, on `runtime`. The driver is put into its place as soon
    /// as it runs; it is started with this.
    #[must_use]
    pub fn new(
        peers: Peers,
        snapshots: &std::path::Path,
        runtime: Handle,
        driver: Arc<OnceLock<DriverHandle>>,
    ) -> Self {
        let (folder, places, shards) = (incoming(snapshots), Semaphore::new(FETCHES_MAX), Mutex::default());
        Self { runtime, fetches: Arc::new(Fetches { peers, folder, driver, places, shards }) }
    }
}

impl Transport for PeerTransport {
    fn send(&mut self, to: NodeId, messages: Vec<PeerMessage>) {
        self.fetches.peers.send(to, messages);
    }

    fn alive(&mut self) {
        self.fetches.peers.alive();
    }

    fn fetch(&mut self, message: PeerMessage) {
        if let Some((shard, index)) = self.fetches.note(message) {
            let _context = self.runtime.enter();
            drop(spawn("snapshot_fetch", Arc::clone(&self.fetches).run(shard, index)));
        }
    }
}

impl Fetches {
    /// Notes what is wanted; gives what nobody fetches yet.
    fn note(&self, message: PeerMessage) -> Option<(ShardId, LogIndex)> {
        let (shard, index) = (message.shard, message.snapshot()?);
        let mut shards = self.shards.lock();
        match shards.get_mut(&shard) {
            Some(fetching) if fetching.index == index => {
                (fetching.message, fetching.next) = (message, None);
                None
            }
            Some(fetching) => {
                fetching.next = Some((index, message));
                None
            }
            None => {
                shards.insert(shard, Fetching { index, message, next: None });
                Some((shard, index))
            }
        }
    }

    /// Fetches for a shard until nothing more is wanted.
    async fn run(self: Arc<Self>, shard: ShardId, index: LogIndex) {
        let mut wanted = Some(index);
        while let Some(index) = wanted {
            let fetched = self.fetch(shard, index).await;
            let message;
            (message, wanted) = self.finish(shard);
            match (fetched, self.driver.get()) {
                (Ok(()), Some(driver)) => driver.fetched(message),
                // Links are served only when the driver runs; without one the sender comes again.
                (Ok(()), None) => {}
                (Err(error), _) => {
                    let cause: &dyn Error = &error;
                    tracing::warn!(%shard, error = cause, "a snapshot was not fetched");
                    self.peers.send(message.from(), vec![message.snapshot_failed()]);
                }
            }
        }
    }

    async fn fetch(&self, shard: ShardId, index: LogIndex) -> Result<(), FetchError> {
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let from = self.shards.lock().get(&shard).expect("only its own fetch takes it out").message.from();
        let made = tokio::fs::create_dir_all(&self.folder).await;
        made.map_err(|source| FetchError::Io { doing: "make", path: self.folder.clone(), source })?;
        fetch_snapshot(&self.peers, from, shard, index, &self.folder).await.map(drop)
    }

    /// Takes out the message of a fetch that ended, and says what to fetch next.
    fn finish(&self, shard: ShardId) -> (PeerMessage, Option<LogIndex>) {
        let mut shards = self.shards.lock();
        let Fetching { message, next, .. } = shards.remove(&shard).expect("only its own fetch takes it out");
        let newer = next.as_ref().map(|(index, _)| *index);
        if let Some((index, message)) = next {
            shards.insert(shard, Fetching { index, message, next: None });
        }
        (message, newer)
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::{Message, MessageType};

    use super::*;
    use crate::clock::SystemClock;
    use crate::peers::{PeersConfig, Security};

    const SHARD: ShardId = ShardId(3);

    /// A leader's word that its snapshot at `index` is to be installed.
    fn named(index: u64, term: u64) -> PeerMessage {
        let mut message = Message { from: 1, to: 2, term, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        message.mut_snapshot().mut_metadata().index = index;
        PeerMessage { shard: SHARD, message }
    }

    fn fetches() -> Fetches {
        let config =
            PeersConfig { node: NodeId(2), cluster: "test".to_owned(), boot: 1, security: Security::Plaintext };
        let peers = Peers::new(config, Arc::new(SystemClock::new())).unwrap();
        let (driver, places) = (Arc::default(), Semaphore::new(FETCHES_MAX));
        Fetches { peers, folder: PathBuf::new(), driver, places, shards: Mutex::default() }
    }

    #[test]
    fn a_shard_is_fetched_once_at_a_time_and_the_last_message_counts() {
        let fetches = fetches();
        assert_eq!(fetches.note(named(10, 1)), Some((SHARD, LogIndex(10))));
        assert_eq!(fetches.note(named(10, 2)), None, "it is under way");
        let (message, next) = fetches.finish(SHARD);
        assert_eq!((message.message.term, next), (2, None));
        assert_eq!(fetches.note(named(10, 2)), Some((SHARD, LogIndex(10))), "it ended before");
    }

    #[test]
    fn the_newest_of_those_that_came_meanwhile_is_fetched_next() {
        let fetches = fetches();
        fetches.note(named(10, 1));
        assert_eq!(fetches.note(named(20, 1)), None);
        assert_eq!(fetches.note(named(30, 2)), None);
        let (message, next) = fetches.finish(SHARD);
        assert_eq!((message.snapshot(), next), (Some(LogIndex(10)), Some(LogIndex(30))));
        assert_eq!(fetches.note(named(30, 3)), None, "it is under way");
        let (message, next) = fetches.finish(SHARD);
        assert_eq!((message.snapshot(), message.message.term, next), (Some(LogIndex(30)), 3, None));
    }
}

//! Nodes with shards of their own, served on real ports, and one that holds none and knows who leads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use steward_actors::domain::account::{Asked, Command};
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::{Seat, Shards, ShardsConfig, open};
use steward_actors::supervisor;
use steward_cluster::clock::SystemClock;
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::log::LogConfig;
use steward_cluster::peers::{Lane, NotReachable};
use steward_cluster::raft::Members;
use steward_cluster::store::Engine;
use steward_proto::peer::v1::FeedItem;
use steward_proto::peer::v1::feed_item::Item;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Server};

use super::super::{ClusterMark, Everything, FeedServer, Merge, Surroundings};
use crate::between::Neighbours;
use crate::gateway::forward::{Leader, Whereabouts};

/// Shards of the nodes under test.
pub(super) const SHARDS: u16 = 4;
/// How long anything may take that is about to happen.
pub(super) const SOON: Duration = Duration::from_secs(60);
pub(super) const CACHE_BYTES: u64 = 8 << 20;

/// Shards that one process leads.
pub(super) struct Node {
    pub(super) shards: Shards,
    _folder: TempDir,
}

impl Node {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let opened = open(&folder.path().join("data"), Engine::Fjall, CACHE_BYTES, LogConfig::default()).unwrap();
        let config = ShardsConfig { shards: SHARDS, ..ShardsConfig::default() };
        let on_failure = Arc::new(|failure| panic!("consensus failed: {failure:?}"));
        let (seat, clock) = (Seat::alone(NodeId(1)), Arc::new(SystemClock::new()));
        let shards = Shards::start(config, seat, opened, clock, vec![], on_failure).await.unwrap();
        Self { shards, _folder: folder }
    }

    /// An account gets an event, its first one when it is new.
    pub(super) async fn happens(&self, account: &str) {
        happens(&self.shards, account).await;
    }
}

/// An account that is led here gets its first event when it is new, else two.
pub(super) async fn happens(shards: &Shards, account: &str) {
    let account = AccountId::parse(account).unwrap();
    let known = shards.reads().account(&account).unwrap().is_some();
    let command = if known {
        Command::CreateSource(source())
    } else {
        Command::CreateAccount { display_name: String::new(), wrapped_key: vec![] }
    };
    shards.execute(&account, asked(command)).await.unwrap();
    if known {
        let source = source().source;
        shards.execute(&account, asked(Command::DeleteSource { source })).await.unwrap();
    }
}

fn source() -> steward_actors::domain::account::SourceCreated {
    steward_actors::domain::account::SourceCreated {
        source: steward_actors::domain::ids::SourceId::parse("s").unwrap(),
        scheme: "zoom".to_owned(),
        token: "t".to_owned(),
        sealed_secrets: vec![vec![1]],
        tolerance_s: 1,
        public_url: String::new(),
    }
}

fn asked(command: Command) -> Asked {
    let (actor, correlation_id) = ("test".to_owned(), "c".to_owned());
    Asked { command, actor, correlation_id, causation_seq: 0, idempotency: None }
}

/// A port that answers other nodes, until it is dropped.
pub(super) struct Port {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Port {
    pub(super) async fn open(shards: &Shards) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let served = Server::builder()
            .add_service(FeedServer::new(shards.clone(), SHARDS, stop.clone()).service())
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
        supervisor::spawn("inside", served);
        Self { address, _stop: stop.drop_guard() }
    }
}

/// What the node in the middle knows of the others.
#[derive(Default)]
pub(super) struct Around {
    leaders: Mutex<BTreeMap<ShardId, Leader>>,
    channels: Mutex<BTreeMap<NodeId, Channel>>,
    changes: watch::Sender<u64>,
}

impl Around {
    /// From now on the shard is led there.
    pub(super) fn leads(&self, shard: ShardId, leader: Leader) {
        self.leaders.lock().insert(shard, leader);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// From now on a node is reached there.
    pub(super) fn is_at(&self, node: NodeId, port: &Port) {
        let channel = Channel::from_shared(format!("http://{}", port.address)).unwrap().connect_lazy();
        self.channels.lock().insert(node, channel);
    }
}

impl Whereabouts for Around {
    fn leader(&self, shard: ShardId) -> Leader {
        self.leaders.lock().get(&shard).copied().unwrap_or(Leader::Unknown)
    }

    fn confirm(&self, _: ShardId) -> BoxFuture<'static, bool> {
        ready(true).boxed()
    }

    fn is_replica_here(&self, _: ShardId) -> bool {
        false
    }

    fn correct(&self, _: ShardId, _: Option<NodeId>) {}

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Neighbours for Around {
    fn others(&self) -> Vec<NodeId> {
        self.channels.lock().keys().copied().collect()
    }

    fn channel(&self, node: NodeId, _: Lane) -> Result<Channel, NotReachable> {
        self.channels.lock().get(&node).cloned().ok_or(NotReachable(node))
    }

    fn members(&self, _: ShardId) -> BoxFuture<'_, Option<Members>> {
        ready(None).boxed()
    }

    fn drains(&self, _: NodeId) -> bool {
        false
    }
}

/// Everything, as a node sees it that knows of others what `around` says.
pub(super) fn everything(middle: &Node, around: &Arc<Around>) -> Everything {
    let surroundings = Surroundings { neighbours: around.clone(), whereabouts: around.clone() };
    Everything::new(middle.shards.clone(), SHARDS, ClusterMark::of(&[1; 32]), Some(surroundings))
}

/// Reads on until every account has so many events; each account's must follow each other.
pub(super) async fn read_until(merge: &mut Merge, seen: &mut BTreeMap<String, u64>, wanted: &BTreeMap<String, u64>) {
    let reading = async {
        while seen != wanted {
            merge.next().await.unwrap().into_iter().for_each(|item| note(seen, item));
        }
    };
    tokio::time::timeout(SOON, reading).await.unwrap_or_else(|_| panic!("{seen:?} instead of {wanted:?}"));
}

fn note(seen: &mut BTreeMap<String, u64>, item: FeedItem) {
    match item.item {
        Some(Item::Event(event)) => {
            let last = seen.entry(event.account_id.clone()).or_default();
            assert_eq!(event.seq, *last + 1, "{} misses an event or got one twice", event.account_id);
            *last = event.seq;
        }
        other @ (Some(Item::Gap(_)) | None) => panic!("{other:?}"),
    }
}

//! One node, composed as the binary composes it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use steward_cluster::clock::{Clock, SystemClock};
use steward_cluster::format::Format;
use steward_cluster::ids::{LogIndex, NodeId, ShardId};
use steward_cluster::log::disk::FolderDisk;
use steward_cluster::log::{Log, LogConfig};
use steward_cluster::membership::{DataState, JoinConfig, Membership, View, join};
use steward_cluster::peers::{PeerTransport, Peers, PeersConfig, Security};
use steward_cluster::placement::{BlobCount, Controller, Executor};
use steward_cluster::raft::{
    Driver, DriverConfig, DriverHandle, ElectionTicks, Proposal, ProposeError, Role, ShardStatus, start,
};
use steward_cluster::store::{Engine, open};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use uuid::Uuid;

use crate::etcd::Etcd;
use crate::machine::{Kept, Machine};

/// Longer than any proposal waits for a leader to be elected.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Entries name no blobs here.
struct NoBlobs;

impl BlobCount for NoBlobs {
    fn missing(&self, _node: NodeId, _shard: ShardId, _index: LogIndex) -> BoxFuture<'_, Option<u64>> {
        ready(Some(0)).boxed()
    }
}

/// How a node is started.
pub(crate) struct Setup {
    pub(crate) id: u64,
    pub(crate) shards: u16,
    pub(crate) founders: Vec<u64>,
}

/// A running node.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) executor: Executor,
    pub(crate) membership: Membership,
    pub(crate) kept: Arc<Kept>,
    shards: u16,
    controller: Controller,
    driver: Driver,
    stop: CancellationToken,
    tasks: [JoinHandle<()>; 2],
    folder: TempDir,
}

impl Setup {
    /// Joins as node `id`, which must be the next one.
    pub(crate) async fn start(self, etcd: &Etcd) -> Node {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = self.join_config(etcd, listener.local_addr().unwrap().to_string());
        let joined = join(config, Arc::clone(&clock)).await.unwrap();
        assert_eq!(joined.node, NodeId(self.id));
        let folder = tempfile::tempdir().unwrap();
        let snapshots = folder.path().join("snapshots");
        std::fs::create_dir_all(&snapshots).unwrap();
        let config = PeersConfig {
            node: joined.node,
            cluster: "test".to_owned(),
            boot: u64::from(std::process::id()) + self.id,
            security: Security::Plaintext,
        };
        let peers = Peers::new(config, Arc::clone(&clock)).unwrap();
        let late = Arc::new(OnceLock::new());
        let transport = PeerTransport::new(peers.clone(), &snapshots, Handle::current(), Arc::clone(&late));
        let kept = Arc::new(Kept {
            store: open(Engine::Memory, folder.path(), 8 << 20).unwrap(),
            snapshots: snapshots.clone(),
            driver: Arc::clone(&late),
            installed: 0.into(),
        });
        let config = DriverConfig {
            node: joined.node,
            shards: self.shards,
            founders: self.founders.into_iter().map(NodeId).collect(),
            transport: Some(Box::new(transport)),
            elections: ElectionTicks::default(),
            clock: Arc::clone(&clock),
            on_failure: Arc::new(|failure| panic!("{failure:?}")),
        };
        let disk = FolderDisk::open(&folder.path().join("log")).unwrap();
        let opened = Log::open(Arc::new(disk), LogConfig::default()).unwrap();
        let driver = start(config, opened, &[], Machine(Arc::clone(&kept))).unwrap();
        late.set(driver.handle()).ok().unwrap();
        let membership = joined.register().await.unwrap();
        let stop = CancellationToken::new();
        let (served, sink, stopped) = (peers.clone(), Arc::new(driver.handle()), stop.clone());
        let tasks = [
            Handle::current().spawn(follow(membership.view(), peers.clone())),
            Handle::current()
                .spawn(async move { served.serve(listener, Routes::default(), sink, snapshots, stopped).await }),
        ];
        let controller = Controller::start(&membership);
        let executor = Executor::start(driver.handle(), &membership, peers, Arc::new(NoBlobs), clock);
        let (id, shards) = (NodeId(self.id), self.shards);
        Node { id, executor, membership, kept, shards, controller, driver, stop, tasks, folder }
    }

    fn join_config(&self, etcd: &Etcd, address: String) -> JoinConfig {
        JoinConfig {
            cluster: "test".to_owned(),
            endpoints: etcd.endpoints(),
            etcd_tls: None,
            node: None,
            data: DataState::Empty,
            data_id: Uuid::now_v7(),
            address,
            zone: "a".to_owned(),
            version: "0.1.0".to_owned(),
            format: Format::FIRST,
            cores: 2,
            shards: self.shards,
            replicas: 3,
            seal_fingerprint: "aa55".to_owned(),
        }
    }
}

/// Keeps the links to the nodes there are.
async fn follow(mut view: watch::Receiver<Arc<View>>, peers: Peers) {
    loop {
        let nodes = Arc::clone(&view.borrow_and_update());
        let addresses: BTreeMap<NodeId, String> =
            nodes.nodes.iter().map(|(node, info)| (*node, info.address.clone())).collect();
        peers.set_addresses(addresses);
        if view.changed().await.is_err() {
            return;
        }
    }
}

impl Node {
    pub(crate) fn handle(&self) -> DriverHandle {
        self.driver.handle()
    }

    pub(crate) fn status(&self, shard: ShardId) -> Option<ShardStatus> {
        self.driver.handle().status(shard)
    }

    /// Whether it leads the shard and is ready to.
    pub(crate) fn leads(&self, shard: ShardId) -> bool {
        self.status(shard).is_some_and(|status| matches!(status.role, Role::Leader { ready: true, .. }))
    }

    /// The shards that are here in any role.
    pub(crate) fn holds(&self) -> usize {
        (0..self.shards).filter(|shard| self.status(ShardId(*shard)).is_some()).count()
    }

    /// Whether every shard held here has exactly these voters, nobody else, and all of them are.
    pub(crate) fn is_voted_by(&self, nodes: &[u64]) -> bool {
        let standing = self.executor.standing();
        let voters: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
        let is_there = standing.iter().all(|shard| {
            let members = &shard.members;
            members.voters == voters && members.learners.is_empty() && members.outgoing.is_empty()
        });
        is_there && standing.len() == usize::from(self.shards)
    }

    /// Makes snapshots of all shards, so that the log forgets what they cover.
    pub(crate) fn purge(&self) {
        for shard in (0..self.shards).map(ShardId) {
            let index = self.kept.snapshot(shard);
            self.driver.handle().snapshot_taken(shard, index);
        }
    }

    /// Ends without a word, as if the power was cut.
    pub(crate) fn kill(self) {
        let Self { executor, controller, membership, driver, stop, tasks, folder, .. } = self;
        drop((executor, controller, membership));
        stop.cancel();
        tasks.iter().for_each(JoinHandle::abort);
        tokio::task::block_in_place(|| drop(driver));
        drop(folder);
    }
}

/// Proposes to a shard at one node, if that leads it.
pub(crate) async fn propose(driver: &DriverHandle, shard: ShardId, value: String) -> Option<LogIndex> {
    let Some(Role::Leader { term, ready: true }) = driver.status(shard).map(|status| status.role) else { return None };
    let (told, answered) = oneshot::channel::<Result<LogIndex, ProposeError>>();
    let data = Box::new(move || Bytes::from(value));
    let done = Box::new(move |outcome| {
        told.send(outcome).ok();
    });
    driver.propose(Proposal { shard, term, data, done });
    tokio::time::timeout(ANSWER_MAX, answered).await.expect("every proposal is answered").ok()?.ok()
}

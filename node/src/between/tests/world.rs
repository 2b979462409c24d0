//! Nodes with shards and workers of their own, served on real ports, and what they believe about each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use steward_actors::blob::{Backfill, BlobHash, BlobStore, Missing};
use steward_actors::domain::account::{Asked, Command};
use steward_actors::domain::ids::{AccountId, JobId};
use steward_actors::domain::job::{JobKind, JobOptions, Task};
use steward_actors::domain::task::{TASK_KINDS, TaskKind};
use steward_actors::elsewhere::{Commands, Elsewhere};
use steward_actors::shard::{Seat, Shards, ShardsConfig, open};
use steward_actors::supervisor;
use steward_actors::task::runner::{Reporter, Runner, TaskError, TaskRun};
use steward_actors::task::{Slots, TaskBoard, Workers, WorkersConfig};
use steward_cluster::clock::{ManualClock, Timestamp};
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::log::LogConfig;
use steward_cluster::peers::{Lane, NotReachable};
use steward_cluster::raft::{Members, PeerMessage, Transport};
use steward_cluster::store::Engine;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Server};

use super::super::{Neighbours, Others, WorkServer};
use crate::gateway::forward::{Leader, Whereabouts};

/// Shards of the nodes under test.
pub(super) const SHARDS: u16 = 2;
const CACHE_BYTES: u64 = 8 << 20;

/// Serves every kind of task, and has a result at once.
struct Quick;

impl Runner for Quick {
    fn kinds(&self) -> &'static [TaskKind] {
        &TASK_KINDS
    }

    fn takes(&self) -> &'static [TaskKind] {
        &TASK_KINDS
    }

    fn run<'a>(&'a self, run: &'a TaskRun, _reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        async { Ok(json!({"of": run.input})) }.boxed()
    }
}

/// The way to nobody: what a node sends that takes no part in consensus.
struct Mute;

impl Transport for Mute {
    fn send(&mut self, _to: NodeId, _messages: Vec<PeerMessage>) {}

    fn alive(&mut self) {}

    fn fetch(&mut self, _message: PeerMessage) {}
}

/// What a node believes about who leads: the same of every shard.
pub(super) struct Beliefs {
    leader: Mutex<Leader>,
    pub(super) corrections: Mutex<Vec<Option<NodeId>>>,
    changes: watch::Sender<u64>,
}

impl Beliefs {
    pub(super) fn new(leader: Leader) -> Arc<Self> {
        let (leader, corrections) = (Mutex::new(leader), Mutex::default());
        Arc::new(Self { leader, corrections, changes: watch::Sender::new(0) })
    }

    pub(super) fn set(&self, leader: Leader) {
        *self.leader.lock() = leader;
    }
}

impl Whereabouts for Beliefs {
    fn leader(&self, _shard: ShardId) -> Leader {
        *self.leader.lock()
    }

    fn confirm(&self, _shard: ShardId) -> BoxFuture<'static, bool> {
        std::future::ready(true).boxed()
    }

    fn is_replica_here(&self, _shard: ShardId) -> bool {
        true
    }

    fn correct(&self, _shard: ShardId, leader: Option<NodeId>) {
        self.corrections.lock().push(leader);
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// The other nodes of one under test.
#[derive(Default)]
pub(super) struct Wires {
    pub(super) channels: BTreeMap<NodeId, Channel>,
    pub(super) members: Option<Members>,
    /// Those on their way out.
    pub(super) draining: Vec<NodeId>,
    /// Those that were to be called.
    pub(super) reached: Mutex<Vec<NodeId>>,
}

impl Neighbours for Wires {
    fn others(&self) -> Vec<NodeId> {
        self.channels.keys().copied().collect()
    }

    fn channel(&self, node: NodeId, _lane: Lane) -> Result<Channel, NotReachable> {
        self.reached.lock().push(node);
        self.channels.get(&node).cloned().ok_or(NotReachable(node))
    }

    fn drains(&self, node: NodeId) -> bool {
        self.draining.contains(&node)
    }

    fn members(&self, _shard: ShardId) -> BoxFuture<'_, Option<Members>> {
        std::future::ready(self.members.clone()).boxed()
    }
}

/// A node of its own.
pub(super) struct Node {
    pub(super) shards: Shards,
    pub(super) blobs: BlobStore,
    pub(super) clock: Arc<ManualClock>,
    pub(super) beliefs: Arc<Beliefs>,
    pub(super) address: SocketAddr,
    folder: TempDir,
    _workers: Workers,
    _stop: DropGuard,
}

impl Node {
    /// A node that leads all shards and has no slot for any task.
    pub(super) async fn start() -> Self {
        Self::start_at(bound().await, NodeId(1), None).await
    }

    /// The same beside another, which holds no shard and has a slot: this one first.
    pub(super) async fn start_beside_an_idle_one() -> (Self, Self) {
        let (listeners, ids) = ((bound().await, bound().await), (NodeId(1), NodeId(2)));
        let address = |listener: &TcpListener| channel(listener.local_addr().unwrap());
        let (first, second) = (address(&listeners.0), address(&listeners.1));
        let to = |node, channel| Wires { channels: [(node, channel)].into(), ..Wires::default() };
        let busy = Self::start_at(listeners.0, ids.0, Some(to(ids.1, second))).await;
        (busy, Self::start_at(listeners.1, ids.1, Some(to(ids.0, first))).await)
    }

    async fn start_at(listener: TcpListener, node: NodeId, wires: Option<Wires>) -> Self {
        let is_leader = node == NodeId(1);
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_000)));
        let board = Arc::new(TaskBoard::new(folder.path().join("scratch")));
        let opened = open(&folder.path().join("data"), Engine::Fjall, CACHE_BYTES, LogConfig::default()).unwrap();
        let config = ShardsConfig { shards: SHARDS, ..ShardsConfig::default() };
        let on_failure = Arc::new(|failure| panic!("consensus failed: {failure:?}"));
        let apart = || Seat { node, founders: vec![], transport: Some(Box::new(Mute)) };
        let seat = if is_leader { Seat::alone(node) } else { apart() };
        let shards = Shards::start(config, seat, opened, clock.clone(), vec![board.clone()], on_failure).await.unwrap();
        let blobs = BlobStore::open(folder.path().join("blobs")).unwrap();
        let beliefs = Beliefs::new(if is_leader { Leader::Here } else { Leader::At(NodeId(1)) });
        let others =
            |wires| -> Arc<dyn Elsewhere> { Arc::new(Others::new(node, Arc::new(wires), beliefs.clone(), SHARDS)) };
        let commands = Commands::new(shards.clone(), wires.map(others));
        let (name, cpu_slots) = (format!("node-{}", node.0), usize::from(!is_leader));
        let workers = WorkersConfig {
            slots: Slots { cpu: cpu_slots, net: 0 },
            silence_max: Duration::from_secs(900),
            node: name,
            boot: "a".to_owned(),
        };
        let workers =
            Workers::start(workers, commands, board, blobs.clone(), clock.clone(), vec![Arc::new(Quick)]).unwrap();
        let server = WorkServer {
            shards: shards.clone(),
            lessor: workers.lessor(),
            hints: workers.hints(),
            blobs: blobs.clone(),
            missing: Missing::new(shards.clone(), blobs.clone(), Arc::new(Backfill::new())),
            whereabouts: beliefs.clone(),
        };
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = Server::builder()
            .add_service(server.service())
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
        supervisor::spawn("inside", served);
        Self { shards, blobs, clock, beliefs, address, folder, _workers: workers, _stop: stop.drop_guard() }
    }

    pub(super) fn channel(&self) -> Channel {
        channel(self.address)
    }

    /// Where files may be made that become blobs.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps these bytes as a blob.
    pub(super) fn keep(&self, bytes: &[u8]) -> BlobHash {
        let file = self.folder().join("file");
        std::fs::write(&file, bytes).unwrap();
        self.blobs.keep(&file).unwrap().hash
    }

    /// An account with a job whose only task waits for a worker.
    pub(super) async fn job(&self) -> (AccountId, JobId) {
        self.job_of("acme").await
    }

    /// The same, for a new account of this name.
    pub(super) async fn job_of(&self, account: &str) -> (AccountId, JobId) {
        let account = AccountId::parse(account).unwrap();
        let create = Command::CreateAccount { display_name: "Acme".to_owned(), wrapped_key: vec![] };
        self.shards.execute(&account, asked(create)).await.unwrap();
        let kind = JobKind::parse("summarize").unwrap();
        let create = Command::CreateJob { kind, input: json!({"text": "t"}), options: JobOptions::default() };
        let job = self.shards.execute(&account, asked(create)).await.unwrap().id;
        (account, JobId::parse(&job).unwrap())
    }

    /// How the only task of a job stands.
    pub(super) fn task(&self, account: &AccountId, job: &JobId) -> Task {
        self.shards.reads().job(account, job).unwrap().unwrap().tasks[&TaskKind::Summarize.whole()].clone()
    }
}

async fn bound() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

pub(super) fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

pub(super) fn asked(command: Command) -> Asked {
    let (actor, correlation_id) = ("worker:node-2/b".to_owned(), "c".to_owned());
    Asked { command, actor, correlation_id, causation_seq: 0, idempotency: None }
}

/// Waits until something is so, and fails when it never is.
pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

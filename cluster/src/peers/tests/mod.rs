//! Nodes over real sockets in one process: what the tests of this module build on.

mod calls;
mod certificates;
mod links;
mod relay;
mod snapshots;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use raft::eraftpb::{Entry, Message, MessageType};
use steward_proto::peer::v1 as pb;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::{FrameSink, HeldBy, Peers, PeersConfig, Security, Verdicts};
use crate::clock::SystemClock;
use crate::divergence::{Check, Verdict};
use crate::ids::{NodeId, ShardId};
use crate::raft::PeerMessage;
use crate::spawn::spawn;

pub(super) const CLUSTER: &str = "test";
/// The shard that every node of these tests leads.
pub(super) const LED: ShardId = ShardId(5);
/// How often nodes say that they are alive.
const ALIVE_EVERY: Duration = Duration::from_millis(100);
/// What a test waits for comes within this time, or the test fails.
const LIMIT: Duration = Duration::from_secs(20);

/// An append whose index tells it from others.
pub(super) fn message(from: u64, to: u64, index: u64, bytes: usize) -> PeerMessage {
    let entry = Entry { data: vec![7; bytes].into(), ..Entry::default() };
    let mut message = Message { from, to, index, ..Message::default() };
    message.set_msg_type(MessageType::MsgAppend);
    message.set_entries(vec![entry].into());
    PeerMessage { shard: ShardId(1), message }
}

/// Looks until it is so.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut looks = interval(Duration::from_millis(5));
    let looking = async {
        while !is_so() {
            looks.tick().await;
        }
    };
    assert!(timeout(LIMIT, looking).await.is_ok(), "did not come in time: {what}");
}

pub(super) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("did not come in time: {what}"))
}

/// One frame as the sink saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) from: NodeId,
    pub(super) boot: u64,
    pub(super) indexes: Vec<u64>,
    pub(super) at: Instant,
}

#[derive(Default)]
pub(super) struct Frames(Mutex<Vec<Seen>>);

impl FrameSink for Frames {
    fn frame(&self, from: NodeId, boot: u64, messages: Vec<PeerMessage>) {
        let indexes = messages.iter().map(|message| message.message.index).collect();
        self.0.lock().push(Seen { from, boot, indexes, at: Instant::now() });
    }

    fn held_by(&self, shard: ShardId) -> HeldBy {
        let members = (shard == LED).then(|| vec![NodeId(1), NodeId(7)]);
        Box::pin(std::future::ready(members))
    }

    fn judge(&self, _: NodeId, checks: Vec<Check>) -> Verdicts {
        let verdict = |check: Check| if check.shard == LED { Verdict::Agrees } else { Verdict::Undecided };
        Box::pin(std::future::ready(checks.into_iter().map(verdict).collect()))
    }
}

impl Frames {
    pub(super) fn all(&self) -> Vec<Seen> {
        self.0.lock().clone()
    }

    pub(super) fn from(&self, node: u64) -> Vec<Seen> {
        self.all().into_iter().filter(|seen| seen.from == NodeId(node)).collect()
    }

    /// The messages of a node, in the order they came in.
    pub(super) fn indexes(&self, node: u64) -> Vec<u64> {
        self.from(node).into_iter().flat_map(|seen| seen.indexes).collect()
    }
}

/// A node's half of this module, serving.
pub(super) struct Node {
    pub(super) peers: Peers,
    pub(super) frames: Arc<Frames>,
    pub(super) address: String,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// How a node is started; what is not said is usual.
pub(super) struct Setup {
    pub(super) node: u64,
    pub(super) cluster: String,
    pub(super) boot: u64,
    pub(super) security: Security,
    pub(super) address: String,
    pub(super) extra: Routes,
    pub(super) snapshots: PathBuf,
}

impl Setup {
    pub(super) fn of(node: u64) -> Self {
        Self {
            node,
            cluster: CLUSTER.to_owned(),
            boot: node * 100,
            security: Security::Plaintext,
            address: "127.0.0.1:0".to_owned(),
            extra: Routes::default(),
            snapshots: PathBuf::new(),
        }
    }

    pub(super) async fn start(self) -> Node {
        let Self { node, cluster, boot, security, address, extra, snapshots } = self;
        let config = PeersConfig { node: NodeId(node), cluster, boot, security };
        let peers = Peers::new(config, Arc::new(SystemClock::new())).unwrap();
        let listener = TcpListener::bind(&address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (frames, stop) = (Arc::<Frames>::default(), CancellationToken::new());
        let (served, sink, stopped) = (peers.clone(), Arc::clone(&frames), stop.clone());
        let serving = spawn("peers", async move { served.serve(listener, extra, sink, snapshots, stopped).await });
        drop(spawn("beats", beat(peers.clone(), stop.clone())));
        Node { peers, frames, address, stop, serving }
    }
}

/// Says all the time that a node is alive, as its driver does.
async fn beat(peers: Peers, stopped: CancellationToken) {
    let mut beats = interval(ALIVE_EVERY);
    while stopped.run_until_cancelled(beats.tick()).await.is_some() {
        peers.alive();
    }
}

impl Node {
    pub(super) async fn stop(self) -> String {
        self.stop.cancel();
        in_time("the end of serving", self.serving).await.unwrap();
        self.address
    }

    pub(super) fn knows(&self, others: &[(u64, &str)]) {
        let addresses = others.iter().map(|(node, address)| (NodeId(*node), (*address).to_owned()));
        self.peers.set_addresses(addresses.collect::<BTreeMap<_, _>>());
    }
}

/// Lets every node know all of them.
pub(super) fn introduce(nodes: &[(u64, &Node)]) {
    let all: Vec<(u64, &str)> = nodes.iter().map(|(id, node)| (*id, node.address.as_str())).collect();
    for (_, node) in nodes {
        node.knows(&all);
    }
}

/// Waits until frames arrive at both.
pub(super) async fn linked(nodes: [(u64, &Node); 2]) {
    let [(first, a), (second, b)] = nodes;
    until("frames both ways", || !a.frames.from(second).is_empty() && !b.frames.from(first).is_empty()).await;
}

/// A file with this text.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A frame that introduces a node.
pub(super) fn introduction(cluster: &str, node: u64) -> pb::Frame {
    let introduction = pb::Introduction { cluster: cluster.to_owned(), node, boot: 1 };
    pb::Frame { introduction: Some(introduction), messages: vec![], sent_at_ms: 0 }
}

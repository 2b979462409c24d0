//! Three nodes that hold the same shards: whoever follows a replica that turns out wrong goes on from another one, or from
//! what is put in its place, with exactly the rest.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::{Seat, Shards, ShardsConfig, open, shard_of};
use steward_actors::supervisor;
use steward_cluster::clock::SystemClock;
use steward_cluster::ids::{LogIndex, NodeId, ShardId};
use steward_cluster::log::LogConfig;
use steward_cluster::membership::View;
use steward_cluster::peers::{Lane, NotReachable, PeerTransport, Peers, PeersConfig, Security};
use steward_cluster::raft::Members;
use steward_cluster::store::Engine;
use steward_proto::peer::v1::FollowShardsRequest;
use steward_proto::peer::v1::feed_service_client::FeedServiceClient;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::{interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::Channel;

use super::super::{ClusterMark, Everything, FeedServer, Surroundings, form};
use super::world::{CACHE_BYTES, SHARDS, SOON, happens, read_until};
use crate::between::Neighbours;
use crate::cluster::Standing;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const ACCOUNT: &str = "acme";
/// How often it is looked for what nobody announces.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The other nodes, over the connections of a real one.
struct Connected(Peers);

impl Neighbours for Connected {
    fn others(&self) -> Vec<NodeId> {
        vec![]
    }

    fn channel(&self, node: NodeId, lane: Lane) -> Result<Channel, NotReachable> {
        self.0.channel(node, lane)
    }

    fn members(&self, _: ShardId) -> BoxFuture<'_, Option<Members>> {
        ready(None).boxed()
    }

    fn drains(&self, _: NodeId) -> bool {
        false
    }
}

struct Replica {
    shards: Shards,
    peers: Peers,
    everything: Everything,
    /// Held, so that there is somebody to tell what this node knows of the others.
    _view: watch::Sender<Arc<View>>,
    _stop: DropGuard,
    _folder: TempDir,
}

impl Replica {
    async fn start(node: NodeId, listener: TcpListener, addresses: BTreeMap<NodeId, String>) -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(SystemClock::new()));
        let opened = open(&folder.path().join("data"), Engine::Fjall, CACHE_BYTES, LogConfig::default()).unwrap();
        let snapshots = opened.snapshots.clone();
        let config = PeersConfig { node, cluster: "test".to_owned(), boot: node.0, security: Security::Plaintext };
        let peers = Peers::new(config, clock.clone()).unwrap();
        let driver = Arc::new(OnceLock::new());
        let transport = PeerTransport::new(peers.clone(), &snapshots, Handle::current(), Arc::clone(&driver));
        let seat = Seat { node, founders: NODES.to_vec(), transport: Some(Box::new(transport)) };
        let config = ShardsConfig { shards: SHARDS, ..ShardsConfig::default() };
        let on_failure = Arc::new(|failure| panic!("consensus failed: {failure:?}"));
        let shards = Shards::start(config, seat, opened, clock, vec![], on_failure).await.unwrap();
        driver.set(shards.driver()).ok();
        let (served, sink, stop) = (peers.clone(), Arc::new(shards.driver()), CancellationToken::new());
        let feed = Routes::new(FeedServer::new(shards.clone(), SHARDS, stop.clone()).service());
        let until = stop.clone();
        supervisor::spawn("inside", async move { served.serve(listener, feed, sink, snapshots, until).await });
        peers.set_addresses(addresses);
        let (view, seen) = watch::channel(Arc::new(View::default()));
        let whereabouts = Standing::new(node, shards.clone(), seen);
        let surroundings = Surroundings { neighbours: Arc::new(Connected(peers.clone())), whereabouts };
        let everything = Everything::new(shards.clone(), SHARDS, ClusterMark::of(&[1; 32]), Some(surroundings));
        Self { shards, peers, everything, _view: view, _stop: stop.drop_guard(), _folder: folder }
    }

    /// The state of a shard turns out wrong here; waits until another replica's is in its place.
    async fn turns_out_wrong(&self, shard: ShardId) {
        let mut looks = interval(LOOK_EVERY);
        let reseeding = async {
            while !self.reseed(shard).await {
                looks.tick().await;
            }
            while !self.shards.is_readable(shard) {
                looks.tick().await;
            }
        };
        timeout(SOON, reseeding).await.expect("the replica is seeded anew");
    }

    /// False when it has no time for it just now.
    async fn reseed(&self, shard: ShardId) -> bool {
        let (told, begins) = oneshot::channel();
        self.shards.driver().reseed(shard, |begins| {
            told.send(begins).ok(); // The test may be over.
        });
        begins.await == Ok(true)
    }
}

/// Three replicas of everything, the shard of the account, and which of them leads that and which does not.
async fn three() -> (Vec<Replica>, ShardId, usize, usize) {
    let mut listeners = BTreeMap::new();
    for node in NODES {
        listeners.insert(node, TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let addresses: BTreeMap<NodeId, String> = listeners.iter().map(|(node, at)| (*node, address(at))).collect();
    let mut replicas = vec![];
    for (node, listener) in listeners {
        replicas.push(Replica::start(node, listener, addresses.clone()).await);
    }
    let shard = shard_of(&AccountId::parse(ACCOUNT).unwrap(), SHARDS);
    let mut looks = interval(LOOK_EVERY);
    let leading = async {
        loop {
            looks.tick().await;
            if let Some(leader) = replicas.iter().position(|replica| replica.shards.is_led(shard)) {
                return leader;
            }
        }
    };
    let leader = timeout(SOON, leading).await.expect("somebody leads");
    (replicas, shard, leader, (leader + 1) % NODES.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_of_a_replica_that_turns_out_wrong_gets_exactly_the_rest() {
    let (replicas, shard, leader, wrong) = three().await;
    let everything = &replicas[wrong].everything;
    let mut merge = everything.follow(everything.beginning(), vec![], vec![]);
    let mut seen = BTreeMap::new();
    for events in [1, 3, 5] {
        happens(&replicas[leader].shards, ACCOUNT).await;
        read_until(&mut merge, &mut seen, &BTreeMap::from([(ACCOUNT.to_owned(), events)])).await;
        replicas[wrong].turns_out_wrong(shard).await;
    }
    happens(&replicas[leader].shards, ACCOUNT).await;
    read_until(&mut merge, &mut seen, &BTreeMap::from([(ACCOUNT.to_owned(), 7)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_follows_a_replica_that_turns_out_wrong_hears_that() {
    let (replicas, shard, leader, wrong) = three().await;
    happens(&replicas[leader].shards, ACCOUNT).await;
    let channel = replicas[leader].peers.channel(NODES[wrong], Lane::Forward).unwrap();
    let after = (0..SHARDS).map(|shard| form::place(ShardId(shard), LogIndex(0))).collect();
    let request = FollowShardsRequest { after, types: vec![] };
    let mut pages = FeedServiceClient::new(channel).follow_shards(request).await.unwrap().into_inner();
    pages.message().await.unwrap().expect("it says something");
    replicas[wrong].turns_out_wrong(shard).await;
    let reading = async {
        loop {
            if let Err(ended) = pages.message().await {
                return ended;
            }
        }
    };
    let ended = timeout(SOON, reading).await.expect("a stream of a wrong replica ends");
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    assert_eq!(ended.message(), format!("{shard} is not held here"));
}

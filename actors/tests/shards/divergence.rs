//! Three nodes over real sockets: a replica whose rows were changed behind its back ends like the others, and so do the
//! subscriptions to it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use steward_actors::domain::account::Command;
use steward_actors::domain::ids::{AccountId, ConsumerId, JobId};
use steward_actors::domain::job::{JobKind, JobOptions};
use steward_actors::domain::task::TaskKind;
use steward_actors::feed::{FeedError, Subscription};
use steward_actors::shard::{Seat, Shards, ShardsConfig};
use steward_actors::supervisor::spawn;
use steward_cluster::clock::SystemClock;
use steward_cluster::divergence::Auditor;
use steward_cluster::format::Format;
use steward_cluster::ids::{LogIndex, NodeId, ShardId};
use steward_cluster::peers::{PeerTransport, Peers, PeersConfig, Security};
use steward_cluster::store::{Direction, KeyRange, StateStore, WriteBatch};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::harness::{account, asked, create, opened};

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
/// Small, so that few commands lead to a check.
const CHECK_ENTRIES: u64 = 10;
/// The family of jobs, as `rows.rs` says.
const JOBS: u8 = 10;
const LIMIT: Duration = Duration::from_secs(60);

struct Node {
    shards: Shards,
    store: Arc<dyn StateStore>,
    _auditor: Auditor,
    _folder: TempDir,
}

struct Cluster {
    nodes: Vec<Node>,
    account: AccountId,
    shard: ShardId,
    _serving: JoinSet<()>,
}

/// Looks until there is something.
async fn found<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut looks = interval(Duration::from_millis(20));
    let looking = async {
        loop {
            looks.tick().await;
            if let Some(found) = look() {
                return found;
            }
        }
    };
    timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

impl Cluster {
    async fn start() -> Self {
        let mut listeners = BTreeMap::new();
        for node in NODES {
            listeners.insert(node, TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let addresses: BTreeMap<NodeId, String> = listeners.iter().map(|(node, at)| (*node, address(at))).collect();
        let (mut nodes, mut serving) = (vec![], JoinSet::new());
        for (node, listener) in listeners {
            nodes.push(start(node, listener, addresses.clone(), &mut serving).await);
        }
        let account = account("acme");
        let shard = nodes[0].shards.shard_of(&account);
        Self { nodes, account, shard, _serving: serving }
    }

    fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.shards.is_led(self.shard))
    }

    /// Has something done by whoever leads.
    async fn execute(&self, command: Command) -> String {
        let mut looks = interval(Duration::from_millis(20));
        let trying = async {
            loop {
                looks.tick().await;
                if let Some(leader) = self.leader()
                    && let Ok(answer) = self.nodes[leader].shards.execute(&self.account, asked(command.clone())).await
                {
                    return answer.id;
                }
            }
        };
        timeout(LIMIT, trying).await.expect("somebody leads")
    }

    /// Lets replicas be compared.
    async fn raise(&self) {
        let mut looks = interval(Duration::from_millis(20));
        let trying = async {
            loop {
                looks.tick().await;
                if let Some(leader) = self.leader()
                    && self.nodes[leader].shards.raise(self.shard, Format::CHECKS).await.is_ok()
                {
                    return;
                }
            }
        };
        timeout(LIMIT, trying).await.expect("somebody leads")
    }

    fn rows(&self, at: usize, range: &KeyRange) -> Vec<(Bytes, Bytes)> {
        self.nodes[at].store.scan(range, Direction::Forward, usize::MAX).unwrap()
    }

    fn jobs(&self) -> KeyRange {
        let [high, low] = self.shard.0.to_be_bytes();
        KeyRange::prefix(&[high, low, JOBS])
    }

    /// Makes one replica's row of the job wrong, which the next event of that job reads.
    async fn spoil(&self, at: usize) {
        let (key, value) = found("the job is on every node", || self.rows(at, &self.jobs()).pop()).await;
        let wrong = String::from_utf8(value.to_vec()).unwrap().replace("right", "wrong");
        let mut batch = WriteBatch::default();
        batch.put(key, wrong);
        self.nodes[at].store.write(batch).unwrap();
    }

    fn snapshot_index(&self, at: usize) -> u64 {
        let row = self.nodes[at].shards.status().into_iter().find(|row| row.shard == self.shard);
        row.map_or(0, |row| row.snapshot_index.0)
    }

    fn is_parked(&self, at: usize) -> bool {
        self.nodes[at].shards.driver().status(self.shard).is_some_and(|status| status.is_parked)
    }
}

async fn start(
    node: NodeId,
    listener: TcpListener,
    addresses: BTreeMap<NodeId, String>,
    serving: &mut JoinSet<()>,
) -> Node {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened(folder.path());
    let (store, snapshots) = (Arc::clone(&opened.store), opened.snapshots.clone());
    let clock = Arc::new(SystemClock::new());
    let config = PeersConfig { node, cluster: "test".to_owned(), boot: node.0, security: Security::Plaintext };
    let peers = Peers::new(config, clock.clone()).unwrap();
    let driver = Arc::new(OnceLock::new());
    let transport = PeerTransport::new(peers.clone(), &snapshots, Handle::current(), Arc::clone(&driver));
    let seat = Seat { node, founders: NODES.to_vec(), transport: Some(Box::new(transport)) };
    let config = ShardsConfig { shards: 2, check_entries: CHECK_ENTRIES, ..ShardsConfig::default() };
    let on_failure = Arc::new(|failure| panic!("consensus failed: {failure:?}"));
    let shards = Shards::start(config, seat, opened, clock, vec![], on_failure).await.unwrap();
    driver.set(shards.driver()).ok();
    let (served, sink, stop) = (peers.clone(), Arc::new(shards.driver()), CancellationToken::new());
    serving.spawn(async move { served.serve(listener, Default::default(), sink, snapshots, stop).await });
    peers.set_addresses(addresses);
    let auditor = Auditor::start(shards.driver(), peers);
    Node { shards, store, _auditor: auditor, _folder: folder }
}

/// Reads what comes until the subscription ends.
async fn end(mut subscription: Subscription) -> FeedError {
    loop {
        if let Err(ended) = subscription.next().await {
            return ended;
        }
    }
}

/// Spoils the leader or a follower, and waits until it is like the others.
async fn ends_like_the_others(spoils_leader: bool) {
    let cluster = Cluster::start().await;
    cluster.execute(create()).await;
    cluster.raise().await;
    let (kind, input) = (JobKind::Single(TaskKind::Search), json!({"query": "right"}));
    let job = JobId::parse(&cluster.execute(Command::CreateJob { kind, input, options: JobOptions::default() }).await)
        .unwrap();
    let leader = found("somebody leads", || cluster.leader()).await;
    let spoiled = if spoils_leader { leader } else { (leader + 1) % NODES.len() };
    let subscribe = |at: usize| cluster.nodes[at].shards.feed().subscribe(&cluster.account, 0, vec![]);
    let follow = |at: usize| {
        let mut reader = cluster.nodes[at].shards.log_feed().reader(vec![]);
        reader.follow(cluster.shard, LogIndex(0));
        reader
    };
    let others = (spoiled + 1) % NODES.len();
    let ended = spawn("test", end(subscribe(spoiled)));
    let (mut well, [reader, well_reader]) = (subscribe(others), [follow(spoiled), follow(others)]);
    cluster.spoil(spoiled).await;
    cluster.execute(Command::StartTask { job, task: TaskKind::Search.whole(), worker: "w".to_owned() }).await;
    for name in 0..CHECK_ENTRIES {
        let consumer = ConsumerId::parse(&format!("c-{name}")).unwrap();
        cluster.execute(Command::AckConsumer { consumer, seq: 1 }).await;
    }
    let ended = timeout(LIMIT, ended).await.expect("a subscription to a wrong replica ends").unwrap();
    assert!(matches!(ended, FeedError::Withdrawn { shard } if shard == cluster.shard), "{ended:?}");
    found("the snapshot of another replica", || (cluster.snapshot_index(spoiled) > 0).then_some(())).await;
    let shard = KeyRange::shard(cluster.shard);
    let is_alike = || cluster.rows(spoiled, &shard) == cluster.rows(others, &shard) && !cluster.is_parked(spoiled);
    found("the same rows everywhere", || is_alike().then_some(())).await;
    let jobs = cluster.rows(spoiled, &cluster.jobs());
    assert!(jobs.iter().all(|(_, job)| job.windows(5).any(|part| part == b"right")), "{jobs:?}");
    assert_ne!(cluster.leader(), Some(spoiled), "a replica that was wrong leads on");
    assert!(!reader.follows(cluster.shard), "a reader of everything goes on from what was wrong");
    assert!(well.try_next().is_ok() && well_reader.follows(cluster.shard), "readers of another replica end as well");
    assert!(subscribe(spoiled).try_next().is_ok(), "what was seeded anew is not to be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_differs_is_seeded_anew() {
    ends_like_the_others(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_differs_gives_the_shard_away_and_is_seeded_anew() {
    ends_like_the_others(true).await;
}

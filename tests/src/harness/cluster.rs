//! Several nodes and a real etcd: started, grown and shrunk; and the checks that close a scenario. What breaks them stands
//! in `faults.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::disk::Disk;
use super::etcd::Etcd;
use super::network::Network;
use super::node::{Node, NodeBuilder};
use super::picture::Picture;
use super::process::{Build, steward_beside};
use super::replicas;
use super::wait::{eventually, found_within};
use super::whereabouts::{Address, Nodes};

/// The cluster's name in etcd and certificates.
const NAME: &str = "chaos";
/// How long shards may take to be where they should be: copies are made and a lease may have to run out.
const PLACED_MAX: Duration = Duration::from_secs(90);
/// Bytes of the sealing key and of the operator's, as hex digits.
const KEY_DIGITS: usize = 64;
/// What stands before the digits of the operator's.
const OPERATOR_FORM: &str = "stw_operator.";

/// What is to be started.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub nodes: u64,
    pub shards: u16,
    pub replicas: u8,
    /// Members of etcd.
    pub etcd: usize,
    /// Whether nodes prove to each other who they are; else they talk in plain text.
    pub tls: bool,
    /// Settings of every node, as `--set` takes them.
    pub settings: &'static [&'static str],
    /// What the nodes run at first.
    pub build: Build,
}

impl Default for Shape {
    fn default() -> Self {
        Self { nodes: 3, shards: 8, replicas: 3, etcd: 1, tls: false, settings: &[], build: Build::This }
    }
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Up,
    Paused,
    Down,
}

/// A cluster under test. Nodes are known by their ids.
pub struct Cluster {
    pub(super) shape: Shape,
    pub(super) nodes: BTreeMap<u64, (Node, Standing)>,
    pub(super) etcd: Etcd,
    network: Option<Network>,
    /// What the nodes keep their data on, from the first one on; else it stands in their own folders.
    pub(super) disks: Vec<Disk>,
    pub(super) drained: BTreeSet<u64>,
    /// Where clients find the nodes that are up.
    known: Nodes,
    folder: TempDir,
}

impl Cluster {
    /// Starts it and waits until every shard is where it should be.
    pub async fn start(shape: Shape) -> Self {
        Self::start_with(shape, None, vec![]).await
    }

    /// The same, every node in a network of its own.
    pub async fn start_in(shape: Shape, network: Network) -> Self {
        Self::start_with(shape, Some(network), vec![]).await
    }

    /// The same, every node with a disk of its own.
    pub async fn start_on(shape: Shape, disks: Vec<Disk>) -> Self {
        Self::start_with(shape, None, disks).await
    }

    async fn start_with(shape: Shape, network: Option<Network>, disks: Vec<Disk>) -> Self {
        let folder = tempfile::Builder::new().prefix("steward-cluster-").tempdir().expect("a folder can be made");
        for (file, form) in [("seal.key", ""), ("operator.key", OPERATOR_FORM)] {
            let digit = |_| char::from(b"0123456789abcdef"[rand::random_range(0..16)]);
            let key: String = form.chars().chain((0..KEY_DIGITS).map(digit)).collect();
            fs::write(folder.path().join(file), key).expect("the folder can be written");
        }
        let etcd = match &network {
            Some(_) => Etcd::start_on(Network::outside(), shape.etcd),
            None => Etcd::start(shape.etcd),
        };
        let (nodes, drained, known) = (BTreeMap::new(), BTreeSet::new(), Nodes::new(vec![]));
        let mut cluster = Self { shape, nodes, etcd, network, disks, drained, known, folder };
        if shape.tls {
            cluster.ca(&["create", "--cluster", NAME]);
        }
        for _ in 0..shape.nodes {
            cluster.add();
        }
        cluster.placed().await;
        cluster
    }

    /// Starts one more node, with the next id; returns the id. Shards move to it by themselves.
    pub fn add(&mut self) -> u64 {
        let id = self.nodes.keys().next_back().map_or(1, |last| last + 1);
        let etcd: Vec<String> = self.etcd.endpoints().iter().map(|endpoint| format!("\"http://{endpoint}\"")).collect();
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let mut node = Node::builder()
            .among_faults()
            .build(self.shape.build)
            .set(&format!("node.id={id}"))
            .set(&format!("node.key_file={}", file("seal.key")))
            .set(&format!("auth.operator_key_file={}", file("operator.key")))
            .set(&format!("storage.shards={}", self.shape.shards))
            .set(&format!("cluster.name={NAME}"))
            .set(&format!("cluster.etcd=[{}]", etcd.join(", ")))
            .set(&format!("cluster.replicas={}", self.shape.replicas));
        node = self.shape.settings.iter().fold(node, |node, setting| node.set(setting));
        if self.shape.tls {
            self.ca(&["issue", "--node", &id.to_string()]);
            for (key, name) in
                [("ca", "ca.crt"), ("cert", &format!("node-{id}.crt")), ("key", &format!("node-{id}.key"))]
            {
                node = node.set(&format!("cluster.{key}_file={}", file(&format!("ca/{name}"))));
            }
        } else {
            node = node.set("cluster.plaintext=true");
        }
        let disk = usize::try_from(id - 1).ok().and_then(|at| self.disks.get(at));
        node = disk.map(Disk::path).into_iter().fold(node, NodeBuilder::on_disk);
        node = match &self.network {
            Some(network) => {
                let (command, address) = network.host(id);
                let listen = format!("cluster.listen={address}:0");
                node.within(command, &address).set(&listen).reaching(Network::outside())
            }
            None => node.set("cluster.listen=127.0.0.1:0").reaching_loopback(),
        };
        self.nodes.insert(id, (node.start(), Standing::Up));
        self.tell();
        id
    }

    fn ca(&self, args: &[&str]) {
        let output = Command::new(steward_beside())
            .arg("ca")
            .args(args)
            .arg("--dir")
            .arg(self.folder.path().join("ca"))
            .output()
            .expect("the command runs");
        assert!(output.status.success(), "ca {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Where clients find the nodes; kept up to date.
    #[must_use]
    pub fn known(&self) -> Nodes {
        self.known.clone()
    }

    pub(super) fn tell(&self) {
        let up = self.nodes.values().filter(|(_, standing)| *standing != Standing::Down);
        self.known.are(up.map(|(node, _)| Address::of(node)).collect());
    }

    /// Every node there is, running or not, but this one.
    #[must_use]
    pub fn all_but(&self, id: u64) -> Vec<u64> {
        self.nodes.keys().copied().filter(|other| *other != id).collect()
    }

    #[must_use]
    pub fn node(&self, id: u64) -> &Node {
        &self.nodes[&id].0
    }

    pub fn node_mut(&mut self, id: u64) -> &mut Node {
        &mut self.entry(id).0
    }

    pub(super) fn entry(&mut self, id: u64) -> &mut (Node, Standing) {
        self.nodes.get_mut(&id).expect("the node is one of the cluster")
    }

    /// A node that answers.
    fn up(&self) -> Option<&Node> {
        self.nodes.values().find(|(_, standing)| *standing == Standing::Up).map(|(node, _)| node)
    }

    #[must_use]
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the cluster was started in a network")
    }

    /// Stops a node in good order and starts another release over its data.
    pub async fn roll(&mut self, id: u64, build: Build) {
        self.hand_over(id).await;
        self.node_mut(id).becomes(build);
        self.restart(id);
        self.placed().await;
    }

    /// The format in force in all shards, and the one that all nodes know, by the word of any node.
    #[must_use]
    pub fn formats(&self) -> Option<(u16, u16)> {
        Some(self.picture()?.formats())
    }

    /// The cluster as one of its nodes sees it; nothing while none can say.
    fn picture(&self) -> Option<Picture> {
        let output = self.up()?.ctl(&["cluster", "--json"]);
        Picture::read(&output.stdout).filter(|_| output.status.success())
    }

    /// The node that leads most shards.
    pub async fn leader(&self) -> u64 {
        let busiest = async || self.picture()?.busiest();
        eventually(PLACED_MAX, "a shard to have a leader", busiest).await
    }

    /// The newest term of each shard: it rises with every election.
    #[must_use]
    pub fn terms(&self) -> BTreeMap<u64, u64> {
        let mut terms = BTreeMap::new();
        for row in self.shards_of_all() {
            if let (Some(shard), Some(term)) = (row["shard"].as_u64(), row["term"].as_u64()) {
                let newest: &mut u64 = terms.entry(shard).or_default();
                *newest = term.max(*newest);
            }
        }
        terms
    }

    /// How many shards a node leads.
    #[must_use]
    pub fn leads(&self, id: u64) -> usize {
        self.picture().expect("a node answers").led_by(id)
    }

    /// Who leads one shard.
    #[must_use]
    pub fn leader_of(&self, shard: u32) -> u64 {
        self.picture().expect("a node answers").leader_of(shard).expect("the shard has a leader")
    }

    /// Waits until every shard is led, and held by the nodes that should hold it. Nodes that are down count, drained ones
    /// do not.
    pub async fn placed(&self) {
        let takers = self.nodes.len() - self.drained.len();
        let replicas = takers.min(usize::from(self.shape.replicas));
        let replicas = if replicas.is_multiple_of(2) { replicas - 1 } else { replicas };
        let placed = async || self.picture()?.is_placed(usize::from(self.shape.shards), replicas).then_some(());
        if found_within(PLACED_MAX, placed).await.is_none() {
            panic!("waited {PLACED_MAX:?} in vain for {replicas} replicas of every shard: {:#?}", self.picture());
        }
    }

    /// Asks for a node to be emptied.
    pub fn ask_to_drain(&mut self, id: u64) {
        self.drained.insert(id);
        self.tell_to_drain(id, &[]);
    }

    /// Takes that back.
    pub fn stop_draining(&mut self, id: u64) {
        self.drained.remove(&id);
        self.tell_to_drain(id, &["--undo"]);
    }

    /// Asks another node than the one it is about, which may end meanwhile.
    fn tell_to_drain(&self, id: u64, how: &[&str]) {
        let others = self.nodes.iter().filter(|(other, (_, standing))| **other != id && *standing == Standing::Up);
        let (_, (other, _)) = others.into_iter().next().expect("another node is up");
        let told = other.ctl(&[&["node", "drain", &id.to_string()], how].concat());
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }

    /// Asks for a node to be emptied, and waits until it is.
    pub async fn drain(&mut self, id: u64) {
        self.ask_to_drain(id);
        let empty = async || self.picture()?.is_empty(id).then_some(());
        if found_within(PLACED_MAX, empty).await.is_none() {
            panic!("waited {PLACED_MAX:?} in vain for node {id} to be empty: {:#?}", self.picture());
        }
    }

    /// Waits until all replicas have all there is, stops every node, and compares what is on their disks: every shard has
    /// as many replicas as it should, and they hold the same feed.
    pub async fn stop_and_compare(mut self) {
        self.placed().await;
        let level = async || self.is_level().then_some(());
        eventually(PLACED_MAX, "all replicas to be level", level).await;
        let picture = self.picture().expect("a node answers");
        let ids: Vec<u64> = self.nodes.iter().filter(|(_, (node, _))| node.is_running()).map(|(id, _)| *id).collect();
        for id in &ids {
            self.terminate(*id).await;
        }
        let folder = |id: &u64| (*id, replicas::digests(&self.node(*id).data_dir()));
        let held: BTreeMap<u64, BTreeMap<u16, replicas::FeedDigest>> = ids.iter().map(folder).collect();
        let mut events = 0;
        for shard in &picture.shards {
            let digests: Vec<_> = shard.voters.iter().map(|id| (id, held[id].get(&shard.shard))).collect();
            let (_, first) = digests[0];
            assert!(digests.iter().all(|(_, digest)| *digest == first), "shard {} differs: {digests:?}", shard.shard);
            events += first.map_or(0, |digest| digest.events);
        }
        assert!(events > 0, "a run that leaves no event compares nothing");
    }

    /// Whether every replica of a shard has applied what the others have.
    fn is_level(&self) -> bool {
        let mut applied: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for row in self.shards_of_all() {
            if let (Some(shard), Some(index)) = (row["shard"].as_u64(), row["applied"].as_u64()) {
                applied.entry(shard).or_default().insert(index);
            }
        }
        applied.values().all(|indices| indices.len() == 1)
    }

    /// What every node that is up says of its shards.
    fn shards_of_all(&self) -> Vec<Value> {
        let up = self.nodes.values().filter(|(_, standing)| *standing == Standing::Up);
        up.flat_map(|(node, _)| node.ctl_json(&["shards"]).as_array().expect("shards are a list").clone()).collect()
    }
}

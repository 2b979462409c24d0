//! The nodes of a cluster and the etcd they meet at: started, killed, started again, and asked how they see themselves.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::RngExt as _;
use steward_cluster::clock::{Clock, SystemClock};
use steward_proto::admin::v1::admin_service_client::AdminServiceClient;
use steward_proto::admin::v1::{ClusterNode, ClusterShard, DrainNodeRequest, GetClusterRequest, GetClusterResponse};
use tempfile::TempDir;

use crate::Settings;
use crate::node::{Api, Node, Program};
use crate::peers::{free_port, local};

const ETCD: &str = "etcd";
/// Nodes of a full cluster: as many as there are copies of each shard.
pub(crate) const NODES: usize = 3;
/// How long every shard may take to be where it should be.
const SETTLE_MAX: Duration = Duration::from_secs(300);
/// How often that is looked at.
const SETTLE_POLL: Duration = Duration::from_millis(50);
/// How long one call of the operator may take.
const CALL_MAX: Duration = Duration::from_secs(10);

pub(crate) fn etcd_is_installed() -> bool {
    let asked = Command::new(ETCD).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Running nodes.
pub(crate) struct Cluster {
    // Stopped before etcd, and both before their folder goes.
    pub(crate) nodes: Vec<Node>,
    _etcd: Program,
    folder: TempDir,
    steward: PathBuf,
    settings: Vec<String>,
}

impl Cluster {
    /// Starts etcd and so many nodes, and waits until every shard is where it should be.
    pub(crate) async fn start(settings: &Settings, shards: usize, nodes: usize) -> anyhow::Result<Self> {
        Self::start_with(settings, shards, nodes, &[]).await
    }

    /// The same with more settings (`key=value`).
    pub(crate) async fn start_with(
        settings: &Settings,
        shards: usize,
        nodes: usize,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let (etcd, port) = start_etcd(folder.path())?;
        let seal = folder.path().join("seal.key");
        fs::write(&seal, hex::encode(rand::rng().random::<[u8; 32]>())).context("cannot write the cluster's key")?;
        let mut settings_of_all = vec![
            "cluster.name=bench".to_owned(),
            format!("cluster.etcd=[\"http://127.0.0.1:{port}\"]"),
            "cluster.listen=127.0.0.1:0".to_owned(),
            "cluster.plaintext=true".to_owned(),
            format!("node.key_file={}", seal.display()),
            format!("auth.operator_key_file={}", folder.path().join("operator.key").display()),
            format!("storage.shards={shards}"),
        ];
        settings_of_all.extend(more.iter().map(|&setting| setting.to_owned()));
        let steward = settings.steward.clone();
        let mut cluster = Self { nodes: vec![], _etcd: etcd, folder, steward, settings: settings_of_all };
        for _ in 0..nodes {
            cluster.join().await?;
        }
        cluster.settled().await?;
        Ok(cluster)
    }

    /// Starts one more node.
    pub(crate) async fn join(&mut self) -> anyhow::Result<()> {
        let node = self.start_node(self.nodes.len()).await?;
        self.nodes.push(node);
        Ok(())
    }

    /// Starts a killed node over what it left.
    pub(crate) async fn start_again(&mut self, at: usize) -> anyhow::Result<()> {
        self.nodes[at] = self.start_node(at).await?;
        Ok(())
    }

    /// On a thread of its own, so that load goes on meanwhile.
    async fn start_node(&self, at: usize) -> anyhow::Result<Node> {
        let (steward, settings, folder) = (self.steward.clone(), self.settings.clone(), self.data_of(at));
        let started = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
            Node::start_in(&steward, &folder, &settings)
        });
        started.await.context("starting a node panicked")?
    }

    /// The folder of a node.
    pub(crate) fn data_of(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("n{at}"))
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Node::pid).collect()
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.http).collect()
    }

    /// Waits until every node is there and holds every shard, each shard where it should be.
    pub(crate) async fn settled(&self) -> anyhow::Result<()> {
        let (clock, operator) = (SystemClock::new(), Operator::of(&self.nodes[0]).await?);
        loop {
            let reason = match operator.cluster().await {
                Ok(cluster) => match waits_for(&cluster, self.nodes.len()) {
                    None => return Ok(()),
                    Some(reason) => reason,
                },
                Err(error) => format!("{error:#}"),
            };
            if clock.monotonic() > SETTLE_MAX {
                bail!("the cluster did not settle within {SETTLE_MAX:?}: {reason}");
            }
            tokio::time::sleep(SETTLE_POLL).await;
        }
    }
}

/// What keeps a cluster of so many nodes from being where it should be, if anything does.
fn waits_for(cluster: &GetClusterResponse, nodes: usize) -> Option<String> {
    if cluster.nodes.len() != nodes || cluster.shards.is_empty() {
        return Some(format!("{} nodes of {nodes} are known", cluster.nodes.len()));
    }
    let unsettled = |shard: &&ClusterShard| {
        shard.leader == 0 || shard.voters.len() != nodes.min(NODES) || !shard.waits_for.is_empty()
    };
    let first = cluster.shards.iter().find(unsettled)?;
    let many = cluster.shards.iter().filter(unsettled).count();
    let ClusterShard { shard, leader, voters, waits_for, .. } = first;
    Some(format!("{many} shards are unsettled; shard {shard}, leader {leader}, voters {voters:?}: {waits_for}"))
}

/// The operator's calls to one node.
#[derive(Clone)]
pub(crate) struct Operator(AdminServiceClient<Api>);

impl Operator {
    pub(crate) async fn of(node: &Node) -> anyhow::Result<Self> {
        Ok(Self(AdminServiceClient::new(node.api().await?)))
    }

    /// The cluster as the node sees it.
    pub(crate) async fn cluster(&self) -> anyhow::Result<GetClusterResponse> {
        let mut client = self.0.clone();
        let asked = tokio::time::timeout(CALL_MAX, client.get_cluster(GetClusterRequest {}));
        let answer = asked.await.context("the node does not say how the cluster is")?;
        Ok(answer.context("the cluster cannot be looked at")?.into_inner())
    }

    pub(crate) async fn drain(&self, node_id: u64, undo: bool) -> anyhow::Result<()> {
        let mut client = self.0.clone();
        let asked = tokio::time::timeout(CALL_MAX, client.drain_node(DrainNodeRequest { node_id, undo }));
        asked.await.context("the node does not answer")?.context("a node cannot be drained")?;
        Ok(())
    }
}

/// How many shards a node leads.
pub(crate) fn leads(cluster: &GetClusterResponse, node: u64) -> u32 {
    cluster.nodes.iter().find(|known| known.node_id == node).map_or(0, |known: &ClusterNode| known.leads)
}

fn start_etcd(folder: &Path) -> anyhow::Result<(Program, u16)> {
    let (clients, peers) = (free_port()?, free_port()?);
    let mut command = Command::new(ETCD);
    command.arg("--data-dir").arg(folder.join("etcd")).args(["--log-level", "error"]);
    for flag in ["--listen-client-urls", "--advertise-client-urls"] {
        command.args([flag, &format!("http://127.0.0.1:{clients}")]);
    }
    command.args(["--listen-peer-urls", &format!("http://127.0.0.1:{peers}")]);
    let mut etcd = Program::start(&mut command, &folder.join("etcd.log"))?;
    etcd.wait_for("etcd", || TcpStream::connect(local(clients)).ok())?;
    Ok((etcd, clients))
}

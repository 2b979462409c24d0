//! `ctl cluster` and `ctl node drain`.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use steward_cluster::clock::{Clock, SystemClock};
use steward_proto::admin::v1 as pb;

use super::client::Client;
use crate::cli::output::Out;
use crate::cli::{ConfigArgs, node};
use crate::cluster;

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// The nodes
    Nodes,
    /// Where each shard is, and where it should be
    Shards,
    /// What keeps a shard from being where it should be
    Explain { shard: u32 },
    /// Lets the shards have the highest format that all nodes know: from then on no node goes back to an older binary
    Finalize,
    /// Writes the cluster back into an etcd that was wiped; run it on one node, with its settings
    Rebuild(RebuildArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct RebuildArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Empties a node: its shards move to the others
    Drain {
        node: u64,
        /// Takes the wish back
        #[arg(long)]
        undo: bool,
    },
}

pub(super) async fn cluster(client: &mut Client, command: Option<ClusterCommand>) -> anyhow::Result<()> {
    let cluster = client.admin().get_cluster(pb::GetClusterRequest {}).await?.into_inner();
    let (nodes, shards): (Vec<Value>, Vec<Value>) =
        (cluster.nodes.iter().map(node_row).collect(), cluster.shards.iter().map(shard_row).collect());
    match command {
        None => {
            let moving = cluster.shards.iter().filter(|shard| !shard.waits_for.is_empty()).count();
            let mut shown = json!({
                "cluster": cluster.name,
                "nodes": cluster.nodes.len(),
                "shards": cluster.shards.len(),
                "on_their_way": moving,
                "etcd_away_s": cluster.etcd_away_ms / 1000,
                "format": cluster.format,
                "format_known": cluster.format_known,
            });
            if client.json {
                (shown["nodes"], shown["shards"]) = (Value::Array(nodes), Value::Array(shards));
            }
            client.out.one(client.json, &shown)
        }
        Some(ClusterCommand::Nodes) => {
            let columns = [
                "node",
                "address",
                "zone",
                "version",
                "format",
                "leads",
                "holds",
                "draining",
                "disk_low",
                "controller",
            ];
            client.out.rows(client.json, &nodes, &columns)
        }
        Some(ClusterCommand::Shards) => {
            let columns = ["shard", "leader", "term", "format", "voters", "learners", "wanted", "lag", "waits_for"];
            client.out.rows(client.json, &shards, &columns)
        }
        Some(ClusterCommand::Explain { shard }) => {
            let Some(row) = cluster.shards.iter().find(|row| row.shard == shard) else {
                bail!("there is no shard {shard}; the cluster has {}", cluster.shards.len());
            };
            client.out.one(client.json, &shard_row(row))
        }
        Some(ClusterCommand::Finalize) => {
            let answer = client.admin().finalize_cluster(pb::FinalizeClusterRequest {}).await?.into_inner();
            client.out.one(client.json, &json!({"format": answer.format}))
        }
        Some(ClusterCommand::Rebuild(_)) => bail!("a rebuild asks no node"),
    }
}

pub(super) async fn node(client: &mut Client, command: NodeCommand) -> anyhow::Result<()> {
    let NodeCommand::Drain { node, undo } = command;
    client.admin().drain_node(pb::DrainNodeRequest { node_id: node, undo }).await?;
    let state = if undo { "takes shards again" } else { "is being emptied" };
    client.out.one(client.json, &json!({"node": node, "state": state}))
}

pub(super) async fn rebuild(args: &RebuildArgs) -> anyhow::Result<()> {
    let config = node::load(&args.config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    cluster::rebuild(&config, &clock).await.context("the cluster was not written back")?;
    Out::stdout().line(format!("cluster {} is written back; start its nodes", config.cluster.name))
}

fn node_row(node: &pb::ClusterNode) -> Value {
    json!({
        "node": node.node_id,
        "address": node.address,
        "zone": node.zone,
        "version": node.version,
        "format": node.format,
        "leads": node.leads,
        "holds": node.holds,
        "draining": node.draining,
        "disk_low": node.disk_low,
        "controller": node.controller,
    })
}

fn shard_row(shard: &pb::ClusterShard) -> Value {
    json!({
        "shard": shard.shard,
        "leader": shard.leader,
        "term": shard.term,
        "format": shard.format,
        "voters": shard.voters,
        "learners": shard.learners,
        "wanted": shard.wanted,
        "lag": shard.lag,
        "waits_for": shard.waits_for,
    })
}

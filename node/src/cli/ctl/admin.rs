//! `ctl node` and `ctl shards`.

use serde_json::{Value, json};
use steward_proto::admin::v1 as pb;

use super::client::Client;

pub(super) async fn node(client: &mut Client) -> anyhow::Result<()> {
    let node = client.admin().get_node(pb::GetNodeRequest {}).await?.into_inner();
    let shown = json!({
        "version": node.version,
        "node": node.node_id,
        "data": node.data_dir,
        "engine": node.storage_engine,
        "shards": node.shards,
        "accounts_live": node.accounts_live,
        "uptime_s": node.uptime_ms / 1000,
        "models": node.models,
        "sandbox": node.sandbox,
    });
    client.out.one(client.json, &shown)
}

pub(super) async fn shards(client: &mut Client) -> anyhow::Result<()> {
    let shards = client.admin().list_shards(pb::ListShardsRequest {}).await?.into_inner().shards;
    let row = |shard: &pb::Shard| {
        json!({
            "shard": shard.shard,
            "role": shard.role,
            "term": shard.term,
            "last": shard.last_index,
            "applied": shard.applied_index,
            "snapshot": shard.snapshot_index,
            "live": shard.accounts_live,
            "format": shard.format,
        })
    };
    let rows: Vec<Value> = shards.iter().map(row).collect();
    client.out.rows(client.json, &rows, &["shard", "role", "term", "last", "applied", "snapshot", "live", "format"])
}

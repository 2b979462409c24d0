//! `AdminService`: the node, its shards and its tasks. For the operator.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use steward_actors::domain::ids::AccountId;
use steward_actors::task::{Slots, TaskBoard};
use steward_actors::{model, sandbox};
use steward_cluster::ids::NodeId;
use steward_proto::admin::v1::admin_service_server::AdminService;
use steward_proto::admin::v1::{self as pb};
use tonic::{Request, Response, Status};

use super::{overview, wire};
use crate::cluster::Company;
use crate::gateway::error::{Code, Refused};
use crate::gateway::{Gateway, page};

/// What the operator is told about the node.
pub(crate) struct Operations {
    pub(crate) node: NodeId,
    pub(crate) data_dir: PathBuf,
    pub(crate) models_dir: PathBuf,
    pub(crate) storage_engine: &'static str,
    /// When the node started, on the monotonic clock.
    pub(crate) started: Duration,
    pub(crate) tasks: Arc<TaskBoard>,
    pub(crate) slots: Slots,
}

pub(super) struct Admin {
    pub(super) gateway: Arc<Gateway>,
    pub(super) operations: Operations,
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_node(&self, request: Request<pb::GetNodeRequest>) -> Result<Response<pb::GetNodeResponse>, Status> {
        let (caller, _, _) = wire::open(&self.gateway, request)?;
        caller.operator_proof()?;
        let uptime = self.gateway.clock.monotonic().saturating_sub(self.operations.started);
        let shards = self.gateway.router.shards().len();
        Ok(Response::new(pb::GetNodeResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node_id: self.operations.node.0,
            data_dir: self.operations.data_dir.display().to_string(),
            storage_engine: self.operations.storage_engine.to_owned(),
            shards: u32::try_from(shards).unwrap_or(u32::MAX),
            accounts_live: count(self.gateway.router.live_accounts()),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            models: installed(self.operations.models_dir.clone()).await,
            sandbox: sandbox::support().map_or_else(ToOwned::to_owned, |()| "full".to_owned()),
        }))
    }

    async fn list_shards(
        &self,
        request: Request<pb::ListShardsRequest>,
    ) -> Result<Response<pb::ListShardsResponse>, Status> {
        let (caller, _, _) = wire::open(&self.gateway, request)?;
        caller.operator_proof()?;
        let shards = self.gateway.router.shards().into_iter().map(|row| pb::Shard {
            shard: row.shard.0.into(),
            role: row.role.to_owned(),
            term: row.term.0,
            last_index: row.last_index.0,
            applied_index: row.applied_index.0,
            snapshot_index: row.snapshot_index.0,
            accounts_live: count(row.accounts_live),
            format: row.format.0.into(),
        });
        Ok(Response::new(pb::ListShardsResponse { shards: shards.collect() }))
    }

    async fn resume_account(
        &self,
        request: Request<pb::ResumeAccountRequest>,
    ) -> Result<Response<pb::ResumeAccountResponse>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        let operator = caller.operator_proof()?;
        let account: AccountId = wire::id("account_id", &request.account_id)?;
        if !self.gateway.router.resume(&operator, &account) {
            return Err(Refused::absent("quarantined account", account.as_str()).into());
        }
        tracing::info!(%account, "the operator took an account out of quarantine");
        Ok(Response::new(pb::ResumeAccountResponse {}))
    }

    async fn list_tasks(
        &self,
        request: Request<pb::ListTasksRequest>,
    ) -> Result<Response<pb::ListTasksResponse>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        caller.operator_proof()?;
        let (rows, more) = self.operations.tasks.rows(page::page_size(request.page_size)?);
        let tasks = rows.into_iter().map(|row| pb::TaskRef {
            account_id: row.account.to_string(),
            job_id: row.job.to_string(),
            kind: row.task.to_string(),
            attempt: row.attempt,
            running: row.running,
            waiting_since_ms: row.since.0,
            waiting_for: row.waiting_for.to_owned(),
        });
        Ok(Response::new(pb::ListTasksResponse { tasks: tasks.collect(), more: count(more) }))
    }

    async fn get_cluster(
        &self,
        request: Request<pb::GetClusterRequest>,
    ) -> Result<Response<pb::GetClusterResponse>, Status> {
        let (caller, _, _) = wire::open(&self.gateway, request)?;
        caller.operator_proof()?;
        Ok(Response::new(overview::of(self.company()?)))
    }

    async fn finalize_cluster(
        &self,
        request: Request<pb::FinalizeClusterRequest>,
    ) -> Result<Response<pb::FinalizeClusterResponse>, Status> {
        let (caller, _, _) = wire::open(&self.gateway, request)?;
        caller.operator_proof()?;
        let format = self.company()?.finalize().await.map_err(Refused::from)?;
        tracing::info!(%format, "the operator lets all shards have it");
        Ok(Response::new(pb::FinalizeClusterResponse { format: format.0.into() }))
    }

    async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        caller.operator_proof()?;
        let (company, node) = (self.company()?, NodeId(request.node_id));
        if !company.view().known.contains(&node) {
            return Err(Refused::absent("node", &request.node_id.to_string()).into());
        }
        company.wish_drain(node, !request.undo).await.map_err(Refused::from)?;
        tracing::info!(node = node.0, undo = request.undo, "the operator wants a node empty");
        Ok(Response::new(pb::DrainNodeResponse {}))
    }
}

impl Admin {
    fn company(&self) -> Result<&Company, Refused> {
        let company = self.gateway.company.as_deref();
        company.ok_or_else(|| Refused::new(Code::NotFound, "this node is alone: cluster.name is not set"))
    }
}

/// Models whose files are all as they should be. Their bytes are hashed, so this reads the disk for a while.
async fn installed(folder: PathBuf) -> Vec<String> {
    let read = tokio::task::spawn_blocking(move || model::status(&folder));
    let Ok(Ok(files)) = read.await else { return vec![] };
    let mut whole: BTreeMap<String, bool> = BTreeMap::new();
    for (file, presence) in files {
        *whole.entry(model_name(file.path).to_owned()).or_insert(true) &= presence == model::Presence::Good;
    }
    whole.into_iter().filter_map(|(name, good)| good.then_some(name)).collect()
}

/// A model is named after its folder, or its only file.
fn model_name(path: &str) -> &str {
    match path.split_once('/') {
        Some((folder, _)) => folder,
        None => path.rsplit_once('.').map_or(path, |(stem, _)| stem),
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

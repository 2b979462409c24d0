//! Asks other nodes: brings commands of this node's work to whoever leads the account, renews leases there, says what
//! waits here, and takes what they can spare.
//!
//! A node that is on its way out is told of nothing and takes nothing. It gives, since what others take it need not finish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use steward_actors::domain::account::{Answer, Asked};
use steward_actors::domain::ids::AccountId;
use steward_actors::domain::task::TaskKind;
use steward_actors::elsewhere::{Elsewhere, decode_outcome, decode_work, encode_asked};
use steward_actors::shard::{ExecuteError, shard_of};
use steward_actors::task::{Granted, Lease};
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::peers::Lane;
use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::work_service_client::WorkServiceClient;
use tokio::time::timeout;

use super::Neighbours;
use super::form::{from_wire, to_wire};
use crate::gateway::forward::{Leader, Whereabouts};

/// How long another node may take for a command.
const EXECUTE_MAX: Duration = Duration::from_secs(5);
/// How long it may take for a renewal; the next one follows soon.
const RENEW_MAX: Duration = Duration::from_secs(2);
/// How long it may take to hear an announcement; it is made again.
const ANNOUNCE_MAX: Duration = Duration::from_secs(1);
/// How long it may take to give a task, which it must commit.
const TAKE_MAX: Duration = Duration::from_secs(5);

/// The way to the leaders of other accounts.
pub(crate) struct Others {
    node: NodeId,
    neighbours: Arc<dyn Neighbours>,
    whereabouts: Arc<dyn Whereabouts>,
    /// How many shards accounts are spread over.
    shards: u16,
}

impl Others {
    pub(crate) fn new(
        node: NodeId,
        neighbours: Arc<dyn Neighbours>,
        whereabouts: Arc<dyn Whereabouts>,
        shards: u16,
    ) -> Self {
        Self { node, neighbours, whereabouts, shards }
    }

    async fn try_execute(&self, account: &AccountId, asked: Asked) -> Result<Answer, ExecuteError> {
        let shard = shard_of(account, self.shards);
        let Some(mut leader) = self.leader(shard).and_then(|node| self.client(node)) else {
            return Err(ExecuteError::NotLed { shard });
        };
        let command = match encode_asked(&asked) {
            Ok(command) => command.into(),
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::error!(error = cause, "a command is not for other nodes");
                return Err(ExecuteError::NotLed { shard });
            }
        };
        let request = pb::ExecuteRequest { account_id: account.to_string(), command };
        let unknown = || ExecuteError::OutcomeUnknown { shard };
        let answered = timeout(EXECUTE_MAX, leader.execute(request)).await.map_err(|_| unknown())?;
        let pb::ExecuteResponse { outcome, leader } = answered.map_err(|_| unknown())?.into_inner();
        let outcome = decode_outcome(&outcome).map_err(|_| unknown())?;
        if let Err(ExecuteError::NotLed { .. }) = outcome {
            self.whereabouts.correct(shard, Some(NodeId(leader)).filter(|node| node.0 != 0));
        }
        outcome
    }

    async fn renew_at(&self, node: NodeId, worker: &str, leases: Vec<Lease>) -> Vec<Lease> {
        let Some(mut leader) = self.client(node) else { return vec![] };
        let leases = leases.into_iter().map(to_wire).collect();
        let request = pb::RenewRequest { worker: worker.to_owned(), leases };
        match timeout(RENEW_MAX, leader.renew(request)).await {
            Ok(Ok(answer)) => answer.into_inner().over.iter().filter_map(from_wire).collect(),
            Ok(Err(status)) => {
                tracing::debug!(node = node.0, %status, "leases could not be renewed");
                vec![]
            }
            Err(_) => {
                tracing::debug!(node = node.0, "leases were not renewed in time");
                vec![]
            }
        }
    }

    async fn announce_to(&self, node: NodeId, tasks: Vec<String>) {
        let Some(mut client) = self.client(node) else { return };
        let request = pb::AnnounceRequest { node_id: self.node.0, tasks };
        match timeout(ANNOUNCE_MAX, client.announce(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => tracing::debug!(node = node.0, %status, "a node was not told that tasks wait"),
            Err(_) => tracing::debug!(node = node.0, "a node was not told in time that tasks wait"),
        }
    }

    async fn take_from(&self, node: NodeId, worker: &str, kinds: Vec<TaskKind>) -> Option<Granted> {
        if self.neighbours.drains(self.node) {
            return None;
        }
        let request = pb::TakeRequest { worker: worker.to_owned(), tasks: names(kinds) };
        let taken = timeout(TAKE_MAX, self.client(node)?.take(request)).await;
        let pb::TakeResponse { lease, work } = match taken {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                tracing::debug!(node = node.0, %status, "a node did not say whether it has a task to spare");
                return None;
            }
            Err(_) => {
                tracing::debug!(node = node.0, "a node did not say in time whether it has a task to spare");
                return None;
            }
        };
        let lease = from_wire(&lease?)?;
        match decode_work(&work) {
            Ok(work) => Some(Granted { lease, work }),
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::warn!(node = node.0, error = cause, "another node gave a task that cannot be read");
                None
            }
        }
    }

    fn leader(&self, shard: ShardId) -> Option<NodeId> {
        match self.whereabouts.leader(shard) {
            Leader::At(node) => Some(node),
            Leader::Here | Leader::Unknown => None,
        }
    }

    fn client(&self, node: NodeId) -> Option<WorkServiceClient<tonic::transport::Channel>> {
        let channel = self.neighbours.channel(node, Lane::Forward).ok()?;
        Some(WorkServiceClient::new(channel))
    }
}

fn names(kinds: Vec<TaskKind>) -> Vec<String> {
    kinds.into_iter().map(|kind| kind.as_str().to_owned()).collect()
}

impl Elsewhere for Others {
    fn execute<'a>(&'a self, account: &'a AccountId, asked: Asked) -> BoxFuture<'a, Result<Answer, ExecuteError>> {
        self.try_execute(account, asked).boxed()
    }

    fn renew<'a>(&'a self, worker: &'a str, leases: Vec<Lease>) -> BoxFuture<'a, Vec<Lease>> {
        let mut by_leader: BTreeMap<NodeId, Vec<Lease>> = BTreeMap::new();
        for lease in leases {
            // Without a leader there is nobody who could take it back.
            if let Some(node) = self.leader(shard_of(&lease.account, self.shards)) {
                by_leader.entry(node).or_default().push(lease);
            }
        }
        let renewals = by_leader.into_iter().map(|(node, leases)| self.renew_at(node, worker, leases));
        join_all(renewals).map(|over| over.into_iter().flatten().collect()).boxed()
    }

    fn announce(&self, waiting: Vec<TaskKind>) -> BoxFuture<'_, ()> {
        let tasks = names(waiting);
        let takers = self.neighbours.others().into_iter().filter(|node| !self.neighbours.drains(*node));
        join_all(takers.map(|node| self.announce_to(node, tasks.clone()))).map(|_| ()).boxed()
    }

    fn take<'a>(&'a self, node: NodeId, worker: &'a str, kinds: Vec<TaskKind>) -> BoxFuture<'a, Option<Granted>> {
        self.take_from(node, worker, kinds).boxed()
    }
}

//! What the work of this node needs of other nodes: commands for accounts they lead, leases they gave, tasks they can spare.
//!
//! Workers and the delivery sender ask through [`Commands`]; `node/src/between/` implements [`Elsewhere`] over the
//! connections between nodes, and answers the same questions of others.
//!
//! # Invariants
//! - **E1 repeatable**: only what changes nothing when it is done twice goes to another node: reports are fenced by their
//!   attempt or by the endpoint's cursor, and a lease that nobody renews ends.
//! - **E2 closed**: what only clients ask has no form here, so a node cannot speak for them.

mod commands;
mod form;

pub use commands::Commands;
pub use form::{FormError, decode_asked, decode_outcome, decode_work, encode_asked, encode_outcome, encode_work};

use futures_util::future::BoxFuture;
use steward_cluster::ids::NodeId;

use crate::domain::account::{Answer, Asked};
use crate::domain::ids::AccountId;
use crate::domain::task::TaskKind;
use crate::shard::ExecuteError;
use crate::task::{Granted, Lease};

/// The other nodes of the cluster.
pub trait Elsewhere: Send + Sync + 'static {
    /// Does what is asked at whoever leads the account's shard, tried once.
    fn execute<'a>(&'a self, account: &'a AccountId, asked: Asked) -> BoxFuture<'a, Result<Answer, ExecuteError>>;

    /// Says to the leaders of the leases that their holder is at work. Returns those whose attempt is over.
    fn renew<'a>(&'a self, worker: &'a str, leases: Vec<Lease>) -> BoxFuture<'a, Vec<Lease>>;

    /// Says to those that may take work that tasks of these kinds wait here without a slot. It may get lost.
    fn announce(&self, waiting: Vec<TaskKind>) -> BoxFuture<'_, ()>;

    /// Asks a node to lease a task of one of these kinds to a worker of this one. None when it has none to spare, when this
    /// node should not take any, and when no answer came.
    fn take<'a>(&'a self, node: NodeId, worker: &'a str, kinds: Vec<TaskKind>) -> BoxFuture<'a, Option<Granted>>;
}

//! What the work of this node needs of other nodes: commands for accounts they lead, leases they gave, tasks they can spare.
//!
//! Workers and the delivery sender ask through [`Commands`]; `node/src/between/` implements [`Elsewhere`] over the
//! connections between nodes, and answers the same questions of others.
//!
//! # Invariants
//! - **E1 repeatable**: only what changes nothing when it is done twice goes to another node: reports are fenced by their
//!   attempt or by the endpoint's cursor.
//! - **E2 closed**: what only clients ask has no form here, so a node cannot speak for them.

mod commands;
mod form;

pub use commands::Commands;
pub use form::{FormError, decode_asked, decode_outcome, encode_asked, encode_outcome};

use futures_util::future::BoxFuture;

use crate::domain::account::{Answer, Asked};
use crate::domain::ids::AccountId;
use crate::shard::ExecuteError;
use crate::task::Lease;

/// The other nodes of the cluster.
pub trait Elsewhere: Send + Sync + 'static {
    /// Does what is asked at whoever leads the account's shard, tried once.
    fn execute<'a>(&'a self, account: &'a AccountId, asked: Asked) -> BoxFuture<'a, Result<Answer, ExecuteError>>;

    /// Says to the leaders of the leases that their holder is at work. Returns those whose attempt is over.
    fn renew<'a>(&'a self, worker: &'a str, leases: Vec<Lease>) -> BoxFuture<'a, Vec<Lease>>;
}

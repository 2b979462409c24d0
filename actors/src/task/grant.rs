//! A leased task on its way from the node that leads its account to the one that does it: all an attempt needs, so that a
//! node without a replica of the account can do it too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::leases::Lease;
use crate::domain::task::TaskId;

/// What an attempt works on, as its account had it when the lease was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    pub(super) input: Value,
    /// Results of the job's finished tasks.
    pub(super) results: BTreeMap<TaskId, Value>,
    /// What an earlier attempt reported last.
    pub(super) checkpoint: Option<Value>,
}

/// A task that another node has leased to a worker of this one.
#[derive(Clone, Debug, PartialEq)]
pub struct Granted {
    pub lease: Lease,
    pub work: Work,
}

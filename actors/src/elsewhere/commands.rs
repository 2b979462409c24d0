//! Brings a command of this node's own work to whoever leads the account: here first, then elsewhere.

use std::sync::Arc;
use std::time::Duration;

use super::Elsewhere;
use crate::domain::account::{Answer, Asked};
use crate::domain::ids::AccountId;
use crate::shard::{ExecuteError, Reads, Shards};

/// How often a command is tried when nobody can take it. With the waits between, longer than a shard is without leader.
const TRIES_MAX: u32 = 8;
/// The first wait between those tries; it doubles.
const RETRY_WAIT: Duration = Duration::from_millis(50);

/// The way of workers and deliveries to the accounts. Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    shards: Shards,
    elsewhere: Option<Arc<dyn Elsewhere>>,
}

impl Commands {
    /// The way of a node that is alone has nothing `elsewhere`.
    #[must_use]
    pub fn new(shards: Shards, elsewhere: Option<Arc<dyn Elsewhere>>) -> Self {
        Self { shards, elsewhere }
    }

    /// Does what is asked wherever the account is led, tried once.
    pub(crate) async fn execute(&self, account: &AccountId, asked: Asked) -> Result<Answer, ExecuteError> {
        let Some(elsewhere) = &self.elsewhere else { return self.shards.execute(account, asked).await };
        match self.shards.execute(account, asked.clone()).await {
            Err(ExecuteError::NotLed { .. }) => elsewhere.execute(account, asked).await,
            outcome => outcome,
        }
    }

    /// The same, again while nobody can take it. Only for what may be done twice.
    pub(crate) async fn insist(&self, account: &AccountId, asked: Asked) -> Result<Answer, ExecuteError> {
        let mut wait = RETRY_WAIT;
        for _ in 1..TRIES_MAX {
            match self.execute(account, asked.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error @ (ExecuteError::Rejected(_) | ExecuteError::Quarantined { .. })) => return Err(error),
                Err(
                    ExecuteError::Overloaded { .. }
                    | ExecuteError::NotLed { .. }
                    | ExecuteError::DiskFull
                    | ExecuteError::OutcomeUnknown { .. },
                ) => {}
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.execute(account, asked).await
    }

    /// What is applied here.
    pub(crate) fn reads(&self) -> Reads {
        self.shards.reads()
    }

    /// Whether this node leads the account.
    pub(crate) fn leads(&self, account: &AccountId) -> bool {
        self.shards.leads(account)
    }

    /// The shards of this node.
    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// The other nodes, when there are any.
    pub(crate) fn elsewhere(&self) -> Option<&Arc<dyn Elsewhere>> {
        self.elsewhere.as_ref()
    }
}

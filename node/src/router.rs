//! ② Account → shard. What another node leads never gets here: `gateway/forward/` passes the whole request on to it.
//!
//! The gateway's handlers call it with a proof, and `declared` with what the settings declare; they never meet the shards
//! themselves.

use steward_actors::domain::account::{Account, Answer, Asked, Command, Idempotency};
use steward_actors::domain::ids::AccountId;
use steward_actors::feed::Feed;
use steward_actors::shard::{ExecuteError, ReadError, Reads, ShardRow, Shards};
use steward_cluster::ids::ShardId;

use crate::declared::Declared;
use crate::gateway::auth::{AccountWriter, Operator};
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::Refused;
use crate::gateway::http::{RefusingSource, VerifiedSource};

/// Brings commands and reads to whoever leads the account's shard.
#[derive(Clone)]
pub(crate) struct Router {
    shards: Shards,
}

impl Router {
    pub(crate) fn new(shards: Shards) -> Self {
        Self { shards }
    }

    /// Does what a client asks, once it is durable.
    pub(crate) async fn execute(
        &self,
        writer: &AccountWriter,
        command: Command,
        correlation: &CorrelationId,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, Refused> {
        self.execute_after(writer, 0, command, correlation, idempotency).await
    }

    /// Does what a client asks because of an event, once it is durable.
    pub(crate) async fn execute_after(
        &self,
        writer: &AccountWriter,
        causation_seq: u64,
        command: Command,
        correlation: &CorrelationId,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, Refused> {
        let (actor, correlation_id) = (writer.actor().to_owned(), correlation.0.clone());
        let asked = Asked { command, actor, correlation_id, causation_seq, idempotency };
        Ok(self.shards.execute(writer.account(), asked).await?)
    }

    /// Records a webhook, once it is durable. The source's signature is the proof.
    pub(crate) async fn accept(
        &self,
        source: &VerifiedSource,
        command: Command,
        correlation: &CorrelationId,
    ) -> Result<Answer, Refused> {
        self.execute_for(source.account(), source.actor(), command, correlation).await
    }

    /// Keeps a webhook that was refused.
    pub(crate) async fn keep_refused(
        &self,
        source: &RefusingSource,
        command: Command,
        correlation: &CorrelationId,
    ) -> Result<Answer, Refused> {
        self.execute_for(source.account(), source.actor(), command, correlation).await
    }

    async fn execute_for(
        &self,
        account: &AccountId,
        actor: &str,
        command: Command,
        correlation: &CorrelationId,
    ) -> Result<Answer, Refused> {
        let (actor, correlation_id) = (actor.to_owned(), correlation.0.clone());
        let asked = Asked { command, actor, correlation_id, causation_seq: 0, idempotency: None };
        Ok(self.shards.execute(account, asked).await?)
    }

    /// Does what brings a source to its declaration, once it is durable. The operator's settings are the proof.
    pub(crate) async fn declare(&self, declared: &Declared, command: Command) -> Result<Answer, ExecuteError> {
        let asked = Asked {
            command,
            actor: "config".to_owned(),
            correlation_id: "config".to_owned(),
            causation_seq: 0,
            idempotency: None,
        };
        self.shards.execute(declared.account(), asked).await
    }

    /// Takes an account out of quarantine; false when it was not in it.
    pub(crate) fn resume(&self, _operator: &Operator, account: &AccountId) -> bool {
        self.shards.resume(account)
    }

    /// Why the account is not served, when it is in quarantine.
    pub(crate) fn quarantine_reason(&self, account: &AccountId) -> Option<String> {
        self.shards.quarantine_reason(account)
    }

    /// How each shard stands.
    pub(crate) fn shards(&self) -> Vec<ShardRow> {
        self.shards.status()
    }

    /// Account actors alive.
    pub(crate) fn live_accounts(&self) -> usize {
        self.shards.live_accounts()
    }

    /// The shard of an account.
    pub(crate) fn shard_of(&self, account: &AccountId) -> ShardId {
        self.shards.shard_of(account)
    }

    /// The account; none when nothing ever happened to it.
    pub(crate) fn account(&self, account: &AccountId) -> Result<Option<Account>, ReadError> {
        self.shards.reads().account(account)
    }

    /// What is applied.
    pub(crate) fn reads(&self) -> Reads {
        self.shards.reads()
    }

    /// Whether what is committed of the shard can be read here.
    pub(crate) fn is_readable(&self, shard: ShardId) -> bool {
        self.shards.is_readable(shard)
    }

    /// The feeds.
    pub(crate) fn feed(&self) -> Feed {
        self.shards.feed()
    }
}

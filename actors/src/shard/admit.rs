//! Permits: counts and bytes of commands in hand, per account, per shard and per node.
//!
//! Mailboxes are unbounded, so a permit is taken before a message is sent, rides in it, and is given back with the
//! answer. What is in hand anywhere between the router and the disk is thereby bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::ExecuteError;
use crate::domain::account::limits::{JSON_BYTES_MAX, RESPONSE_BYTES_MAX};
use crate::domain::account::{Command, KeptRequest, WebhookAccepted};

/// When a refused sender may come back.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What a command takes in memory beside its payload.
const COMMAND_BYTES: usize = 1024;

/// How much may be in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub commands: usize,
    pub bytes: usize,
}

/// How much may be in hand at each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub account: Limit,
    pub shard: Limit,
    pub node: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            account: Limit { commands: 256, bytes: 16 << 20 },
            shard: Limit { commands: 4096, bytes: 64 << 20 },
            node: Limit { commands: 32_768, bytes: 256 << 20 },
        }
    }
}

/// What is in hand at one level.
#[derive(Debug)]
pub(crate) struct Gate {
    what: &'static str,
    limit: Limit,
    commands: AtomicUsize,
    bytes: AtomicUsize,
}

impl Gate {
    pub(crate) fn new(what: &'static str, limit: Limit) -> Arc<Self> {
        Arc::new(Self { what, limit, commands: AtomicUsize::new(0), bytes: AtomicUsize::new(0) })
    }

    /// Commands in hand.
    pub(crate) fn in_hand(&self) -> usize {
        self.commands.load(Ordering::Acquire)
    }

    fn enter(self: &Arc<Self>, bytes: usize) -> Result<Pass, ExecuteError> {
        let commands = self.commands.fetch_add(1, Ordering::AcqRel);
        let held = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let pass = Pass { gate: Arc::clone(self), bytes };
        // An empty gate takes anything, so that no single command is too large for ever.
        if commands < self.limit.commands && (held + bytes <= self.limit.bytes || commands == 0) {
            return Ok(pass);
        }
        Err(ExecuteError::Overloaded { what: self.what, retry_after: RETRY_AFTER })
    }
}

#[derive(Debug)]
struct Pass {
    gate: Arc<Gate>,
    bytes: usize,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.gate.commands.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The right to have one command in hand. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _passes: [Pass; 3],
}

impl Permit {
    /// Takes a place at every level, or none; the error names the level that is full.
    pub(crate) fn take(levels: [&Arc<Gate>; 3], bytes: usize) -> Result<Self, ExecuteError> {
        let [account, shard, node] = levels;
        Ok(Self { _passes: [account.enter(bytes)?, shard.enter(bytes)?, node.enter(bytes)?] })
    }
}

fn in_memory(webhook: &WebhookAccepted) -> usize {
    let kept = if let KeptRequest::Here(sealed) = &webhook.kept { sealed.len() } else { 0 };
    webhook.body.len() + kept
}

/// What a command takes in memory, at most.
pub(crate) fn weight(command: &Command) -> usize {
    let payload = match command {
        Command::ReportDeliveries { outcomes, .. } => outcomes.len() * RESPONSE_BYTES_MAX,
        Command::AcceptWebhooks(webhooks) => webhooks.iter().map(in_memory).sum(),
        Command::FollowAgain(webhook) => in_memory(webhook),
        Command::KeepRefused { sealed_request, .. } => sealed_request.len(),
        Command::CreateJob { .. }
        | Command::RestartJob { .. }
        | Command::CreateSchedule { .. }
        | Command::UpdateSchedule { .. }
        | Command::FireSchedule { .. }
        | Command::ReportSuccess { .. }
        | Command::ReportCheckpoint { .. } => JSON_BYTES_MAX,
        Command::CreateAccount { .. }
        | Command::CreateApiKey(_)
        | Command::RevokeApiKey { .. }
        | Command::PutPlaybook { .. }
        | Command::DeletePlaybook { .. }
        | Command::CreateSource(_)
        | Command::DeleteSource { .. }
        | Command::ForgetRefused { .. }
        | Command::ChangeSource { .. }
        | Command::CreateEndpoint(..)
        | Command::DeleteEndpoint { .. }
        | Command::SkipDeliveries { .. }
        | Command::ReportDelivery { .. }
        | Command::UpdateEndpoint { .. }
        | Command::RotateEndpointSecret { .. }
        | Command::PauseEndpoint { .. }
        | Command::ResumeEndpoint { .. }
        | Command::RecoverDeliveries { .. }
        | Command::RequeueDeliveries { .. }
        | Command::CancelJob { .. }
        | Command::PauseJob { .. }
        | Command::ResumeJob { .. }
        | Command::ExpireJob { .. }
        | Command::SetTaskLimits { .. }
        | Command::SetBudgets { .. }
        | Command::RecordUpload(_)
        | Command::PauseSchedule { .. }
        | Command::ResumeSchedule { .. }
        | Command::DeleteSchedule { .. }
        | Command::StartTask { .. }
        | Command::ReportProgress { .. }
        | Command::ReportAiCall { .. }
        | Command::ReportFailure { .. }
        | Command::ReleaseTask { .. }
        | Command::AckConsumer { .. }
        | Command::TrimFeed { .. } => 0,
    };
    COMMAND_BYTES + payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(account: Limit) -> [Arc<Gate>; 3] {
        let wide = Limit { commands: 100, bytes: 1000 };
        [Gate::new("account", account), Gate::new("shard", wide), Gate::new("node", wide)]
    }

    #[test]
    fn a_full_level_refuses_and_leaves_nothing_taken() {
        let [account, shard, node] = gates(Limit { commands: 2, bytes: 100 });
        let take = |bytes| Permit::take([&account, &shard, &node], bytes);
        let first = take(60).unwrap();
        let too_heavy = take(41).unwrap_err();
        assert_eq!(too_heavy, ExecuteError::Overloaded { what: "account", retry_after: RETRY_AFTER });
        let second = take(40).unwrap();
        take(0).unwrap_err();
        assert_eq!([&account, &shard, &node].map(|gate| gate.in_hand()), [2, 2, 2]);
        drop((first, second));
        assert_eq!([&account, &shard, &node].map(|gate| gate.in_hand()), [0, 0, 0]);
        take(500).unwrap();
    }
}

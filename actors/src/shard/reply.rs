//! Where the answer to one command goes. Every command is answered exactly once, whatever becomes of its actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use steward_cluster::ids::ShardId;
use tokio::sync::oneshot;

use super::ExecuteError;
use super::admit::{Permit, RETRY_AFTER};
use crate::domain::account::Answer;

/// What a caller gets.
pub(crate) type Outcome = Result<Answer, ExecuteError>;

/// Answers a caller and gives the permit back.
pub(crate) struct Reply {
    to: Option<oneshot::Sender<Outcome>>,
    shard: ShardId,
    /// Whether the shard is led no more.
    over: Arc<AtomicBool>,
    _permit: Permit,
}

impl Reply {
    pub(crate) fn new(shard: ShardId, over: Arc<AtomicBool>, permit: Permit) -> (Self, oneshot::Receiver<Outcome>) {
        let (to, receiver) = oneshot::channel();
        (Self { to: Some(to), shard, over, _permit: permit }, receiver)
    }

    pub(crate) fn answer(mut self, outcome: Outcome) {
        if let Some(to) = self.to.take() {
            to.send(outcome).ok(); // The caller may have left; the events stand.
        }
    }
}

impl Drop for Reply {
    /// A command that never reached the writer did nothing: its actor stopped or panicked before.
    fn drop(&mut self) {
        let Some(to) = self.to.take() else { return };
        let outcome = if self.over.load(Ordering::Acquire) {
            ExecuteError::NotLed { shard: self.shard }
        } else {
            ExecuteError::Overloaded { what: "queue of a restarting account", retry_after: RETRY_AFTER }
        };
        to.send(Err(outcome)).ok();
    }
}
